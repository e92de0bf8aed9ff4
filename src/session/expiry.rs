//! When each session was last heard of, and which have been silent too long.
//!
//! Every member keeps the table; only the leader asks it who is due. Times are milliseconds of a monotonic clock and come
//! in as arguments. Hearing is one atomic store.
//!
//! As ZooKeeper's ExpiryQueue: a session expires at the next multiple of tickTime behind its timeout. Beyond ZooKeeper:
//! only time in which the expirer ran counts. A tick that comes late (the process was stopped, the machine overloaded, a
//! laptop slept) extends every session by its lateness, since clients could not be heard meanwhile.

use crate::hooks;
use crate::model::SessionId;
use crate::model::txn::{Change, Txn};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The table.
pub struct Expiry {
    tick_ms: u64,
    table: Mutex<Table>,
}

struct Table {
    sessions: HashMap<SessionId, Entry>,
    /// When `due` was last asked, or a leadership began behind that; none: neither yet.
    asked_ms: Option<u64>,
}

struct Entry {
    timeout_ms: u64,
    heard: Arc<Heard>,
}

/// One session's last sign of life; its connection keeps it at hand.
#[derive(Debug)]
pub struct Heard {
    last_ms: AtomicU64,
    /// Nothing is read from its connection for back-pressure: that is our doing, so it counts as heard.
    held: AtomicBool,
}

impl Heard {
    pub fn touch(&self, now_ms: u64) {
        self.last_ms.store(now_ms, Relaxed);
    }

    pub fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
    }

    /// Whether there was a sign of life at that time or later.
    pub fn since(&self, ms: u64) -> bool {
        self.held.load(Relaxed) || self.last_ms.load(Relaxed) >= ms
    }
}

impl Expiry {
    pub fn new(tick_ms: u32) -> Expiry {
        let table = Table { sessions: HashMap::new(), asked_ms: None };
        Expiry { tick_ms: u64::from(tick_ms.max(1)), table: Mutex::new(table) }
    }

    /// A session that was opened, attached or loaded: it has its full timeout from now on.
    pub fn open(&self, session: SessionId, timeout_ms: i32, now_ms: u64) -> Arc<Heard> {
        let mut table = self.table.lock();
        let entry = table.sessions.entry(session).or_insert_with(|| Entry {
            timeout_ms: 0,
            heard: Arc::new(Heard { last_ms: AtomicU64::new(now_ms), held: AtomicBool::new(false) }),
        });
        entry.timeout_ms = timeout_ms.max(0) as u64;
        entry.heard.touch(now_ms);
        entry.heard.clone()
    }

    /// As `open`, for a session whose connection has a sign of life already, in another table.
    pub fn adopt(&self, session: SessionId, timeout_ms: i32, heard: Arc<Heard>) {
        let entry = Entry { timeout_ms: timeout_ms.max(0) as u64, heard };
        self.table.lock().sessions.insert(session, entry);
    }

    /// The session is no more, or not in this table.
    pub fn forget(&self, session: SessionId) {
        self.table.lock().sessions.remove(&session);
    }

    /// All sessions are to be entered anew.
    pub fn forget_all(&self) {
        self.table.lock().sessions.clear();
    }

