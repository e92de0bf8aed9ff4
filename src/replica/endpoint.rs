//! What connections ask of a member.

use super::Replica;
use super::ensemble::barrier;
use super::operators::member_facts::MemberFacts;
use super::ordering::event::Event;
use crate::pipeline::Submission;
use crate::session::{Connection, Connections, FourLetter, Server, Serving};
use crate::state::State;
use crate::watch::Watches;
use parking_lot::{MutexGuard, RwLockReadGuard};
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
