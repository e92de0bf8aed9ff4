//! All connections of this server: by number, and by the session that each serves.

use crate::model::{ConnectionId, SessionId};
use crate::session::Connection;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The connections, from their registration to the end of their tasks. A thread that holds one of the locks here takes
/// no other lock.
pub(in crate::session) struct Registry {
    /// The number of this member. With `run`, it makes the first two parts of every `ConnectionId` that is given out
    /// here.
    member: u32,
    run: u32,
    /// The number given out last; 0 before the first.
    last_number: AtomicU64,
    /// Invariant: a number stands for one connection for ever, so none is entered twice.
    by_number: Mutex<HashMap<u64, Arc<Connection>>>,
    /// The connection that took up a session last.
    by_session: Mutex<HashMap<SessionId, ConnectionId>>,
}

impl Registry {
    /// `run` is a random number that tells this run of the member from all others.
    pub(crate) fn new(member: u32, run: u32) -> Registry {
        Registry {
            member,
            run,
            last_number: AtomicU64::new(0),
            by_number: Mutex::default(),
            by_session: Mutex::default(),
        }
    }

    /// An id that no connection has, and none will have.
    pub(crate) fn new_id(&self) -> ConnectionId {
        self.id(self.last_number.fetch_add(1, Relaxed) + 1)
    }

    /// The id of this server's connection with that number.
    pub(crate) fn id(&self, number: u64) -> ConnectionId {
        ConnectionId { member: self.member, run: self.run, number }
    }

    /// Whether the connection belongs to this run of this member, ended or not.
    pub(crate) fn is_ours(&self, id: ConnectionId) -> bool {
        (id.member, id.run) == (self.member, self.run)
    }

    pub(crate) fn enter(&self, connection: Arc<Connection>) {
        let id = connection.id();
        assert!(self.is_ours(id), "a server registers its own connections");
        let before = self.by_number.lock().insert(id.number, connection);
        assert!(before.is_none(), "connection {} is registered once", id.number);
    }

    /// Removes a connection. Its session keeps an entry if another connection has taken it up.
    pub(crate) fn remove(&self, connection: &Connection) {
        let id = connection.id();
        let removed = self.by_number.lock().remove(&id.number);
        assert!(removed.is_some(), "connection {} is removed once", id.number);
        let mut by_session = self.by_session.lock();
        if by_session.get(&connection.session()) == Some(&id) {
            by_session.remove(&connection.session());
        }
    }

    /// `connection` serves `session` from now on.
    pub(crate) fn takes_up(&self, session: SessionId, connection: &Connection) {
        assert_ne!(session, SessionId::NONE, "connection {} has a session", connection.id().number);
        self.by_session.lock().insert(session, connection.id());
    }

    /// The connection with that id. None: it belongs to another member, or has ended.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        self.is_ours(id).then(|| self.by_number.lock().get(&id.number).cloned()).flatten()
    }

    /// The connection that serves the session here.
    pub(crate) fn of_session(&self, session: SessionId) -> Option<Arc<Connection>> {
        let id = self.by_session.lock().get(&session).copied()?;
        self.get(id)
    }

    /// All connections, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<Arc<Connection>> = self.by_number.lock().values().cloned().collect();
        all.sort_unstable_by_key(|connection| connection.id().number);
        all
    }

    pub(crate) fn count(&self) -> usize {
        self.by_number.lock().len()
    }

    /// The ensemble's sessions that have a connection here and gave a sign of life at `ms` or later (`Heard::since`),
    /// in order. The order is the same in every run of a simulation.
    pub(crate) fn heard_since(&self, ms: u64) -> Vec<SessionId> {
        let by_number = self.by_number.lock();
        let heard = by_number.values().filter(|connection| connection.heard_since(ms));
        let mut sessions: Vec<SessionId> = heard.map(|connection| connection.session()).collect();
        drop(by_number);
        sessions.sort_unstable();
        sessions
    }

    #[cfg(test)]
    pub(crate) fn run(&self) -> u32 {
        self.run
    }
}
