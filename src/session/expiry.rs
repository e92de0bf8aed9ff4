//! When each session gave its last sign of life, and which sessions have been silent too long.
//!
//! Every member keeps the table. Only the leader asks which sessions are due. Times are milliseconds of the member's
//! clock and are passed as arguments. Noting a sign of life is one atomic store.
//!
//! As in ZooKeeper's ExpiryQueue, a session expires at the next multiple of tickTime behind its timeout. Unlike
//! ZooKeeper, only time in which the expirer ran counts. A tick may come late: the process was stopped, the machine was
//! overloaded, a laptop slept. A late tick extends every session by the delay, since the server could not hear clients
//! meanwhile.

use crate::hooks;
use crate::model::SessionId;
use crate::model::txn::{Change, Txn};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The table of sessions and their last signs of life.
pub(crate) struct Expiry {
    /// Invariant: not 0.
    tick_ms: u64,
    table: Mutex<Table>,
}

struct Table {
    sessions: HashMap<SessionId, Entry>,
    /// When `due` was last called, or a later leadership began. None: neither has happened.
    asked_ms: Option<u64>,
}

struct Entry {
    timeout_ms: u64,
    heard: Arc<Heard>,
}

impl Entry {
    /// Whether the session's end has begun (`Session::ENDING`). Then no sign of life counts.
    fn is_ending(&self) -> bool {
        self.timeout_ms == 0
    }
}

/// A session's last sign of life. The session's connection and the table share it.
#[derive(Debug)]
pub(crate) struct Heard {
    last_ms: AtomicU64,
    /// Whether backpressure keeps the server from reading the connection. The session then counts as alive.
    held: AtomicBool,
}

impl Heard {
    /// The session gives a sign of life at `now_ms`.
    pub(crate) fn touch(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Relaxed);
    }

    /// Backpressure begins or ends.
    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
    }

    /// Whether there was a sign of life at `ms` or later, or backpressure holds the connection.
    pub(crate) fn since(&self, ms: u64) -> bool {
        self.held.load(Relaxed) || self.last_ms.load(Relaxed) >= ms
    }
}

impl Expiry {
    pub(crate) fn new(tick_ms: u32) -> Expiry {
        let table = Table { sessions: HashMap::new(), asked_ms: None };
        Expiry { tick_ms: u64::from(tick_ms.max(1)), table: Mutex::new(table) }
    }

    /// Enters a session that was opened, attached or loaded. It has its full timeout from `now_ms` on.
    pub(crate) fn open(&self, session: SessionId, timeout_ms: i32, now_ms: u64) -> Arc<Heard> {
        let mut table = self.table.lock();
        let entry = table.sessions.entry(session).or_insert_with(|| Entry {
            timeout_ms: 0,
            heard: Arc::new(Heard { last_ms: AtomicU64::new(now_ms), held: AtomicBool::new(false) }),
        });
        entry.timeout_ms = timeout_ms.max(0) as u64;
        entry.heard.touch(now_ms);
        entry.heard.clone()
    }

    /// Enters a session that comes from another table, and that keeps its last sign of life.
    pub(crate) fn adopt(&self, session: SessionId, timeout_ms: i32, heard: Arc<Heard>) {
        let entry = Entry { timeout_ms: timeout_ms.max(0) as u64, heard };
        self.table.lock().sessions.insert(session, entry);
    }

    /// Removes a session: it is closed, or belongs in another table.
    pub(crate) fn forget(&self, session: SessionId) {
        self.table.lock().sessions.remove(&session);
    }

    /// Removes all sessions: they will be entered anew.
    pub(crate) fn forget_all(&self) {
        self.table.lock().sessions.clear();
    }

    /// Does to the table what an applied transaction does to sessions.
    pub(crate) fn follow(&self, txn: &Txn, now_ms: u64) {
        for change in &txn.changes {
            match *change {
                Change::OpenSession { session, timeout_ms, .. } | Change::AttachSession { session, timeout_ms, .. } => {
                    // A new connection starts with a new `Heard`, so that backpressure on the old one does not count.
                    self.table.lock().sessions.remove(&session);
                    self.open(session, timeout_ms, now_ms);
                }
                Change::CloseSession { session, .. } => {
                    self.table.lock().sessions.remove(&session);
                }
                _ => {}
            }
        }
    }

