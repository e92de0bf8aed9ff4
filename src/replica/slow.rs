//! The way from the sequencer to consensus where both are tasks of one thread (`Drive::Tasks`), with the time that it takes
//! between two threads of a busy machine.
//!
//! Batches stay in their order. While one is on its way the sequencer may propose another, and what consensus thinks of the
//! first may have changed when the second gets there: that is how a batch is refused and a later one accepted within a term.

use super::member::Delay;
use super::sequencer::Proposes;
use crate::consensus::{Consensus, Outcome};
use crate::pipeline::txn::Batch;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Consensus, some time away.
pub struct Slow {
    /// Holds at most `limits::ENTRIES_IN_FLIGHT_MAX`.
    under_way: UnboundedSender<(Batch, Done)>,
}

type Done = Box<dyn FnOnce(Outcome) + Send>;

impl Slow {
    /// `delay` is asked for each batch.
    pub fn new(consensus: Consensus, delay: Delay, runtime: &Handle) -> Slow {
        let (under_way, batches) = mpsc::unbounded_channel();
        runtime.spawn(hand_over(consensus, delay, batches));
        Slow { under_way }
    }
}

impl Proposes for Slow {
    fn propose_then(&self, batch: Batch, done: impl FnOnce(Outcome) + Send + 'static) {
        // The other end lives as long as the runtime, and this.
        let _ = self.under_way.send((batch, Box::new(done)));
    }
}

async fn hand_over(consensus: Consensus, delay: Delay, mut batches: UnboundedReceiver<(Batch, Done)>) {
    while let Some((batch, done)) = batches.recv().await {
        let delay = delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        consensus.propose_then(batch, done);
    }
}
