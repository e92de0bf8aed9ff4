//! What an applied transaction means for this server's clients: events, the reply to its writer, the end of
//! connections.

use super::departed::Departed;
use super::registry::Registry;
use crate::hooks;
use crate::metrics::Metrics;
use crate::model::ConnectionId;
use crate::model::txn::Txn;
use crate::session::Connection;
use crate::session::workers::Bell;
use crate::state::{Effects, State};
use crate::watch::Watches;
use crate::wire::reply::EventKind;
use parking_lot::Mutex;
use std::sync::Arc;

/// Queues what clients get, and wakes the connections' tasks.
pub(in crate::session) struct Delivery {
    registry: Arc<Registry>,
    departed: Arc<Departed>,
    metrics: Arc<Metrics>,
    /// Connections that got something since the last `flush`. A thread that holds this lock takes no other.
    to_wake: Mutex<Vec<Arc<Connection>>>,
}

impl Delivery {
    pub(crate) fn new(registry: Arc<Registry>, departed: Arc<Departed>, metrics: Arc<Metrics>) -> Delivery {
        Delivery { registry, departed, metrics, to_wake: Mutex::default() }
    }

    /// See `Connections::applied`.
    pub(crate) fn deliver(&self, state: &State, watches: &mut Watches, txn: &Txn, applied: &Effects) {
        let writer = txn.origin.as_ref().map(|origin| origin.connection);
        hooks::events_then_reply(
            watches,
            |watches| self.events(state, watches, applied),
            |watches| {
                if let Some(id) = writer.filter(|&id| self.registry.is_ours(id)) {
                    self.reply(id, state, watches, txn, applied);
                }
            },
        );
        for &(_, owner) in applied.sessions_closed.iter().chain(&applied.session_moved) {
            if Some(owner) != writer
                && let Some(connection) = self.registry.get(owner)
            {
                connection.close_after_flush();
            }
        }
    }

    /// The reply to the transaction's writer: a connection of this server, which may have ended.
    fn reply(&self, writer: ConnectionId, state: &State, watches: &mut Watches, txn: &Txn, applied: &Effects) {
        let connection = self.registry.get(writer);
        if !connection.is_some_and(|connection| connection.applied(state, watches, txn, applied)) {
            self.departed.applied(writer.number);
        }
    }

    fn events(&self, state: &State, watches: &mut Watches, applied: &Effects) {
        for event in &applied.events {
            let mut fired = 0;
            watches.trigger(event, &mut |id, _, path| {
                fired += 1;
                if let Some(connection) = self.registry.get(id) {
                    connection.event(state, event, path);
                }
            });
            self.count_fired(event.kind, fired);
        }
    }

    fn count_fired(&self, kind: EventKind, fired: u64) {
        let count = match kind {
            _ if fired == 0 => return,
            EventKind::Created => &self.metrics.node_created_watch_count,
            EventKind::Deleted => &self.metrics.node_deleted_watch_count,
            EventKind::DataChanged => &self.metrics.node_changed_watch_count,
            EventKind::ChildrenChanged => &self.metrics.node_children_watch_count,
        };
        count.add(fired);
    }

    /// Makes the next `flush` wake the connection's task.
    pub(crate) fn wake_later(&self, connection: Arc<Connection>) {
        self.to_wake.lock().push(connection);
    }

    /// Wakes the tasks of all connections that got something since the last call.
    pub(crate) fn flush(&self) {
        let connections = std::mem::take(&mut *self.to_wake.lock());
        if !connections.is_empty() {
            Bell::wake_all(connections);
        }
    }
}
