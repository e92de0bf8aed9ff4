//! openraft's state machine, over `StateMachine`.
//!
//! Snapshots, to openraft, are the checkpoints on the disk, of which `Consensus::checkpointed` tells: what it believes to
//! have is exactly what is there, so it can never purge an entry that only memory holds.

use super::checkpoint_transfer::CheckpointOffers;
use super::types::{ApplyResult, Entry, LogId, Payload, StoredMembership, TypeConfig, decode_stored, encode_stored};
use super::types::{log_id, position};
use super::{BlockingWork, IncomingCheckpoint, PinnedCheckpoint, SnapshotData, StateMachine};
use crate::limits;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::Arc;

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;
type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

pub struct Machine {
    machine: Arc<dyn StateMachine>,
    offers: Arc<CheckpointOffers>,
    blocking: BlockingWork,
    /// The state was replaced by one that has applied everything up to here.
    replaced_at: Option<u64>,
}

impl Machine {
    pub fn new(machine: Arc<dyn StateMachine>, offers: Arc<CheckpointOffers>, blocking: BlockingWork) -> Machine {
        Machine { machine, offers, blocking, replaced_at: None }
    }

    /// The index of the entry to apply next.
    pub fn next_index(&self) -> u64 {
        self.machine.applied().0.map_or(0, |at| at.index + 1)
    }

    pub fn batch_done(&self) {
        self.machine.batch_done();
    }

    /// None if the state has it applied already, having been replaced.
    async fn apply_soundly(&mut self, entry: &Entry) -> Option<ApplyResult> {
        loop {
            if self.replaced_at.is_some_and(|replaced_at| entry.log_id.index <= replaced_at) {
                return None;
            }
            let applied = self.apply_one(entry);
            if self.machine.is_sound() {
                return Some(applied);
            }
            self.machine.until_sound().await;
            self.replaced_at = self.machine.applied().0.map(|at| at.index);
        }
    }

    pub fn apply_one(&self, entry: &Entry) -> ApplyResult {
        let at = position(&entry.log_id);
        match &entry.payload {
            Payload::Normal(batch) => return ApplyResult { accepted: self.machine.apply(at, batch) },
            Payload::Blank => self.machine.apply_other(at, None),
            Payload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                self.machine.apply_other(at, Some(encode_stored(&stored)));
            }
        }
        ApplyResult { accepted: true }
    }
}

fn snapshot(checkpoint: Arc<dyn PinnedCheckpoint>) -> io::Result<Snapshot> {
    let membership = checkpoint.membership().map(|bytes| decode_stored(&bytes));
    let last_membership = membership.transpose().map_err(io::Error::other)?.unwrap_or_default();
    let meta = SnapshotMeta { last_log_id: Some(log_id(checkpoint.position())), last_membership };
    Ok(Snapshot { meta, snapshot: SnapshotData::Pinned(checkpoint) })
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = LatestCheckpoint;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let (applied, membership) = self.machine.applied();
        let membership = membership.map(|bytes| decode_stored(&bytes)).transpose().map_err(io::Error::other)?;
        Ok((applied.map(log_id), membership.unwrap_or_default()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = self.apply_soundly(&entry).await;
            // One that another state has applied is never answered: what became of it here is not known.
            if let Some((responder, applied)) = responder.zip(applied) {
                responder.send(applied);
            }
        }
        self.machine.batch_done();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<LatestCheckpoint> {
        Some(LatestCheckpoint(self.machine.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> LatestCheckpoint {
        LatestCheckpoint(self.machine.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let Some(at) = meta.last_log_id.as_ref().map(position) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a checkpoint from a peer names no log position"));
        };
        let membership = encode_stored(&meta.last_membership);
        let machine = self.machine.clone();
        let install = move || {
            let received = match snapshot {
                SnapshotData::Received(received) => received,
                SnapshotData::Pinned(held) => copy(&*machine, &*held)?,
                SnapshotData::Nothing => return Err(io::Error::other("a snapshot without content")),
            };
            machine.install(at, membership, received)
        };
        self.blocking.run(install).await?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.offers.choose(self.machine.checkpoint()?).map(snapshot).transpose()
    }
}

/// From one state machine of this process to another.
fn copy(to: &dyn StateMachine, held: &dyn PinnedCheckpoint) -> io::Result<Box<dyn IncomingCheckpoint>> {
    let mut received = to.receive(&held.description())?;
    let mut more = true;
    while more {
        let (after, _) = received.progress();
        let mut records = Vec::new();
        more = held.piece(after.as_deref(), limits::CHECKPOINT_PIECE_BYTES, &mut records)?;
        received.write(&records)?;
    }
    received.finish()?;
    Ok(received)
}

/// "Builds" the snapshot that is there already.
pub struct LatestCheckpoint(Arc<dyn StateMachine>);

impl RaftSnapshotBuilder<TypeConfig> for LatestCheckpoint {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        match self.0.checkpoint()? {
            Some(checkpoint) => snapshot(checkpoint),
            None => Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: SnapshotData::Nothing }),
        }
    }
}
