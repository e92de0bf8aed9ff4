//! Applying what consensus has committed: one transaction at a time, under the state's exclusive lock, and in this
//! order: the change of the tree, the events of its zxid, the reply to the writer, the reads parked behind it. That
//! order is one of the rules that hold everywhere (docs/ARCHITECTURE.md); `Connections::applied` keeps it.

use crate::consensus::{HeldCheckpoint, Receiving, StateMachine};
use crate::environment::wall_ms;
use crate::hooks;
use crate::model::txn::{Batch, Change};
use crate::plugin::admission;
use crate::replica::Replica;
use crate::replica::process::OrDie;
use crate::simulation::{self, Seen};
use crate::state::Effects;
use crate::storage::LogPosition;
use futures::future::BoxFuture;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where applying stands. Its lock is held while an entry is applied, so whoever holds it sees an entry's boundary.
#[derive(Default)]
pub struct Boundary {
    pub position: Option<LogPosition>,
    /// The membership as consensus encodes it, opaque to us.
    pub membership: Option<Vec<u8>>,
    /// Transactions applied before this member served: what the log had beyond the loaded state.
    pub replayed: u64,
    /// Kept from one transaction to the next for its buffers.
    pub applied: Effects,
}

impl StateMachine for Replica {
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool {
        let _whole = OrDie("applying a transaction");
        let mut boundary = self.boundary.lock();
        if self.recovered.load(Ordering::Relaxed) && !self.soundness.agrees(batch) {
            return false;
        }
        boundary.position = Some(at);
        // The chain fence: the same no-op on every replica.
        let fits = batch.term == at.term && batch.prev == self.state.read().last_zxid();
        if !hooks::passes_fence(fits) {
            simulation::see(|| Seen::Fenced { at, batch });
            return false;
        }
        let mut plugins_changed = false;
        let chores = self.state.read().chores().changes();
        let mut answered_late = Vec::new();
        for txn in batch.txns.iter() {
            boundary.applied.clear();
            let mut state = self.state.write();
            let before = state.last_zxid();
            state.apply(txn, &mut boundary.applied);
            simulation::see(|| Seen::Applied { at, batch, txn, before, digest: state.digest() });
            if admission::touches(txn) || self.plugins.waited_for(txn) {
                // Before anybody can see the tree it belongs to.
                self.plugins.refresh(&*state);
                let registry = self.plugins.registry();
                simulation::see(|| Seen::Bound { zxid: txn.zxid, registry: &registry });
                plugins_changed = true;
            }
            if hooks::replies_precede_next_txn() {
                self.connections.applied(&state, &mut self.watches.lock(), txn, &boundary.applied);
            } else {
                answered_late.push((txn, std::mem::take(&mut boundary.applied)));
            }
            self.provenance.note(txn);
            self.changed.note(txn);
            self.understands(&state);
        }
        for (txn, applied) in answered_late {
            self.connections.applied(&self.state.read(), &mut self.watches.lock(), txn, &applied);
        }
        if let Some(last) = batch.txns.last() {
            self.last_applied.store(last.zxid.0, Ordering::Release);
            self.soundness.note(last.zxid, self.state.read().digest());
        }
        if self.recovered.load(Ordering::Relaxed) {
            self.count_applied(batch);
        } else {
            boundary.replayed += batch.txns.len() as u64;
        }
        if plugins_changed || chores != self.state.read().chores().changes() {
            self.chores.notify_one();
        }
        if plugins_changed || self.changed.is_watched() {
            self.controllers_wake.notify_one();
        }
        true
    }

    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>) {
        let mut boundary = self.boundary.lock();
        boundary.position = Some(at);
        if membership.is_some() {
            boundary.membership = membership;
        }
    }

    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>) {
        let boundary = self.boundary.lock();
        (boundary.position, boundary.membership.clone())
    }

    fn batch_done(&self) {
        self.connections.flush();
    }

    fn is_sound(&self) -> bool {
        self.soundness.is_sound()
    }

    fn sound_again(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.soundness.sound_again())
    }

    fn checkpoint(&self) -> io::Result<Option<Arc<dyn HeldCheckpoint>>> {
        self.held_checkpoint()
    }

    fn receive(&self, description: &[u8]) -> io::Result<Box<dyn Receiving>> {
        self.receive_checkpoint(description)
    }

    fn install(&self, at: LogPosition, membership: Vec<u8>, received: Box<dyn Receiving>) -> io::Result<()> {
        self.install_checkpoint(at, membership, received)
    }
}

impl Replica {
    fn count_applied(&self, batch: &Batch) {
        let metrics = self.connections.metrics();
        metrics.commit_count.add(batch.txns.len() as u64);
        metrics.sync_processor_batch_size.add(batch.txns.len() as u64);
        if let Some(first) = batch.txns.first() {
            metrics.propagation_latency.add((wall_ms() - first.wall_ms).max(0) as u64);
        }
        for change in batch.txns.iter().flat_map(|txn| &txn.changes) {
            match change {
                Change::Create { path, data, .. } | Change::SetData { path, data, .. } => {
                    metrics.namespaces.written(path, data.as_ref().map_or(0, |data| data.len()));
                }
                Change::Delete { path } => metrics.namespaces.written(path, 0),
                _ => {}
            }
        }
        let expired = |change: &&Change| matches!(change, Change::CloseSession { expired: true, .. });
        let expired = batch.txns.iter().flat_map(|txn| &txn.changes).filter(expired).count();
        if expired > 0 {
            metrics.stale_sessions_expired.add(expired as u64);
        }
    }
}
