//! What other rooms ask of a member: connections by the trait `Server`, consensus by the trait `StateMachine`.

use super::Replica;
use super::ensemble::barrier;
use super::operators::member_facts::MemberFacts;
use super::ordering::event::Event;
use crate::consensus::{IncomingCheckpoint, PinnedCheckpoint, StateMachine};
use crate::model::txn::Batch;
use crate::pipeline::Submission;
use crate::session::{Connection, Connections, FourLetter, Server, Serving};
use crate::state::State;
use crate::storage::LogPosition;
use crate::watch::Watches;
use futures::future::BoxFuture;
use parking_lot::{MutexGuard, RwLockReadGuard};
use std::io;
use std::sync::Arc;

/// A member as its connections, and the HTTP interface, see it.
pub(crate) struct Endpoint {
    pub(crate) replica: Arc<Replica>,
    pub(crate) facts: MemberFacts,
}

impl Server for Endpoint {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.replica.order.state.read()
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        assert!(self.replica.order.state.is_locked(), "watches are locked only while the state is locked");
        self.replica.order.watches.lock()
    }

    fn submit(&self, submission: Submission) {
        self.replica.order.inbox.put(Event::Submitted(submission));
    }

    /// If no leader answers, the connection waits.
    fn barrier(&self, connection: Arc<Connection>) {
        self.replica.runtime.spawn(barrier::sync(self.replica.clone(), connection));
    }

    fn serving(&self) -> Serving {
        self.replica.ensemble.lease.serving()
    }

    fn lease_until_us(&self) -> u64 {
        match self.replica.ensemble.lease.serving() {
            // A session that only reads lives as long as this member says so.
            Serving::ReadOnly => u64::MAX,
            Serving::Everybody | Serving::Nobody => self.replica.ensemble.lease.until_us(),
        }
    }

    fn connections(&self) -> &Arc<Connections> {
        &self.replica.order.connections
    }

    fn four_letter_words(&self) -> &dyn FourLetter {
        &self.facts
    }
}

impl StateMachine for Replica {
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool {
        let applied = self.order.apply(at, batch);
        if applied.accepted {
            self.plugins.applied(batch, applied);
        }
        applied.accepted
    }

    fn apply_other(&self, at: LogPosition, membership: Option<Vec<u8>>) {
        self.order.apply_other(at, membership);
    }

    fn applied(&self) -> (Option<LogPosition>, Option<Vec<u8>>) {
        let boundary = self.order.boundary.lock();
        (boundary.position(), boundary.membership().cloned())
    }

    fn batch_done(&self) {
        self.order.connections.flush();
    }

    fn is_sound(&self) -> bool {
        self.order.soundness.is_sound()
    }

    fn until_sound(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.order.soundness.until_sound())
    }

    fn checkpoint(&self) -> io::Result<Option<Arc<dyn PinnedCheckpoint>>> {
        self.files.held_checkpoint()
    }

    fn receive(&self, description: &[u8]) -> io::Result<Box<dyn IncomingCheckpoint>> {
        self.files.receive(description)
    }

    fn install(&self, at: LogPosition, membership: Vec<u8>, received: Box<dyn IncomingCheckpoint>) -> io::Result<()> {
        // A checkpoint can come from another member before consensus has finished starting.
        let log_bytes = self.ensemble.log_bytes_written();
        self.files.install(&self.order, log_bytes, at, membership, received)
    }
}
