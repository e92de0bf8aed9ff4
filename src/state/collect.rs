//! Which containers and TTL nodes have served their purpose (ContainerManager.java).

use crate::model::{NodeKind, Owner};
use crate::pipeline::Rules;

/// Whether a node may be deleted by the server itself. `cversion` is the stored counter of creations.
///
/// A container may go once it has had children and has none; one that never had any only where a setting says after
/// how long. A TTL node may go once it is childless and its data has not been set for that long.
pub fn may_go(owner: Owner, child_count: usize, cversion: i32, mtime_ms: i64, now_wall_ms: i64, rules: &Rules) -> bool {
    if child_count > 0 {
        return false;
    }
    let unchanged_ms = now_wall_ms.saturating_sub(mtime_ms);
    match owner.kind() {
        NodeKind::Container if cversion > 0 => true,
        NodeKind::Container => rules.container_never_used_ms != 0 && unchanged_ms > rules.container_never_used_ms,
        NodeKind::Ttl(ttl_ms) => unchanged_ms > ttl_ms,
        NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::SessionId;
    use crate::pipeline::ProvenSchemes;

    pub(crate) fn rules(container_never_used_ms: i64) -> Rules {
        Rules {
            skip_acl: false,
            extended_types: true,
            enforce_quota: false,
            reconfig: false,
            container_never_used_ms,
            deploy_by_anyone: false,
            sasl_scheme_enabled: false,
            x509_scheme_enabled: false,
            schemes: ProvenSchemes::default(),
        }
    }

    #[test]
    fn what_may_go_and_when() {
        let may_go = |owner, children, cversion, now, never_used| {
            super::may_go(owner, children, cversion, 1000, now, &rules(never_used))
        };
        assert!(may_go(Owner::CONTAINER, 0, 1, 1000, 0));
        assert!(!may_go(Owner::CONTAINER, 1, 2, 9999, 0));
        assert!(!may_go(Owner::CONTAINER, 0, 0, 9999, 0), "never used, kept for ever");
        assert!(!may_go(Owner::CONTAINER, 0, 0, 1500, 500));
        assert!(may_go(Owner::CONTAINER, 0, 0, 1501, 500));
        assert!(!may_go(Owner::ttl(500), 0, 0, 1500, 0));
        assert!(may_go(Owner::ttl(500), 0, 0, 1501, 0));
        assert!(!may_go(Owner::ttl(500), 1, 1, 9999, 0));
        assert!(!may_go(Owner::PERSISTENT, 0, 5, 9999, 1));
        assert!(!may_go(Owner::session(SessionId(7)), 0, 5, 9999, 1));
    }
}
