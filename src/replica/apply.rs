//! Applying what consensus has committed: one transaction at a time, under the state's exclusive lock, and in this
//! order: the change of the tree, the events of its zxid, the reply to the writer, the reads parked behind it. That
//! order is what section 3 of the architecture calls sacred (b).

use super::Replica;
use crate::consensus::{LogPosition, StateMachine};
use crate::model::Zxid;
use crate::pipeline::txn::{Batch, Txn};
use crate::plugin;
use crate::state::Applied;
use std::sync::atomic::Ordering;

/// Where applying stands. Its lock is held while an entry is applied, so whoever holds it sees an entry's boundary.
#[derive(Default)]
pub struct Boundary {
    pub position: Option<LogPosition>,
    /// The membership as consensus encodes it, opaque to us.
    pub membership: Option<Vec<u8>>,
    /// Kept from one transaction to the next for its buffers.
    applied: Applied,
}

impl StateMachine for Replica {
    fn apply(&self, at: LogPosition, batch: &Batch) -> bool {
        let mut boundary = self.boundary.lock();
        boundary.position = Some(at);
        // The chain fence: the same no-op on every replica.
        if batch.term != at.term || batch.prev != self.state().last_zxid() {
            return false;
        }
        let mut plugins_changed = false;
        for txn in batch.txns.iter() {
            self.apply_txn(txn, &mut boundary.applied);
            plugins_changed |= plugin::touches_registry(txn);
        }
        if plugins_changed {
            self.plugins.rebuild(&self.state());
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
}

impl Replica {
    fn apply_txn(&self, txn: &Txn, applied: &mut Applied) {
        applied.clear();
        let mut state = self.state.write();
        state.apply(txn, applied);
        self.last_applied.store(txn.zxid.0, Ordering::Release);
        if !applied.events.is_empty() {
            self.deliver_events(txn.zxid, applied);
        }
        if let Some(origin) = &txn.origin {
            if let Some(connection) = self.connections.get(origin.connection) {
                connection.applied(&state, txn, applied);
            }
        }
        for &(session, timeout_ms) in &applied.sessions_opened {
            self.expiry.add(session, timeout_ms, self.now_ms());
        }
        for &(session, owner) in &applied.sessions_closed {
            self.expiry.remove(session);
            self.connections.session_ended(session, owner, txn.origin.as_ref());
        }
        if let Some((_, former)) = applied.session_moved {
            self.connections.close(former);
        }
    }

    fn deliver_events(&self, zxid: Zxid, applied: &Applied) {
        let mut watches = self.watches.lock();
        for event in &applied.events {
            watches.trigger(event, &mut |connection, kind, path| {
                if let Some(connection) = self.connections.get(connection) {
                    connection.event(zxid, kind, path, &event.acl);
                }
            });
        }
    }
}
