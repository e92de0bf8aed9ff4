//! The way from the sequencer to consensus where both are tasks of one thread (`Drive::Tasks`), with what happens between two
//! threads of a busy machine: time passes, and the lease runs out for a moment.
//!
//! Batches stay in their order. While one is on its way the sequencer may propose another: so one is refused and a later one
//! accepted within a term, as openraft does it when its leader's lease runs out and is renewed between the two.

use crate::consensus::{Consensus, Resolution};
use crate::model::txn::Batch;
use crate::replica::ordering::sequencer::Proposes;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// What a batch meets on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passage {
    pub delay: Duration,
    /// When it gets there the lease has just run out: it is refused, and never in the log.
    pub refused: bool,
}

/// Asked for each batch.
pub type Passages = Arc<dyn Fn() -> Passage + Send + Sync>;

/// Consensus, some time away.
pub struct Slow {
    /// Holds at most `limits::ENTRIES_IN_FLIGHT_MAX`.
    under_way: UnboundedSender<(Batch, Done)>,
}

type Done = Box<dyn FnOnce(Resolution) + Send>;

impl Slow {
    pub fn new(consensus: Consensus, passages: Passages, runtime: &Handle) -> Slow {
        let (under_way, batches) = mpsc::unbounded_channel();
        runtime.spawn(hand_over(consensus, passages, batches));
        Slow { under_way }
    }
}

impl Proposes for Slow {
    fn propose_then(&self, batch: Batch, done: impl FnOnce(Resolution) + Send + 'static) {
        // The other end lives as long as the runtime, and this.
        let _ = self.under_way.send((batch, Box::new(done)));
    }
}

async fn hand_over(consensus: Consensus, passages: Passages, mut batches: UnboundedReceiver<(Batch, Done)>) {
    while let Some((batch, done)) = batches.recv().await {
        let passage = passages();
        if !passage.delay.is_zero() {
            tokio::time::sleep(passage.delay).await;
        }
        match passage.refused {
            true => done(Resolution::Refused),
            false => consensus.propose_then(batch, done),
        }
    }
}
