//! Gives this member's checkpoints to other members, and replaces this member's state by that of another member.

use super::Files;
use crate::consensus::{IncomingCheckpoint, PinnedCheckpoint};
use crate::metrics::Metrics;
use crate::replica::fatal::DieOnPanic;
use crate::replica::ordering::WriteOrder;
use crate::state::{Loader, State};
use crate::storage::LogPosition;
use crate::storage::checkpoint::CheckpointView;
use crate::storage::receive::IncomingState;
use crate::storage::records::{self, FileError};
use bytes::Bytes;
use std::any::Any;
use std::io;
use std::sync::Arc;

/// A checkpoint of this member that other members take.
struct Held {
    view: CheckpointView,
    position: LogPosition,
    metrics: Arc<Metrics>,
}

impl PinnedCheckpoint for Held {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn membership(&self) -> Option<Vec<u8>> {
        self.view.meta().membership.clone()
    }

    fn description(&self) -> Vec<u8> {
        records::encode(self.view.meta(), self.view.tally())
    }

    fn piece(&self, after: Option<&[u8]>, bytes_max: usize, out: &mut Vec<(Bytes, Bytes)>) -> io::Result<bool> {
        if after.is_none() {
            // A transfer that goes on after an interruption is counted once.
            self.metrics.snap_count.increment();
        }
        self.view.piece(after, bytes_max, out).map_err(of_this_member)
    }
}

/// A checkpoint of another member on its way here.
struct Received(IncomingState<Loader>);

impl IncomingCheckpoint for Received {
    fn progress(&self) -> (Option<Vec<u8>>, u64) {
        let (key, records) = self.0.progress();
        (key.map(<[u8]>::to_vec), records)
    }

    fn write(&mut self, records: &[(Bytes, Bytes)]) -> io::Result<()> {
        records.iter().try_for_each(|(key, value)| self.0.record(key, value).map_err(of_a_peer))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish().map_err(of_a_peer)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

fn of_this_member(error: FileError) -> io::Error {
    io::Error::other(format!("read the checkpoint: {error}"))
}

fn of_a_peer(error: FileError) -> io::Error {
    match error {
        FileError::Io(error) => error,
        FileError::Damaged(what) => io::Error::new(io::ErrorKind::InvalidData, format!("the checkpoint: {what}")),
        FileError::Newer(what) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the checkpoint was written by a later version of this server: {what}; start that version here"),
        ),
    }
}

impl Files {
    /// This member's last checkpoint, for another member. None before the first.
    pub(in crate::replica) fn held_checkpoint(&self) -> io::Result<Option<Arc<dyn PinnedCheckpoint>>> {
        let view = self.reader.lock().view().map_err(of_this_member)?;
        let metrics = self.metrics.clone();
        let held = view.and_then(|view| Some(Held { position: view.meta().position?, view, metrics }));
        Ok(held.map(|held| Arc::new(held) as Arc<dyn PinnedCheckpoint>))
    }

    /// Begins to take a checkpoint of that description.
    pub(in crate::replica) fn receive(&self, description: &[u8]) -> io::Result<Box<dyn IncomingCheckpoint>> {
        let incoming =
            IncomingState::begin(self.disk.clone(), description, State::load(self.seed)).map_err(of_a_peer)?;
        Ok(Box::new(Received(incoming)))
    }

    /// Replaces the state, in memory and on the disk, by the received one, which is the state after entry `at`. Closes
    /// the connections of all clients, because what they have read and what they watch belongs to the old state.
    pub(in crate::replica) fn install(
        &self,
        order: &WriteOrder,
        log_bytes_written: u64,
        at: LogPosition,
        membership: Vec<u8>,
        received: Box<dyn IncomingCheckpoint>,
    ) -> io::Result<()> {
        let _whole = DieOnPanic("installing a state from another member");
        let received =
            received.into_any().downcast::<Received>().map_err(|_| io::Error::other("not of this replica"))?;
        let complete = received.0.into_complete().filter(|complete| complete.meta.position == Some(at));
        let complete = complete.ok_or_else(|| io::Error::other("what was received is not what is installed"))?;
        let progress = self.progress(log_bytes_written);
        let mut checkpointer = self.checkpointer.lock();
        let mut boundary = order.boundary.lock();
        let (mut state, meta) = checkpointer.replace(complete, &progress)?;
        let is_described = state.last_zxid() == meta.zxid && state.digest() == meta.digest;
        assert!(is_described, "a received state was compared with its description before it is installed");
        state.begin_at_level(meta.format_level);
        order.require_known_format(&state);
        *self.reader.lock() = checkpointer.last().reader();
        drop(checkpointer);
        let old = order.replace_state(at, state, meta.digest, self.seed);
        boundary.jump(at, membership);
        order.soundness.replaced();
        order.set_last_applied(meta.zxid);
        drop(boundary);
        order.grant_known_sessions();
        tracing::info!(zxid = %meta.zxid, position = %at, "goes on from the state of another member");
        // Freeing a large state takes long. No lock is held here.
        drop(old);
        Ok(())
    }
}
