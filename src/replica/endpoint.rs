//! What connections ask of a replica.

use super::Replica;
use super::operators::facts;
use crate::consensus::Role;
use crate::limits;
use crate::pipeline::Submission;
use crate::replica::ordering::sequencer::Event;
use crate::session::{Connection, Connections, FourLetter, Server, Serving};
use crate::state::State;
use crate::watch::Watches;
use parking_lot::{MutexGuard, RwLockReadGuard};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A replica with the handle that tasks started on its behalf keep.
pub struct Front {
    pub replica: Arc<Replica>,
    pub words: facts::Words,
}

impl Server for Front {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.replica.state.read()
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.replica.watches.lock()
    }

    fn submit(&self, submission: Submission) {
        self.replica.inbox.put(Event::Submitted(submission));
    }

    /// ReadIndex: stronger than ZooKeeper's `sync`, which a deposed leader may answer. One that finds no leader waits.
    fn barrier(&self, connection: Arc<Connection>) {
        let replica = self.replica.clone();
        self.replica.runtime.spawn(async move {
            let _counted = SyncWaiting::new(&replica);
            let reached = tokio::select! {
                biased;
                reached = replica.barrier() => reached,
                () = gone(&connection) => return,
            };
            if !reached {
                return connection.close();
            }
            let state = replica.state.read();
            connection.synced(&state, &mut replica.watches.lock());
            drop(state);
            replica.connections.flush();
        });
    }

    fn serving(&self) -> Serving {
        self.replica.word.serving()
    }

    fn word_until_us(&self) -> u64 {
        match self.replica.word.serving() {
            // Its sessions live as long as it says so.
            Serving::ReadOnly => u64::MAX,
            Serving::Everybody | Serving::Nobody => self.replica.word.until_us(),
        }
    }

    fn connections(&self) -> &Arc<Connections> {
        &self.replica.connections
    }

    fn four_letter_words(&self) -> &dyn FourLetter {
        &self.words
    }
}

/// Counts one `sync` while it lives.
struct SyncWaiting<'a>(&'a Replica);

impl SyncWaiting<'_> {
    fn new(replica: &Replica) -> SyncWaiting<'_> {
        replica.syncs_waiting.fetch_add(1, Ordering::Relaxed);
        SyncWaiting(replica)
    }
}

impl Drop for SyncWaiting<'_> {
    fn drop(&mut self) {
        self.0.syncs_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns once nobody waits for the connection's answers any more.
async fn gone(connection: &Connection) {
    while !connection.has_ended() {
        tokio::time::sleep(limits::BARRIER_LOOK_INTERVAL).await;
    }
}

impl Replica {
    /// Waits until this member has applied whatever was acknowledged anywhere before the call. Asks again where a leader is
    /// lost over it. False: consensus has ended.
    pub(crate) async fn barrier(&self) -> bool {
        loop {
            let index = match self.leading.load(Ordering::Acquire) {
                true => self.consensus().read_index().await.ok(),
                false => self.way.read_index().await,
            };
            match index {
                Some(index) => return self.consensus().applied_at_least(index).await.is_ok(),
                None if *self.consensus().role().borrow() == Role::Stopped => return false,
                None => tokio::time::sleep(limits::BARRIER_AGAIN).await,
            }
        }
    }
}
