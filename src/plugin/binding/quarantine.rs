//! When a plugin is no longer called, and why.
//!
//! A member that sees a plugin fail too often, or finds that a call has ended its process (`marks`), blames it; the leader
//! brings that into the log (`pipeline::evaluate::blame`), and from that zxid on no member calls that version: `reject`
//! refuses and says why, `ignore` lets pass, a mount refuses, a scheme fails. It ends with another version or with
//! `wasmkeeper plugin release`. What a node of a quarantine says counts for the version that it names, and one that cannot be
//! read for any.

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
use std::time::Duration;

/// What the node says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// Unix milliseconds.
    pub since_ms: i64,
    /// The version that is not called.
    pub version: u32,
    pub reason: String,
}

impl Quarantine {
    pub fn now(version: u32, reason: String) -> Quarantine {
        Quarantine { since_ms: wall_ms(), version, reason }
    }

    pub fn data(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a text")
    }
}

/// The quarantine of that version of the plugin at `node`.
pub fn of(tree: &dyn Tree, node: &str, version: u32) -> Option<Quarantine> {
    let data = tree.data(&path::join(node, QUARANTINE))?;
    match serde_json::from_slice::<Quarantine>(&data) {
        Ok(quarantine) => (quarantine.version == version).then_some(quarantine),
        Err(error) => {
            Some(Quarantine { since_ms: 0, version, reason: format!("{node}/{QUARANTINE} cannot be read: {error}") })
        }
    }
}

/// Where a member's blame goes.
#[derive(Default)]
pub struct Court(OnceLock<Box<dyn Fn(Blame) + Send + Sync>>);

impl Court {
    /// Once; without it nobody hears.
    pub fn heard_by(&self, hear: Box<dyn Fn(Blame) + Send + Sync>) {
        // A second one would tell the same leader.
        let _ = self.0.set(hear);
    }

    pub fn hear(&self, blame: Blame) {
        if let Some(hear) = self.0.get() {
            hear(blame);
        }
    }
}

/// The latest faults of one version, all of the guest's doing.
#[derive(Default)]
pub struct Record(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    faults: VecDeque<Seen>,
    blamed: Option<Instant>,
}

struct Seen {
    at: Instant,
    session: SessionId,
    /// Calls of the plugin until then, this one included.
    calls: u64,
}

impl Record {
    /// Notes one. A sentence if it had better not be called any more.
    pub fn note(&self, at: Instant, session: SessionId, calls: u64) -> Option<String> {
        let mut latest = self.0.lock();
        let window = Duration::from_millis(limits::PLUGIN_QUARANTINE_WINDOW_MS);
        while latest.faults.front().is_some_and(|first| {
            latest.faults.len() >= limits::PLUGIN_QUARANTINE_FAULTS || at.duration_since(first.at) > window
        }) {
            latest.faults.pop_front();
        }
        latest.faults.push_back(Seen { at, session, calls });
        let faults = latest.faults.len();
        let sessions = latest.faults.iter().map(|seen| seen.session.0).collect::<BTreeSet<_>>().len();
        let first = latest.faults.front().map_or(calls, |first| first.calls);
        let mostly = calls.saturating_sub(first) < 2 * faults as u64;
        let again = Duration::from_millis(limits::PLUGIN_BLAME_AGAIN_MS);
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

    /// What is said after each of so many faults of these sessions in turn, one in `every` calls.
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
        // It is said once, and again when nothing has come of it.
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
