//! Which containers and TTL nodes the server may delete (ContainerManager.java).

use crate::model::{NodeKind, Owner};

/// Whether the server itself may delete a node. `cversion` is the stored counter of creations.
///
/// A container may go once it has had children and has none left. A container that never had children may go
/// `never_used_ms` after its last change, or never if that is 0. A TTL node may go once it has no children and its data
/// has not been set for the length of its TTL (ContainerManager.getCandidates).
pub(crate) fn may_go(
    owner: Owner,
    child_count: usize,
    cversion: i32,
    mtime_ms: i64,
    now_wall_ms: i64,
    never_used_ms: i64,
) -> bool {
    if child_count > 0 {
        return false;
    }
    let unchanged_ms = now_wall_ms.saturating_sub(mtime_ms);
    match owner.kind() {
        NodeKind::Container if cversion > 0 => true,
        NodeKind::Container => never_used_ms != 0 && unchanged_ms > never_used_ms,
        NodeKind::Ttl(ttl_ms) => unchanged_ms > ttl_ms,
        NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;

    #[test]
    fn containers_and_ttl_nodes_may_go_when_they_are_done() {
        let may_go = |owner, children, cversion, now, never_used| {
            super::may_go(owner, children, cversion, 1000, now, never_used)
        };
        assert!(may_go(Owner::CONTAINER, 0, 1, 1000, 0));
        assert!(!may_go(Owner::CONTAINER, 1, 2, 9999, 0));
        assert!(!may_go(Owner::CONTAINER, 0, 0, 9999, 0), "a container that was never used stays");
        assert!(!may_go(Owner::CONTAINER, 0, 0, 1500, 500));
        assert!(may_go(Owner::CONTAINER, 0, 0, 1501, 500));
        assert!(!may_go(Owner::ttl(500), 0, 0, 1500, 0));
        assert!(may_go(Owner::ttl(500), 0, 0, 1501, 0));
        assert!(!may_go(Owner::ttl(500), 1, 1, 9999, 0));
        assert!(!may_go(Owner::PERSISTENT, 0, 5, 9999, 1));
        assert!(!may_go(Owner::session(SessionId(7)), 0, 5, 9999, 1));
    }
}
