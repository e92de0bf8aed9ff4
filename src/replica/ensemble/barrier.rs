//! A read barrier: waits until this member has applied everything that any member acknowledged before the call.
//!
//! This is stronger than ZooKeeper's `sync`, which a deposed leader may answer.

use super::Ensemble;
use crate::consensus::Role;
use crate::limits;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::session::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Ensemble {
    /// Waits until this member has applied everything that was acknowledged before the call. If no leader answers, asks
    /// again. False: consensus has ended.
    pub(super) async fn barrier(&self, order: &WriteOrder) -> bool {
        loop {
            match self.read_index(order).await {
                Some(index) => return self.consensus().applied_at_least(index).await.is_ok(),
                None if *self.consensus().role().borrow() == Role::Stopped => return false,
                None => tokio::time::sleep(limits::BARRIER_AGAIN).await,
            }
        }
    }

    /// The log index that this member must have applied to see everything that was acknowledged before now. None: no
    /// leader has answered.
    pub(super) async fn read_index(&self, order: &WriteOrder) -> Option<u64> {
        match order.leadership.leads() {
            true => self.consensus().read_index().await.ok(),
            false => self.leader_link.read_index().await,
        }
    }

    /// `sync` requests of this member's clients that wait.
    pub(in crate::replica) fn syncs_waiting(&self) -> u64 {
        self.syncs_waiting.load(Ordering::Relaxed)
    }
}

/// Answers a client's `sync` behind a barrier. If consensus ends first, closes the connection.
pub(in crate::replica) async fn sync(replica: Arc<Replica>, connection: Arc<Connection>) {
    let (order, ensemble) = (&replica.order, &replica.ensemble);
    let _counted = SyncWaiting::new(ensemble);
    let reached = tokio::select! {
        biased;
        reached = ensemble.barrier(order) => reached,
        () = ended(&connection) => return,
    };
    if !reached {
        return connection.close();
    }
    let state = order.state.read();
    connection.synced(&state, &mut order.watches.lock());
    drop(state);
    order.connections.flush();
}

/// Returns once the connection has ended.
async fn ended(connection: &Connection) {
    while !connection.has_ended() {
        tokio::time::sleep(limits::BARRIER_LOOK_INTERVAL).await;
    }
}

/// Counts one `sync` while it lives.
struct SyncWaiting<'a>(&'a Ensemble);

impl SyncWaiting<'_> {
    fn new(ensemble: &Ensemble) -> SyncWaiting<'_> {
        ensemble.syncs_waiting.fetch_add(1, Ordering::Relaxed);
        SyncWaiting(ensemble)
    }
}

impl Drop for SyncWaiting<'_> {
    fn drop(&mut self) {
        let before = self.0.syncs_waiting.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "each waiting `sync` is counted once");
    }
}
