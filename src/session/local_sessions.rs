//! Sessions that only this member knows (`localSessionsEnabled`, and those of read-only mode): opened without a
//! transaction, expired by this member, gone with it. They write like others but own no ephemeral nodes; the first one
//! they ask for makes them everybody's (ZooKeeper's LocalSessionTracker and UpgradeableSessionTracker).

use super::expiry::{Expiry, Heard};
use crate::model::txn::{Change, Txn};
use crate::model::{Password, SessionId};
use crate::wire::request::{CreateForm, Request, create_mode};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct LocalSessions {
    expiry: Expiry,
    passwords: Mutex<HashMap<SessionId, Password>>,
}

impl LocalSessions {
    pub fn new(tick_ms: u32) -> LocalSessions {
        LocalSessions { expiry: Expiry::new(tick_ms), passwords: Mutex::default() }
    }

    pub fn open(&self, session: SessionId, password: Password, timeout_ms: i32, now_ms: u64) -> Arc<Heard> {
        self.passwords.lock().insert(session, password);
        self.expiry.open(session, timeout_ms, now_ms)
    }

    /// Its password; none if it is not one of these.
    pub fn password(&self, session: SessionId) -> Option<Password> {
        self.passwords.lock().get(&session).copied()
    }

    /// It has been closed, or is everybody's now.
    pub fn forget(&self, session: SessionId) {
        self.passwords.lock().remove(&session);
        self.expiry.forget(session);
    }

    /// What an applied transaction does: one that it opens is everybody's.
    pub fn follow(&self, txn: &Txn) {
        for change in &txn.changes {
            if let Change::OpenSession { session, .. } = change
                && self.passwords.lock().remove(session).is_some()
            {
                self.expiry.forget(*session);
            }
        }
    }

    /// This member is no longer cut off, and sessions are everybody's again.
    pub fn forget_all(&self) {
        let sessions = std::mem::take(&mut *self.passwords.lock());
        sessions.into_keys().for_each(|session| self.expiry.forget(session));
    }

    /// Those that were silent too long, in order. To be asked every tick; they are forgotten.
    pub fn expire(&self, now_ms: u64) -> Vec<SessionId> {
        let due = self.expiry.due(now_ms);
        due.iter().for_each(|&session| self.forget(session));
        due
    }

    /// As `Expiry::deadlines`.
    pub fn deadlines(&self) -> BTreeMap<u64, Vec<SessionId>> {
        self.expiry.deadlines()
    }

    pub fn count(&self) -> usize {
        self.passwords.lock().len()
    }
}

/// Whether a session must be everybody's for that: an ephemeral node has to go with it.
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
    fn they_expire_here_and_are_gone() {
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