    /// A sign of life that another member reports.
    pub(crate) fn hear(&self, session: SessionId, now_ms: u64) {
        if let Some(entry) = self.table.lock().sessions.get(&session) {
            entry.heard.touch(now_ms);
        }
    }

    /// The last sign of life of a session.
    #[cfg(test)]
    pub(crate) fn last_heard_ms(&self, session: SessionId) -> Option<u64> {
        self.table.lock().sessions.get(&session).map(|entry| entry.heard.last_ms.load(Relaxed))
    }

    /// A leadership begins: every session gets its full timeout.
    pub(crate) fn grant_all(&self, now_ms: u64) {
        let mut table = self.table.lock();
        // The time until the expirer first runs does not count, as any time in which the expirer does not run.
        table.asked_ms = Some(now_ms);
        table.sessions.values().for_each(|entry| entry.heard.touch(now_ms));
    }

    /// The sessions that have expired, in order. Called twice a tick. Names a session at each call until it is closed.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<SessionId> {
        let mut table = self.table.lock();
        // Two calls are half a tick apart. If they are farther apart, the expirer stood still for some of that time.
        // How long is not known, so none of the time counts.
        let gap_ms = table.asked_ms.replace(now_ms).map_or(0, |asked_ms| now_ms.saturating_sub(asked_ms));
        let late_ms = if gap_ms > self.tick_ms * 3 / 4 { gap_ms } else { 0 };
        let late_ms = hooks::forgiven_ms(late_ms);
        let mut due = Vec::new();
        for (&session, entry) in &table.sessions {
            if entry.is_ending() {
                due.push(session);
                continue;
            }
            let heard = &entry.heard;
            if heard.held.load(Relaxed) {
                heard.touch(now_ms);
                continue;
            }
            let mut last_ms = heard.last_ms.load(Relaxed);
            if late_ms > 0 {
                let extended_ms = (last_ms + late_ms).min(now_ms.max(last_ms));
                assert!(extended_ms >= last_ms, "a late tick takes no time from a session");
                // The exchange fails if the session gives a sign of life at this very moment.
                let _ = heard.last_ms.compare_exchange(last_ms, extended_ms, Relaxed, Relaxed);
                last_ms = extended_ms;
            }
            if self.deadline(last_ms, entry.timeout_ms) <= now_ms {
                due.push(session);
            }
        }
        due.sort_unstable();
        due
    }

    /// Whether `due` would name the session now. It may have given a sign of life, or got more time, since `due` named
    /// it.
    pub(crate) fn is_due(&self, session: SessionId, now_ms: u64) -> bool {
        let table = self.table.lock();
        table.sessions.get(&session).is_some_and(|entry| {
            let heard = &entry.heard;
            let is_silent = || self.deadline(heard.last_ms.load(Relaxed), entry.timeout_ms) <= now_ms;
            entry.is_ending() || !heard.held.load(Relaxed) && is_silent()
        })
    }

    /// Sessions by the time at which they would expire, for `dump`.
    pub(crate) fn deadlines(&self) -> BTreeMap<u64, Vec<SessionId>> {
        let mut deadlines = BTreeMap::<u64, Vec<SessionId>>::new();
        for (&session, entry) in &self.table.lock().sessions {
            let deadline = self.deadline(entry.heard.last_ms.load(Relaxed), entry.timeout_ms);
            deadlines.entry(deadline).or_default().push(session);
        }
        deadlines.values_mut().for_each(|sessions| sessions.sort_unstable());
        deadlines
    }

    pub(crate) fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// When a session expires: ExpiryQueue.roundToNextInterval.
    fn deadline(&self, heard_ms: u64, timeout_ms: u64) -> u64 {
        let timeout_ends_ms = heard_ms + timeout_ms;
        let deadline_ms = (timeout_ends_ms / self.tick_ms + 1) * self.tick_ms;
        assert!(deadline_ms > timeout_ends_ms, "a session has its whole timeout");
        assert!(deadline_ms - timeout_ends_ms <= self.tick_ms, "a session expires within a tick behind its timeout");
        deadline_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    /// The process stands still between the beginning of its leadership and the expirer's first run.
    #[test]
    fn a_pause_at_the_beginning_of_a_leadership_does_not_count() {
        let expiry = Expiry::new(200);
        expiry.open(A, 1000, 0);
        expiry.grant_all(10_000);
        assert!(expiry.due(12_000).is_empty());
        assert_eq!(first_due(&expiry, 12_100, 20_000), Some((13_200, vec![A])));
    }

    /// Asks every 100 ms from `from` to `to`, as the expirer does. Returns the first answer that names a session.
    fn first_due(expiry: &Expiry, from: u64, to: u64) -> Option<(u64, Vec<SessionId>)> {
        (from..=to).step_by(100).map(|now| (now, expiry.due(now))).find(|(_, due)| !due.is_empty())
    }

    #[test]
    fn expires_at_the_next_tick_behind_the_timeout() {
        let expiry = Expiry::new(2000);
        expiry.open(A, 4000, 1000);
        assert_eq!(first_due(&expiry, 1000, 10_000), Some((6000, vec![A])));
        let expiry = Expiry::new(2000);
        expiry.open(A, 4000, 2000);
        assert_eq!(
            first_due(&expiry, 2000, 10_000),
            Some((8000, vec![A])),
            "a timeout that ends at a tick gets one tick more"
        );
    }

    #[test]
    fn a_sign_of_life_postpones_the_end() {
        let expiry = Expiry::new(1000);
        let heard = expiry.open(A, 4000, 0);
        expiry.open(B, 4000, 0);
        heard.touch(3000);
        assert_eq!(first_due(&expiry, 3000, 6000), Some((5000, vec![B])));
        expiry.hear(A, 5000);
        assert_eq!(expiry.due(8000), [B]);
    }

    #[test]
    fn no_sign_of_life_keeps_a_session_whose_end_has_begun() {
        let expiry = Expiry::new(1000);
        let heard = expiry.open(A, 4000, 0);
        expiry.adopt(A, 0, heard.clone());
        heard.touch(500);
        heard.hold(true);
        assert!(expiry.is_due(A, 500) && expiry.due(500) == [A]);
    }

    #[test]
    fn a_late_tick_extends_every_session() {
        let expiry = Expiry::new(1000);
        expiry.open(A, 4000, 0);
        assert!(expiry.due(0).is_empty());
        // The process stood still for a minute.
        assert!(expiry.due(60_000).is_empty());
        // That minute does not count: 4,000 ms are left, rounded up to a tick.
        assert_eq!(first_due(&expiry, 60_100, 70_000), Some((65_000, vec![A])));
    }

    #[test]
    fn a_session_under_backpressure_is_alive() {
        let expiry = Expiry::new(1000);
        let heard = expiry.open(A, 4000, 0);
        heard.hold(true);
        assert_eq!(first_due(&expiry, 0, 30_000), None);
        heard.hold(false);
        assert_eq!(first_due(&expiry, 30_100, 40_000), Some((35_000, vec![A])));
    }

    #[test]
    fn a_new_leader_grants_full_timeouts() {
        let expiry = Expiry::new(1000);
        expiry.open(A, 4000, 0);
        expiry.grant_all(100_000);
        assert_eq!(first_due(&expiry, 100_000, 110_000), Some((105_000, vec![A])));
    }

    #[test]
    fn a_due_session_may_be_saved() {
        let expiry = Expiry::new(1000);
        expiry.open(A, 4000, 0);
        assert!(expiry.is_due(A, 5000) && !expiry.is_due(A, 4999) && !expiry.is_due(B, 5000));
        expiry.hear(A, 4999);
        assert!(!expiry.is_due(A, 5000));
        assert!(expiry.is_due(A, 9999));
        expiry.grant_all(9998);
        assert!(!expiry.is_due(A, 9999));
    }

    #[test]
    fn deadlines_for_dump() {
        let expiry = Expiry::new(2000);
        expiry.open(B, 4000, 0);
        expiry.open(A, 4000, 100);
        assert_eq!(expiry.deadlines().into_iter().collect::<Vec<_>>(), [(6000, vec![A, B])]);
    }
}
