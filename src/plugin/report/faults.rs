//! The last faults of a plugin on this server, for its author: `/zookeeper/plugins/<name>/faults` and `wasmkeeper
//! plugin faults`. Clients get a sentence. A fault here has the backtrace and the log lines as well.

use crate::environment::wall_ms;
use crate::limits;
use crate::model::SessionId;
use crate::plugin::fault::{Evidence, Fault};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// The last faults of one plugin, newest first. They outlive a version. Invariant: at most
/// `limits::PLUGIN_FAULTS_KEPT`.
#[derive(Default)]
pub(crate) struct Faults(Mutex<VecDeque<Kept>>);

struct Kept {
    at_ms: i64,
    version: u32,
    fault: Fault,
    session: SessionId,
    evidence: Evidence,
}

impl Faults {
    pub(crate) fn keep(&self, version: u32, fault: &Fault, session: SessionId, evidence: Evidence) {
        let mut kept = self.0.lock();
        if kept.len() == limits::PLUGIN_FAULTS_KEPT {
            kept.pop_back();
        }
        kept.push_front(Kept { at_ms: wall_ms(), version, fault: fault.clone(), session, evidence });
        assert!(kept.len() <= limits::PLUGIN_FAULTS_KEPT, "too many faults of a plugin are kept");
    }

    /// The faults as JSON, newest first.
    pub(crate) fn json(&self) -> Value {
        let shown = |kept: &Kept| {
            json!({
                "at_ms": kept.at_ms,
                "version": kept.version,
                "class": kept.fault.name(),
                "text": kept.fault.text(),
                "session": (kept.session.0 != 0).then(|| format!("0x{:x}", kept.session.0)),
                "backtrace": kept.evidence.backtrace,
                "log": kept.evidence.log,
            })
        };
        self.0.lock().iter().map(shown).collect()
    }
}
