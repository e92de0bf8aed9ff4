//! A slower way from the sequencer to consensus, for the simulation (`Execution::Tasks`).
//!
//! On a busy machine, time passes while a batch goes from one thread to another, and the leader's lease may run out for
//! a moment. In the simulation, sequencer and consensus are tasks of one thread, so this file makes such delays and
//! refusals happen. Batches stay in their order, but the sequencer may propose a second batch while the first is on its
//! way. So one batch can be refused and a later one accepted in the same term, as openraft does when its leader's lease
//! runs out and is renewed between the two.

use super::sequencer::Proposes;
use crate::consensus::{Consensus, ProposalOutcome};
use crate::model::txn::Batch;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// What happens to one batch on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProposalFault {
    pub delay: Duration,
    /// The lease has run out when the batch arrives: consensus refuses the batch, and it never enters the log.
    pub refused: bool,
}

/// Called once for each batch.
pub(crate) type ProposalFaults = Arc<dyn Fn() -> ProposalFault + Send + Sync>;

/// Consensus behind a delay.
pub(crate) struct DelayedConsensus {
    /// Holds at most `limits::ENTRIES_IN_FLIGHT_MAX` batches.
    batches: UnboundedSender<(Batch, Done)>,
}

type Done = Box<dyn FnOnce(ProposalOutcome) + Send>;

impl DelayedConsensus {
    pub(in crate::replica) fn new(consensus: Consensus, faults: ProposalFaults, runtime: &Handle) -> DelayedConsensus {
        let (batches, received) = mpsc::unbounded_channel();
        runtime.spawn(propose_later(consensus, faults, received));
        DelayedConsensus { batches }
    }
}

impl Proposes for DelayedConsensus {
    fn propose_then(&self, batch: Batch, done: impl FnOnce(ProposalOutcome) + Send + 'static) {
        // The receiver lives as long as the runtime and `self`.
        let _ = self.batches.send((batch, Box::new(done)));
    }
}

async fn propose_later(consensus: Consensus, faults: ProposalFaults, mut batches: UnboundedReceiver<(Batch, Done)>) {
    while let Some((batch, done)) = batches.recv().await {
        let fault = faults();
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        match fault.refused {
            true => done(ProposalOutcome::Refused),
            false => consensus.propose_then(batch, done),
        }
    }
}
