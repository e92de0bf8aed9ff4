//! What consensus asks of a member: to apply entries, and to give, take and install checkpoints.

use super::Replica;
use crate::consensus::{IncomingCheckpoint, PinnedCheckpoint, StateMachine};
use crate::model::txn::Batch;
use crate::storage::LogPosition;
use futures::future::BoxFuture;
use std::io;
use std::sync::Arc;

impl StateMachine for Replica {
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool {
        let applied = self.order.apply(at, batch);
        if applied.accepted {
            self.plugins.applied(batch, applied);
        }
        applied.accepted
    }

    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>) {
        self.order.apply_other(at, membership);
    }

    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>) {
        let boundary = self.order.boundary.lock();
        (boundary.position(), boundary.membership().cloned())
    }

    fn batch_done(&self) {
        self.order.connections.flush();
    }

    fn is_sound(&self) -> bool {
        self.order.soundness.is_sound()
    }

    fn until_sound(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.order.soundness.until_sound())
    }

    fn checkpoint(&self) -> io::Result<Option<Arc<dyn PinnedCheckpoint>>> {
        self.files.held_checkpoint()
    }

    fn receive(&self, description: &[u8]) -> io::Result<Box<dyn IncomingCheckpoint>> {
        self.files.receive(description)
    }

    fn install(&self, at: LogPosition, membership: Vec<u8>, received: Box<dyn IncomingCheckpoint>) -> io::Result<()> {
        // A checkpoint can come from another member before consensus has finished starting.
        let log_bytes = self.ensemble.log_bytes_written();
        self.files.install(&self.order, log_bytes, at, membership, received)
    }
}
