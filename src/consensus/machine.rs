//! openraft's state machine, over our `StateMachine`.
//!
//! Snapshots, to openraft, are the checkpoints that `Consensus::checkpointed` reported: what it believes to have is exactly
//! what is on the disk, so it can never purge an entry that only memory holds.

use super::types::{Applied, Entry, LogId, Payload, StoredMembership, TypeConfig, decode_stored, encode_stored};
use super::types::{log_id, position};
use super::{SnapshotData, StateMachine};
use crate::storage::wal::LogPosition;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;
type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// Which checkpoint there is, and the membership as of it.
#[derive(Debug, Default)]
pub struct Checkpoints {
    at: Option<LogPosition>,
    /// In log order: those since the checkpoint, and the last one before.
    memberships: Vec<StoredMembership>,
}

impl Checkpoints {
    fn membership(&self) -> StoredMembership {
        let at = self.at.map(log_id);
        self.memberships.iter().rev().find(|stored| *stored.log_id() <= at).cloned().unwrap_or_default()
    }

    fn enter(&mut self, membership: StoredMembership) {
        self.memberships.push(membership);
    }

    pub fn checkpointed(&mut self, at: LogPosition) {
        self.at = self.at.max(Some(at));
        let reached = self.at.map(log_id);
        let before = self.memberships.iter().filter(|stored| *stored.log_id() <= reached).count();
        self.memberships.drain(..before.saturating_sub(1));
    }
}

pub struct Machine {
    machine: Arc<dyn StateMachine>,
    checkpoints: Arc<Mutex<Checkpoints>>,
}

impl Machine {
    /// The state as it was loaded is a checkpoint.
    pub fn new(machine: Arc<dyn StateMachine>, checkpoints: Arc<Mutex<Checkpoints>>) -> Result<Machine, String> {
        let (applied, membership) = machine.applied();
        {
            let mut checkpoints = checkpoints.lock();
            if let Some(membership) = membership {
                checkpoints.enter(decode_stored(&membership)?);
            }
            checkpoints.at = applied;
        }
        Ok(Machine { machine, checkpoints })
    }

    /// The index of the entry to apply next.
    pub fn next_index(&self) -> u64 {
        self.machine.applied().0.map_or(0, |at| at.index + 1)
    }

    pub fn batch_done(&self) {
        self.machine.batch_done();
    }

    pub fn apply_one(&self, entry: &Entry) -> Applied {
        let at = position(&entry.log_id);
        match &entry.payload {
            Payload::Normal(batch) => return Applied { accepted: self.machine.apply(at, batch) },
            Payload::Blank => self.machine.apply_other(at, None),
            Payload::Membership(membership) => {
                let stored = StoredMembership::new(Some(entry.log_id.clone()), membership.clone());
                let bytes = encode_stored(&stored);
                self.checkpoints.lock().enter(stored);
                self.machine.apply_other(at, Some(bytes));
            }
        }
        Applied { accepted: true }
    }

    fn current(&self) -> Option<Snapshot> {
        let checkpoints = self.checkpoints.lock();
        let meta =
            SnapshotMeta { last_log_id: Some(log_id(checkpoints.at?)), last_membership: checkpoints.membership() };
        Some(Snapshot { meta, snapshot: self.machine.snapshot() })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Checkpoint;

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
            let applied = self.apply_one(&entry);
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        self.machine.batch_done();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Checkpoint> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Checkpoint {
        // Without a checkpoint the snapshot covers nothing: no entry may go, and no peer is served from it.
        let nothing = || Snapshot { meta: SnapshotMeta::default(), snapshot: self.machine.snapshot() };
        Checkpoint(self.current().unwrap_or_else(nothing))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let Some(at) = meta.last_log_id.as_ref().map(position) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a checkpoint from a peer names no log position"));
        };
        self.machine.install(at, encode_stored(&meta.last_membership), snapshot)?;
        *self.checkpoints.lock() = Checkpoints { at: Some(at), memberships: vec![meta.last_membership.clone()] };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.current())
    }
}

/// "Builds" the snapshot that is there already.
pub struct Checkpoint(Snapshot);

impl RaftSnapshotBuilder<TypeConfig> for Checkpoint {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(self.0.clone())
    }
}
