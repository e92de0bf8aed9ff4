//! Local sessions: sessions that only this member knows (`localSessionsEnabled`, and read-only mode).
//!
//! A local session is opened without a transaction, this member expires it, and it ends with the member. It writes like
//! a global session, but owns no ephemeral nodes. When it asks for its first ephemeral node, it becomes a global
//! session (ZooKeeper's LocalSessionTracker and UpgradeableSessionTracker).

use super::expiry::{Expiry, Heard};
use crate::model::txn::{Change, Txn};
use crate::model::{Password, SessionId};
use crate::wire::request::{CreateForm, Request, create_mode};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The local sessions of this member.
pub(crate) struct LocalSessions {
    expiry: Expiry,
    passwords: Mutex<HashMap<SessionId, Password>>,
}

impl LocalSessions {
    pub(crate) fn new(tick_ms: u32) -> LocalSessions {
        LocalSessions { expiry: Expiry::new(tick_ms), passwords: Mutex::default() }
    }

    /// Opens a session, or takes it up again: it has its full timeout from `now_ms` on.
    pub(crate) fn open(&self, session: SessionId, password: Password, timeout_ms: i32, now_ms: u64) -> Arc<Heard> {
        self.passwords.lock().insert(session, password);
        self.expiry.open(session, timeout_ms, now_ms)
    }

    /// The session's password. None: it is not a local session of this member.
    pub(crate) fn password(&self, session: SessionId) -> Option<Password> {
        self.passwords.lock().get(&session).copied()
    }

    /// Removes a session: it has been closed, or is global now.
    pub(crate) fn forget(&self, session: SessionId) {
        self.passwords.lock().remove(&session);
        self.expiry.forget(session);
    }

    /// Removes the sessions that an applied transaction opens as global sessions.
    pub(crate) fn follow(&self, txn: &Txn) {
        for change in &txn.changes {
            if let Change::OpenSession { session, .. } = change
                && self.passwords.lock().remove(session).is_some()
            {
                self.expiry.forget(*session);
            }
        }
    }

    /// Removes all sessions: this member is no longer cut off, and its clients open global sessions again.
    pub(crate) fn forget_all(&self) {
        let sessions = std::mem::take(&mut *self.passwords.lock());
        sessions.into_keys().for_each(|session| self.expiry.forget(session));
    }

    /// Removes the sessions that were silent too long, and returns them in order. Called every tick.
    pub(crate) fn expire(&self, now_ms: u64) -> Vec<SessionId> {
        let due = self.expiry.due(now_ms);
        due.iter().for_each(|&session| self.forget(session));
        due
    }

    /// As `Expiry::deadlines`.
    pub(crate) fn deadlines(&self) -> BTreeMap<u64, Vec<SessionId>> {
        self.expiry.deadlines()
    }

    pub(crate) fn count(&self) -> usize {
        self.passwords.lock().len()
    }
}

/// Whether the request needs a global session: it creates an ephemeral node.
pub(super) fn need_upgrade(request: &Request) -> bool {
    match request {
        Request::Create(create) => {
            let by_flags = matches!(create.form, CreateForm::Create | CreateForm::Create2 | CreateForm::IfNotExists);
            by_flags && matches!(create.flags, create_mode::EPHEMERAL | create_mode::EPHEMERAL_SEQUENTIAL)
        }
        Request::Multi(operations) => operations.iter().any(|operation| need_upgrade(&operation.request)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_sessions_are_removed() {
        let sessions = LocalSessions::new(1000);
        let (a, b) = (SessionId(1), SessionId(2));
        sessions.open(a, Password([1; 16]), 4000, 0);
        sessions.open(b, Password([2; 16]), 4000, 0).touch(3000);
        assert!(sessions.expire(4900).is_empty());
        assert_eq!(sessions.expire(5000), [a]);
        assert_eq!((sessions.password(a), sessions.password(b), sessions.count()), (None, Some(Password([2; 16])), 1));
        sessions.forget(b);
        assert!(sessions.expire(60_000).is_empty());
    }
}
