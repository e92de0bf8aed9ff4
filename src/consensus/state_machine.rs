//! The state machine as consensus needs it, and checkpoints on their way between members.

use crate::model::txn::Batch;
use crate::storage::LogPosition;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::any::Any;
use std::io;
use std::sync::Arc;

/// What a replica does with the log. All calls come from one task, in log order, one at a time.
pub(crate) trait StateMachine: Send + Sync + 'static {
    /// Applies the batch if its fence holds. Returns whether it did. The log position advances either way.
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool;
    /// Applies an entry that lies outside the chain of batches: a blank entry, or a membership. The membership is
    /// opaque bytes, to be kept with the state and returned by `applied`.
    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>);
    /// The last applied position and the last membership.
    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>);
    /// Called behind a run of entries: time to wake the tasks that write to clients.
    fn batch_done(&self);
    /// Whether the last `apply` took place at all. If not, the state is not to be trusted. The batch is applied again
    /// when the state is sound.
    fn is_sound(&self) -> bool {
        true
    }
    /// Waits until the state may be trusted. It may be the state of a later entry then, never of an earlier one.
    fn until_sound(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// The last checkpoint on this member's disk; None before the first. A single voter is asked for it once, at its
    /// start.
    fn checkpoint(&self) -> io::Result<Option<Arc<dyn PinnedCheckpoint>>>;
    /// Begins to receive a checkpoint of that description from another member. Drops any that was begun before.
    fn receive(&self, description: &[u8]) -> io::Result<Box<dyn IncomingCheckpoint>>;
    /// Replaces the whole state by the verified state `received`, which is the state behind entry `at`.
    fn install(&self, at: LogPosition, membership: Vec<u8>, received: Box<dyn IncomingCheckpoint>) -> io::Result<()>;
}

/// A checkpoint that does not change, and can be read, while newer ones are written.
pub(crate) trait PinnedCheckpoint: Send + Sync {
    /// The last entry that the checkpoint has applied.
    fn position(&self) -> LogPosition;
    /// The membership, as `StateMachine::apply_other` got it.
    fn membership(&self) -> Option<Vec<u8>>;
    /// Which state the checkpoint is, and the sum over its records: `storage::records::encode`.
    fn description(&self) -> Vec<u8>;
    /// Appends the records behind the key `after`, in key order, about `bytes_max` bytes of them. Returns false if
    /// these were the last.
    fn piece(&self, after: Option<&[u8]>, bytes_max: usize, out: &mut Vec<(Bytes, Bytes)>) -> io::Result<bool>;
}

/// A checkpoint that comes piece by piece. It touches nothing of the member's own state.
pub(crate) trait IncomingCheckpoint: Any + Send {
    /// The last key that is there, and the number of records.
    fn progress(&self) -> (Option<Vec<u8>>, u64);
    fn write(&mut self, records: &[(Bytes, Bytes)]) -> io::Result<()>;
    /// Makes the records durable when all of them are there, and verifies them by count, sum and digest.
    fn finish(&mut self) -> io::Result<()>;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// What openraft calls a snapshot.
pub(crate) enum SnapshotData {
    /// There is no checkpoint yet. This snapshot covers no entry, and no member gets it.
    Nothing,
    Pinned(Arc<dyn PinnedCheckpoint>),
    Received(Box<dyn IncomingCheckpoint>),
}
