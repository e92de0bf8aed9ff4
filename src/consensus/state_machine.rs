//! The state machine as consensus needs it, and checkpoints on their way between members.

use crate::model::txn::Batch;
use crate::storage::LogPosition;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::any::Any;
use std::io;
use std::sync::Arc;

/// What a replica does with the log. All calls come from one task, in log order, one at a time.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies the batch if its fence holds, and says whether it did. The log position advances either way.
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool;
    /// A blank entry, or a membership (opaque bytes, to be kept with the state and given back by `applied`). They lie
    /// outside the chain.
    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>);
    /// The last applied position and the last membership, as loaded at start or as of now.
    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>);
    /// A run of entries is through: time to wake those who write to clients.
    fn batch_done(&self);
    /// Whether the last `apply` took place at all. If not, the state is not to be trusted, and the batch is applied again when
    /// it is.
    fn is_sound(&self) -> bool {
        true
    }
    /// Waits until the state may be trusted, which may be that of a later entry then.
    fn until_sound(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// The last checkpoint on this member's disk; None before the first. A single voter is asked for it once, at its
    /// start.
    fn checkpoint(&self) -> io::Result<Option<Arc<dyn PinnedCheckpoint>>>;
    /// Begins to take a checkpoint of that description from another member, in the place of any taken before.
    fn receive(&self, description: &[u8]) -> io::Result<Box<dyn IncomingCheckpoint>>;
    /// Replaces the whole state by what `receive` began and has been found right, which is as of `at`.
    fn install(&self, at: LogPosition, membership: Vec<u8>, received: Box<dyn IncomingCheckpoint>) -> io::Result<()>;
}

/// A checkpoint that stays as it is, and can be read, while newer ones are written.
pub trait PinnedCheckpoint: Send + Sync {
    /// The last entry it has applied.
    fn position(&self) -> LogPosition;
    /// As `StateMachine::apply_other` was told.
    fn membership(&self) -> Option<Vec<u8>>;
    /// What it is a state of, and the sum over its records: `storage::records::encode`.
    fn description(&self) -> Vec<u8>;
    /// Appends records in key order, those behind `after`, about `bytes_max` bytes of them; false if these were the last.
    fn piece(&self, after: Option<&[u8]>, bytes_max: usize, out: &mut Vec<(Bytes, Bytes)>) -> io::Result<bool>;
}

/// A checkpoint that comes piece by piece. Nothing of the member's own state is touched by it.
pub trait IncomingCheckpoint: Any + Send {
    /// The last key that is there, and the number of records.
    fn progress(&self) -> (Option<Vec<u8>>, u64);
    fn write(&mut self, records: &[(Bytes, Bytes)]) -> io::Result<()>;
    /// All records are there: makes them durable, and verifies them by count, sum and digest.
    fn finish(&mut self) -> io::Result<()>;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// What openraft calls a snapshot.
pub enum SnapshotData {
    /// There is no checkpoint yet: it covers no entry, and nobody is given it.
    Nothing,
    Pinned(Arc<dyn PinnedCheckpoint>),
    Received(Box<dyn IncomingCheckpoint>),
}
