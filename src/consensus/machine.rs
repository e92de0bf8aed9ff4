//! openraft's state machine, over `StateMachine`.
//!
//! openraft's snapshots are the checkpoints on the disk, which `Consensus::checkpointed` reports. So openraft knows of
//! exactly the checkpoints that exist, and never purges an entry that only memory holds.

use super::checkpoint_transfer::CheckpointOffers;
use super::types::{ApplyResult, Entry, LogId, Payload, StoredMembership, TypeConfig, decode_stored, encode_stored};
use super::types::{log_id, position};
use super::{BlockingWork, IncomingCheckpoint, PinnedCheckpoint, SnapshotData, StateMachine};
use crate::limits;
use crate::storage::LogPosition;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::Arc;

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;
type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

pub(crate) struct Machine {
    machine: Arc<dyn StateMachine>,
    offers: Arc<CheckpointOffers>,
    blocking: BlockingWork,
    /// The last entry that openraft handed in, by `apply` or by a snapshot.
    ///
    /// Invariant: grows strictly. openraft hands in committed entries in log order, each once (docs of
    /// `RaftStateMachine::apply`; `docs::protocol::commit`).
    handed_in: Option<LogPosition>,
    /// The state was replaced by a state that has applied every entry up to this index. Invariant: never falls.
    replaced_at: Option<u64>,
}

impl Machine {
    pub(crate) fn new(
        machine: Arc<dyn StateMachine>,
        offers: Arc<CheckpointOffers>,
        blocking: BlockingWork,
    ) -> Machine {
        let handed_in = machine.applied().0;
        Machine { machine, offers, blocking, handed_in, replaced_at: None }
    }

    /// The index of the entry to apply next.
    pub(crate) fn next_index(&self) -> u64 {
        self.handed_in.map_or(0, |at| at.index + 1)
    }

    pub(crate) fn batch_done(&self) {
        self.machine.batch_done();
    }

    /// Applies the entry to a sound state. None if the state was replaced by one that has the entry applied already.
    async fn apply_soundly(&mut self, entry: &Entry) -> Option<ApplyResult> {
        self.hand_in(position(&entry.log_id));
        loop {
            if self.replaced_at.is_some_and(|replaced_at| entry.log_id.index <= replaced_at) {
                return None;
            }
            let applied = self.apply_to_state(entry);
            if self.machine.is_sound() {
                return Some(applied);
            }
            self.machine.until_sound().await;
            let replaced_at = self.machine.applied().0.map(|at| at.index);
            assert!(replaced_at >= self.replaced_at, "the state falls behind entry {:?}", self.replaced_at);
            self.replaced_at = replaced_at;
        }
    }

    /// Applies an entry of the log before openraft starts.
    pub(crate) fn replay(&mut self, entry: &Entry) {
        let at = position(&entry.log_id);
        assert!(at.index == self.next_index(), "entry {at} is replayed behind {:?}", self.handed_in);
        self.hand_in(at);
        self.apply_to_state(entry);
    }

    fn hand_in(&mut self, at: LogPosition) {
        assert!(self.handed_in < Some(at), "entry {at} is applied behind {:?}", self.handed_in);
        self.handed_in = Some(at);
    }

    fn apply_to_state(&self, entry: &Entry) -> ApplyResult {
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
            // If another state has applied the entry, its result here is not known, and it is never answered.
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
        self.hand_in(at);
        if self.replaced_at.is_some_and(|replaced_at| at.index <= replaced_at) {
            // The state has applied this entry and later ones, which openraft hands in next, and must not go back.
            return Ok(());
        }
        let membership = encode_stored(&meta.last_membership);
        let machine = self.machine.clone();
        let install = move || {
            let received = match snapshot {
                SnapshotData::Received(received) => received,
                SnapshotData::Pinned(pinned) => copy(&*machine, &*pinned)?,
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

/// Copies a checkpoint from one state machine of this process to another.
fn copy(to: &dyn StateMachine, pinned: &dyn PinnedCheckpoint) -> io::Result<Box<dyn IncomingCheckpoint>> {
    let mut received = to.receive(&pinned.description())?;
    let mut more = true;
    while more {
        let (after, _) = received.progress();
        let mut records = Vec::new();
        more = pinned.piece(after.as_deref(), limits::CHECKPOINT_PIECE_BYTES, &mut records)?;
        received.write(&records)?;
    }
    received.finish()?;
    Ok(received)
}

/// "Builds" the snapshot that is there already.
pub(crate) struct LatestCheckpoint(Arc<dyn StateMachine>);

impl RaftSnapshotBuilder<TypeConfig> for LatestCheckpoint {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        match self.0.checkpoint()? {
            Some(checkpoint) => snapshot(checkpoint),
            None => Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: SnapshotData::Nothing }),
        }
    }
}
