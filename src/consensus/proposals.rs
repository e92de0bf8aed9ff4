//! Proposals that have no outcome yet, so that each of them gets one.
//!
//! openraft's queue does not ensure that. What is put into the queue while openraft ends may stay there, neither taken
//! nor dropped, as long as somebody could still put something in.

use super::ProposalOutcome;
use super::machine::Machine;
use super::types::TypeConfig;
use crate::limits;
use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::watch;

pub(crate) type Done = Box<dyn FnOnce(ProposalOutcome) + Send>;

/// The sequencer bounds it: it has at most `limits::ENTRIES_IN_FLIGHT_MAX` proposals in flight.
pub(crate) struct PendingProposals {
    proposals: Mutex<Proposals>,
    /// How many proposals have not been told their outcome. Invariant: at least as many as `Proposals::done` holds.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Proposals {
    /// The number of the next proposal. Invariant: greater than every number in `done`.
    next: u64,
    /// By number, which is the order of the calls.
    done: BTreeMap<u64, Done>,
    /// Consensus has ended. Invariant: nothing is added from then on.
    ended: bool,
}

impl PendingProposals {
    pub(crate) fn new() -> PendingProposals {
        PendingProposals { proposals: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// Returns the number under which the outcome is to be told. None if consensus has ended: then `done` was called.
    pub(crate) fn add(&self, done: Done) -> Option<u64> {
        let mut proposals = self.proposals.lock();
        if proposals.ended {
            drop(proposals);
            done(ProposalOutcome::Unknown);
            return None;
        }
        let number = proposals.next;
        proposals.next += 1;
        let newest = proposals.done.last_key_value().map(|(newest, _)| *newest);
        assert!(newest < Some(number), "proposal {number} comes behind proposal {newest:?}");
        proposals.done.insert(number, done);
        self.count.send_modify(|count| *count += 1);
        Some(number)
    }

    /// Tells a proposal its outcome. Nothing happens if it was told before.
    pub(crate) fn resolve(&self, number: u64, outcome: ProposalOutcome) {
        let done = {
            let mut proposals = self.proposals.lock();
            assert!(number < proposals.next, "proposal {number} has an outcome and was never made");
            proposals.done.remove(&number)
        };
        if let Some(done) = done {
            done(outcome);
            self.count.send_modify(|count| {
                assert!(*count > 0, "proposal {number} is told, and none is counted");
                *count -= 1;
            });
        }
    }

    /// Tells all proposals that are left that their outcome is unknown. From now on nothing is added.
    pub(crate) fn end(&self) {
        let left: Vec<u64> = {
            let mut proposals = self.proposals.lock();
            proposals.ended = true;
            proposals.done.keys().copied().collect()
        };
        left.into_iter().for_each(|number| self.resolve(number, ProposalOutcome::Unknown));
        assert!(self.proposals.lock().done.is_empty(), "a proposal is left without an outcome");
    }

    pub(crate) async fn until_empty(&self) {
        // The sender lives as long as `self`.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// The result of a call into openraft; None if openraft ended and left the call without an answer.
pub(crate) async fn unless_ended<T>(raft: &Raft<TypeConfig, Machine>, call: impl Future<Output = T>) -> Option<T> {
    let mut metrics = raft.server_metrics();
    let ended = async {
        while metrics.changed().await.is_ok() {}
        // Most calls find out that openraft has ended. If a call is dropped while it finds out, other calls break.
        tokio::time::sleep(limits::CONSENSUS_END_MAX).await;
    };
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = ended => None,
    }
}
