//! When a plugin is no longer called, and why.
//!
//! A member blames a plugin if the plugin fails too often, or if a call of it ended a process of the member (`marks`).
//! The leader writes the blame to the replicated log (`pipeline::evaluate::blame`). From that zxid on no member calls
//! the blamed version. Then `reject` refuses and gives the reason, `ignore` lets requests pass, a mount refuses, and
//! logins of a scheme fail.
//!
//! A quarantine ends when another version is deployed, or by `wasmkeeper plugin release`. The data of a quarantine node
//! names the version that it stops. If the data cannot be read, it stops every version.

use crate::environment::{Instant, wall_ms};
use crate::limits;
use crate::model::control_plane::QUARANTINE;
use crate::model::{SessionId, path};
use crate::pipeline::Blame;
use crate::plugin::manifest::tree::Tree;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::OnceLock;

/// The data of a quarantine node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// Unix milliseconds.
    pub(crate) since_ms: i64,
    /// The version that is not called.
    pub(crate) version: u32,
    pub(crate) reason: String,
}

impl Quarantine {
    pub(crate) fn now(version: u32, reason: String) -> Quarantine {
        Quarantine { since_ms: wall_ms(), version, reason }
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a text")
    }
}

/// The quarantine of this version of the plugin at `node`, if there is one.
pub(crate) fn of(tree: &dyn Tree, node: &str, version: u32) -> Option<Quarantine> {
    let data = tree.data(&path::join(node, QUARANTINE))?;
    match serde_json::from_slice::<Quarantine>(&data) {
        Ok(quarantine) => (quarantine.version == version).then_some(quarantine),
        Err(error) => {
            Some(Quarantine { since_ms: 0, version, reason: format!("{node}/{QUARANTINE} cannot be read: {error}") })
        }
    }
}

/// Where the blames of this member go.
#[derive(Default)]
pub(crate) struct BlameSink(OnceLock<Box<dyn Fn(Blame) + Send + Sync>>);

impl BlameSink {
    /// Sets who gets the blames. Without it, blames are dropped.
    pub(crate) fn send_to(&self, hear: Box<dyn Fn(Blame) + Send + Sync>) {
        // A second function would tell the same leader.
        let _ = self.0.set(hear);
    }

    pub(crate) fn send(&self, blame: Blame) {
        if let Some(hear) = self.0.get() {
            hear(blame);
        }
    }
}

/// The latest faults of one version. The guest caused all of them.
#[derive(Default)]
pub(crate) struct Record(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    /// Invariant: at most `limits::PLUGIN_QUARANTINE_FAULTS`.
    faults: VecDeque<Seen>,
    blamed: Option<Instant>,
}

struct Seen {
    at: Instant,
    session: SessionId,
    /// The number of the plugin's calls so far, this call included.
    calls: u64,
}

impl Record {
    /// Notes a fault. Returns a reason if the plugin should no longer be called.
    pub(crate) fn note(&self, at: Instant, session: SessionId, calls: u64) -> Option<String> {
        let mut latest = self.0.lock();
        let window = limits::PLUGIN_QUARANTINE_WINDOW;
        while latest.faults.front().is_some_and(|first| {
            latest.faults.len() >= limits::PLUGIN_QUARANTINE_FAULTS || at.duration_since(first.at) > window
        }) {
            latest.faults.pop_front();
        }
        latest.faults.push_back(Seen { at, session, calls });
        let faults = latest.faults.len();
        assert!(faults <= limits::PLUGIN_QUARANTINE_FAULTS, "a record has {faults} faults");
        let sessions = latest.faults.iter().map(|seen| seen.session.0).collect::<BTreeSet<_>>().len();
        let first = latest.faults.front().map_or(calls, |first| first.calls);
        let mostly = calls.saturating_sub(first) < 2 * faults as u64;
        let again = limits::PLUGIN_BLAME_AGAIN;
        if faults < limits::PLUGIN_QUARANTINE_FAULTS
            || sessions < limits::PLUGIN_QUARANTINE_SESSIONS
            || !mostly
            || latest.blamed.is_some_and(|blamed| at.duration_since(blamed) < again)
        {
            return None;
        }
        latest.blamed = Some(at);
        Some(format!("{faults} faults in the calls of {sessions} sessions within {} s", window.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::manifest::tree::testing::MapTree;
    use std::time::Duration;

    /// What `note` returns for each of `count` faults, in calls of `sessions` sessions in turn. One in `every` calls
    /// fails.
    fn faults(count: usize, sessions: i64, every: u64, apart_ms: u64) -> Vec<Option<String>> {
        let record = Record::default();
        let begun = Instant::now();
        let fault = |at: usize| {
            let moment = begun + Duration::from_millis(at as u64 * apart_ms);
            record.note(moment, SessionId(at as i64 % sessions), (at as u64 + 1) * every)
        };
        (0..count).map(fault).collect()
    }

    #[test]
    fn many_sessions_that_mostly_meet_faults_are_enough() {
        let said = faults(20, 3, 1, 10);
        assert!(said[..19].iter().all(Option::is_none));
        assert_eq!(said[19].as_deref(), Some("20 faults in the calls of 3 sessions within 60 s"));
        // The plugin is blamed once, and again if nothing has come of it.
        let said = faults(25, 3, 1, 2_900);
        assert_eq!(said.iter().flatten().count(), 2, "{said:?}");
    }

    #[test]
    fn one_session_or_a_few_bad_calls_among_many_or_faults_long_ago_are_not() {
        for (sessions, every, apart_ms) in [(1, 1, 10), (2, 1, 10), (3, 3, 10), (3, 1, 3_500)] {
            assert_eq!(faults(200, sessions, every, apart_ms).iter().flatten().count(), 0, "{sessions} {every}");
        }
    }

    #[test]
    fn a_quarantine_is_of_one_version() {
        let mut tree = MapTree::default();
        assert_eq!(of(&tree, "/zookeeper/plugins/p", 3), None);
        let written = Quarantine::now(3, "told to".into());
        tree.set("/zookeeper/plugins/p/quarantine", &written.data(), 1);
        assert_eq!(of(&tree, "/zookeeper/plugins/p", 3), Some(written));
        assert_eq!(of(&tree, "/zookeeper/plugins/p", 4), None);
        tree.set("/zookeeper/plugins/p/quarantine", b"?", 2);
        assert!(of(&tree, "/zookeeper/plugins/p", 4).unwrap().reason.contains("cannot be read"));
    }
}
