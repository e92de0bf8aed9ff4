//! Proposals without an outcome, so that each of them gets one.
//!
//! openraft's queue cannot be relied on for that: what is put into it in the moment in which openraft ends may stay there,
//! neither taken nor dropped, for as long as anybody could put something in.

use super::ProposalOutcome;
use super::machine::Machine;
use super::types::TypeConfig;
use crate::limits;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::watch;

pub type Done = Box<dyn FnOnce(ProposalOutcome) + Send>;

/// Bounded by `limits::ENTRIES_IN_FLIGHT_MAX`, which the sequencer keeps.
pub struct PendingProposals {
    proposals: Mutex<Proposals>,
    /// How many have not been told yet.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Proposals {
    next: u64,
    /// In the order of the calls.
    done: BTreeMap<u64, Done>,
    ended: bool,
}

impl PendingProposals {
    pub fn new() -> PendingProposals {
        PendingProposals { proposals: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// The number under which its outcome is to be told; None if consensus has ended, and that has been told.
    pub fn add(&self, done: Done) -> Option<u64> {
        let mut proposals = self.proposals.lock();
        if proposals.ended {
            drop(proposals);
            done(ProposalOutcome::Unknown);
            return None;
        }
        let number = proposals.next;
        proposals.next += 1;
        proposals.done.insert(number, done);
        self.count.send_modify(|count| *count += 1);
        Some(number)
    }

    /// Nothing happens if it was told already.
    pub fn resolve(&self, number: u64, outcome: ProposalOutcome) {
        let done = self.proposals.lock().done.remove(&number);
        if let Some(done) = done {
            done(outcome);
            self.count.send_modify(|count| *count -= 1);
        }
    }

    /// Nothing more will come of those that are left.
    pub fn end(&self) {
        let left: Vec<u64> = {
            let mut proposals = self.proposals.lock();
            proposals.ended = true;
            proposals.done.keys().copied().collect()
        };
        left.into_iter().for_each(|number| self.resolve(number, ProposalOutcome::Unknown));
    }

    pub async fn until_empty(&self) {
        // The sender lives as long as this.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// What a call into openraft comes to; None if openraft ended and left it without an answer.
pub async fn unless_ended<T>(raft: &Raft<TypeConfig, Machine>, call: impl Future<Output = T>) -> Option<T> {
    let mut metrics = raft.server_metrics();
    let ended = async {
        while metrics.changed().await.is_ok() {}
        // Most calls find out by themselves; one that is given up while it does so would break others.
        tokio::time::sleep(limits::CONSENSUS_END_MAX).await;
    };
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = ended => None,
    }
}
