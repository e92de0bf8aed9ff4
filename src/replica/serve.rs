//! What connections ask of a replica.

use super::sequencer::Event;
use super::{Replica, facts};
use crate::pipeline::Submission;
use crate::session::{Connection, Connections, FourLetter, Server};
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

    /// ReadIndex: stronger than ZooKeeper's `sync`, which a deposed leader may answer.
    fn barrier(&self, connection: Arc<Connection>) {
        let replica = self.replica.clone();
        self.replica.runtime.spawn(async move {
            match replica.consensus().read_barrier().await {
                Ok(()) => {
                    let state = replica.state.read();
                    connection.synced(&state, &mut replica.watches.lock());
                    drop(state);
                    replica.connections.flush();
                }
                Err(error) => {
                    tracing::debug!(%error, "no barrier: the connection is closed");
                    connection.close();
                }
            }
        });
    }

    fn serving(&self) -> bool {
        self.replica.serving.load(Ordering::Acquire)
    }

    fn connections(&self) -> &Arc<Connections> {
        &self.replica.connections
    }

    fn four_letter_words(&self) -> &dyn FourLetter {
        &self.words
    }
}
