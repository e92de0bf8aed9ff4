//! This member's checkpoints for others, and another member's state in the place of its own.

use crate::consensus::{self, Heavy, HeldCheckpoint, Receiving};
use crate::environment;
use crate::metrics::Metrics;
use crate::model::ensemble::Server;
use crate::peer::Peers;
use crate::replica::Replica;
use crate::replica::process::OrDie;
use crate::simulation::{self, Seen};
use crate::state::{Loader, State};
use crate::storage::LogPosition;
use crate::storage::checkpoint::CheckpointView;
use crate::storage::disk::Disk;
use crate::storage::receive::Incoming;
use crate::storage::records::{self, FileError};
use crate::watch::Watches;
use bytes::Bytes;
use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

struct Held {
    view: CheckpointView,
    position: LogPosition,
    metrics: Arc<Metrics>,
}

impl HeldCheckpoint for Held {
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
            // A transfer that is taken up again is the same one.
            self.metrics.snap_count.increment();
        }
        self.view.piece(after, bytes_max, out).map_err(of_this_member)
    }
}

struct Received(Incoming<Loader>);

impl Receiving for Received {
    fn reached(&self) -> (Option<Vec<u8>>, u64) {
        let (key, records) = self.0.reached();
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

/// The way back of a member whose checkpoint and image are both damaged, but not its log, which was purged up to
/// `purged`: puts the state of another of the ensemble's members on the disk, from where the next start takes it. Waits
/// until one of them can be asked.
pub async fn fetch_state(
    peers: &Peers,
    from: &[Server],
    purged: LogPosition,
    disk: Arc<dyn Disk>,
    heavy: Heavy,
) -> io::Result<()> {
    let seed = environment::random_u64()?;
    let begin = |description: &[u8]| {
        let incoming = Incoming::begin(disk.clone(), description, State::load(seed)).map_err(of_a_peer)?;
        Ok(Box::new(Received(incoming)) as Box<dyn Receiving>)
    };
    let received = consensus::fetch(peers, from, purged, heavy, begin).await;
    let received = received.into_any().downcast::<Received>().map_err(|_| io::Error::other("not of this replica"))?;
    let complete = received.0.into_complete().ok_or_else(|| io::Error::other("what was received is not whole"))?;
    complete.take_place(&*disk)
}

impl Replica {
    pub(crate) fn held_checkpoint(&self) -> io::Result<Option<Arc<dyn HeldCheckpoint>>> {
        let view = self.files.reader.lock().view().map_err(of_this_member)?;
        let metrics = self.connections.metrics().clone();
        let held = view.and_then(|view| Some(Held { position: view.meta().position?, view, metrics }));
        Ok(held.map(|held| Arc::new(held) as Arc<dyn HeldCheckpoint>))
    }

    pub(crate) fn receive_checkpoint(&self, description: &[u8]) -> io::Result<Box<dyn Receiving>> {
        let files = &self.files;
        let incoming = Incoming::begin(files.disk.clone(), description, State::load(files.seed)).map_err(of_a_peer)?;
        Ok(Box::new(Received(incoming)))
    }

    /// Swaps the state. Every client is sent away: what it has read and watches belongs to the state before.
    pub(crate) fn install_checkpoint(
        &self,
        at: LogPosition,
        membership: Vec<u8>,
        received: Box<dyn Receiving>,
    ) -> io::Result<()> {
        let _whole = OrDie("installing a state from another member");
        let received =
            received.into_any().downcast::<Received>().map_err(|_| io::Error::other("not of this replica"))?;
        let complete = received.0.into_complete().filter(|complete| complete.meta.position == Some(at));
        let complete = complete.ok_or_else(|| io::Error::other("what was received is not what is installed"))?;
        let progress = self.progress();
        let mut checkpointer = self.files.checkpointer.lock();
        let mut boundary = self.boundary.lock();
        let (mut state, meta) = checkpointer.replace(complete, &progress)?;
        state.begin_at_level(meta.format_level);
        self.understands(&state);
        *self.files.reader.lock() = checkpointer.last().reader();
        drop(checkpointer);
        let old = {
            let mut shared = self.state.write();
            *self.watches.lock() = Watches::new(self.files.seed);
            self.connections.abandon_all();
            self.provenance.forget();
            simulation::see(|| Seen::Loaded { zxid: meta.zxid, digest: meta.digest, from: simulation::Source::Peer });
            self.plugins.start_over(&state);
            let registry = self.plugins.registry();
            simulation::see(|| Seen::Bound { zxid: meta.zxid, registry: &registry });
            std::mem::replace(&mut *shared, state)
        };
        boundary.position = Some(at);
        boundary.membership = Some(membership);
        self.soundness.replaced();
        drop(boundary);
        self.last_applied.store(meta.zxid.0, Ordering::Release);
        self.remember_sessions();
        tracing::info!(zxid = %meta.zxid, position = %at, "goes on from the state of another member");
        // It takes as long as it is large; nobody waits for it here.
        drop(old);
        Ok(())
    }
}