    /// What an applied transaction does to the table.
    pub fn follow(&self, txn: &Txn, now_ms: u64) {
        for change in &txn.changes {
            match *change {
                Change::OpenSession { session, timeout_ms, .. } | Change::AttachSession { session, timeout_ms, .. } => {
                    // A new owner starts with a new sign of life: what held the old connection back is no concern of it.
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

    /// A sign of life that came by another way than the session's connection: a report from another member.
    pub fn hear(&self, session: SessionId, now_ms: u64) {
        if let Some(entry) = self.table.lock().sessions.get(&session) {
            entry.heard.touch(now_ms);
        }
    }

    /// The last sign of life of a session.
    #[cfg(test)]
    pub fn last_heard_ms(&self, session: SessionId) -> Option<u64> {
        self.table.lock().sessions.get(&session).map(|entry| entry.heard.last_ms.load(Relaxed))
    }

    /// A leadership begins: every session has its full timeout.
    pub fn grant_all(&self, now_ms: u64) {
        let mut table = self.table.lock();
        // The time until the expirer first looks counts as little as any other in which it does not run.
        table.asked_ms = Some(now_ms);
        table.sessions.values().for_each(|entry| entry.heard.touch(now_ms));
    }

    /// Sessions that have expired, in order. To be asked twice a tick; they are named again until they are closed.
    pub fn due(&self, now_ms: u64) -> Vec<SessionId> {
        let mut table = self.table.lock();
        // Asked twice a tick. When exactly it stood still within a gap that is longer nobody knows: all of it is forgiven.
        let gap_ms = table.asked_ms.replace(now_ms).map_or(0, |asked_ms| now_ms.saturating_sub(asked_ms));
        let late_ms = if gap_ms > self.tick_ms * 3 / 4 { gap_ms } else { 0 };
        let late_ms = hooks::forgiven_ms(late_ms);
        let mut due = Vec::new();
        for (&session, entry) in &table.sessions {
            let heard = &entry.heard;
            if heard.held.load(Relaxed) {
                heard.touch(now_ms);
                continue;
            }
            let mut last_ms = heard.last_ms.load(Relaxed);
            if late_ms > 0 {
                let extended_ms = (last_ms + late_ms).min(now_ms);
                // If it fails the session was heard this very moment.
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

    /// Whether the session still is one of those that `due` names: it may have been heard, or granted more time, since.
    pub fn is_due(&self, session: SessionId, now_ms: u64) -> bool {
        let table = self.table.lock();
        table.sessions.get(&session).is_some_and(|entry| {
            let heard = &entry.heard;
            !heard.held.load(Relaxed) && self.deadline(heard.last_ms.load(Relaxed), entry.timeout_ms) <= now_ms
        })
    }

    /// Sessions by the moment at which they would expire: what `dump` prints.
    pub fn deadlines(&self) -> BTreeMap<u64, Vec<SessionId>> {
        let mut deadlines = BTreeMap::<u64, Vec<SessionId>>::new();
        for (&session, entry) in &self.table.lock().sessions {
            let deadline = self.deadline(entry.heard.last_ms.load(Relaxed), entry.timeout_ms);
            deadlines.entry(deadline).or_default().push(session);
        }
        deadlines.values_mut().for_each(|sessions| sessions.sort_unstable());
        deadlines
    }

    pub fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// ExpiryQueue.roundToNextInterval
    fn deadline(&self, heard_ms: u64, timeout_ms: u64) -> u64 {
        ((heard_ms + timeout_ms) / self.tick_ms + 1) * self.tick_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    /// The process stands still between the begin of its leadership and the expirer's first look.
    #[test]
    fn a_pause_right_behind_the_begin_of_a_leadership_is_forgiven() {
        let expiry = Expiry::new(200);
        expiry.open(A, 1000, 0);
        expiry.grant_all(10_000);
        assert!(expiry.due(12_000).is_empty());
        assert_eq!(first_due(&expiry, 12_100, 20_000), Some((13_200, vec![A])));
    }

    /// Asks at every tick from `from` on, like the expirer; the first answer that names somebody.
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
        assert_eq!(first_due(&expiry, 2000, 10_000), Some((8000, vec![A])), "a full multiple goes to the next one");
    }

    #[test]
    fn hearing_puts_it_off() {
        let expiry = Expiry::new(1000);
        let heard = expiry.open(A, 4000, 0);
        expiry.open(B, 4000, 0);
        heard.touch(3000);
        assert_eq!(first_due(&expiry, 3000, 6000), Some((5000, vec![B])));
        expiry.hear(A, 5000);
        assert_eq!(expiry.due(8000), [B]);
    }

    #[test]
    fn a_late_tick_extends_every_session() {
        let expiry = Expiry::new(1000);
        expiry.open(A, 4000, 0);
        assert!(expiry.due(0).is_empty());
        // The process stood still for a minute.
        assert!(expiry.due(60_000).is_empty());
        // Nothing of that minute counts: 4,000 ms are left, rounded up.
        assert_eq!(first_due(&expiry, 60_100, 70_000), Some((65_000, vec![A])));
    }

    #[test]
    fn a_connection_held_back_counts_as_heard() {
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
    fn what_was_due_may_not_be_any_more() {
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
