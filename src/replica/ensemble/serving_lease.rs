//! Whether this member still has word of a leader, and what follows for its clients (the serving gate).
//!
//! Word is the moment at which this member last asked whether there is a leader and was told yes by one whom a quorum
//! knew: for a follower when it sent the newest report that was answered, for the leader when a quorum last acknowledged
//! it. While it is younger than a third of minSessionTimeout, pings are answered and clients taken in. When it is older
//! this member may have been cut off, its sessions expired: it closes its clients. It serves again once it has applied
//! what a leader had committed after that.
//!
//! A leader stops evaluating long before, when no quorum has acknowledged it for as long as openraft's lease lasts: what
//! it proposed would only be refused. Nothing but giving up rests on these times.

use crate::config;
use crate::consensus::Role;
use crate::environment::Instant;
use crate::hooks;
use crate::limits;
use crate::replica::Replica;
use crate::replica::ordering::sequencer::Event;
use crate::session::Serving;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub struct LeaderWord {
    /// How long word is good for.
    pub lasts: Duration,
    /// Until when it is: microseconds of the connections' clock.
    until_us: AtomicU64,
    serving: AtomicU8,
    /// Whether the leader's lease runs, as far as the last look at it told.
    lease_held: AtomicBool,
}

impl LeaderWord {
    pub fn new(sessions: &config::Sessions) -> LeaderWord {
        let third = Duration::from_millis(u64::try_from(sessions.timeout_ms_min / 3).unwrap_or(0));
        LeaderWord {
            lasts: third.max(limits::WORD_LASTS_MIN),
            until_us: AtomicU64::new(0),
            serving: AtomicU8::new(Serving::Nobody as u8),
            lease_held: AtomicBool::new(true),
        }
    }

    /// There was a leader at that moment.
    pub fn heard(&self, at_us: u64) {
        let lasts_us = u64::try_from(self.lasts.as_micros()).unwrap_or(u64::MAX);
        self.until_us.fetch_max(at_us.saturating_add(lasts_us), Ordering::AcqRel);
    }

    /// Others vote from now on.
    fn comes_to_depend(&self, now_us: u64) {
        let lasts_us = u64::try_from(self.lasts.as_micros()).unwrap_or(u64::MAX);
        let until_us = now_us.saturating_add(lasts_us);
        // If it fails, others have voted for a while already.
        let _ = self.until_us.compare_exchange(u64::MAX, until_us, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub fn until_us(&self) -> u64 {
        hooks::serves_until_us(self.until_us.load(Ordering::Acquire))
    }

    /// How often a follower asks, so that a lost report or two does not cut it off.
    pub fn report_interval(&self) -> Duration {
        (self.lasts / 4).min(limits::REPORT_INTERVAL_MAX)
    }

    pub fn serving(&self) -> Serving {
        match self.serving.load(Ordering::Acquire) {
            serving if serving == Serving::Everybody as u8 => Serving::Everybody,
            serving if serving == Serving::ReadOnly as u8 => Serving::ReadOnly,
            _ => Serving::Nobody,
        }
    }

    pub fn set_serving(&self, serving: Serving) {
        self.serving.store(serving as u8, Ordering::Release);
    }

    /// Consensus has refused a proposal: whether the lease is held is found out by the next look, which tells.
    pub fn doubt_lease(&self) {
        self.lease_held.store(false, Ordering::Release);
    }

    pub fn lease_held(&self) -> bool {
        self.lease_held.load(Ordering::Acquire)
    }
}

/// Opens and closes the gate, until the process ends. Everybody is let in once the member has recovered.
pub async fn keep_gate(replica: Arc<Replica>) {
    let mut tick = ticks(&replica);
    let mut word_since = Instant::now();
    loop {
        tick.tick().await;
        if replica.connections.local_sessions().count() > 0 {
            replica.connections.expire_local_sessions();
        }
        if replica.has_word() {
            word_since = Instant::now();
            if replica.word.serving() != Serving::Everybody && replica.may_serve() {
                replica.open_gate().await;
            }
        } else {
            if replica.word.serving() == Serving::Everybody {
                replica.close_gate();
                // A process that stood still has not been without word for all that time.
                word_since = Instant::now();
            }
            replica.let_readers_in(word_since);
        }
    }
}

/// Keeps an eye on what a quorum says to this member while it leads, until the process ends. Beside the gate, which may
/// wait for a while to be opened.
pub async fn watch_lease(replica: Arc<Replica>) {
    let mut tick = ticks(&replica);
    loop {
        tick.tick().await;
        replica.look_at_lease();
    }
}

fn ticks(replica: &Replica) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(replica.word.report_interval().min(limits::GATE_INTERVAL_MAX));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}

impl Replica {
    pub(crate) fn has_word(&self) -> bool {
        self.connections.now_us() < self.word.until_us() && self.soundness.is_sound()
    }

    /// Whether nobody else votes: then it can always lead.
    pub(crate) fn is_only_voter(&self) -> bool {
        self.consensus().membership().voters.iter().eq([&u64::from(self.config.server_id)])
    }

    /// The only voter needs nobody's word.
    pub(crate) fn serve_at_once(&self) {
        self.look_at_lease();
        self.word.set_serving(Serving::Everybody);
    }

    /// A leader's word and lease come from its quorum.
    fn look_at_lease(&self) {
        if self.is_only_voter() {
            self.word.until_us.store(u64::MAX, Ordering::Release);
            if !self.word.lease_held.swap(true, Ordering::AcqRel) {
                self.inbox.put(Event::Lease { held: true });
            }
            return;
        }
        self.word.comes_to_depend(self.connections.now_us());
        let Role::Leader { .. } = *self.consensus().role().borrow() else {
            self.word.lease_held.store(true, Ordering::Release);
            return;
        };
        let heard = self.consensus().quorum_heard();
        if let Some(at) = heard {
            self.word.heard(self.connections.us_at(at));
        }
        let held = heard.is_some_and(|at| at.elapsed() < limits::LEASE);
        let before = self.word.lease_held.swap(held, Ordering::AcqRel);
        // A new leadership takes it for granted: that it is lost is told as long as it is.
        if !held || !before {
            self.inbox.put(Event::Lease { held });
        }
    }

    /// Whether it leads and a quorum knows.
    pub(crate) fn leads_a_quorum(&self) -> bool {
        self.leading.load(Ordering::Acquire)
            && self.consensus().quorum_heard().is_some_and(|at| at.elapsed() < limits::LEASE)
    }

    /// The member has come up, and is not on its way down.
    fn may_serve(&self) -> bool {
        self.recovered.load(Ordering::Acquire) && !self.leaving.load(Ordering::Acquire)
    }

    /// Clients may come once what was committed after the cut is applied here.
    async fn open_gate(&self) {
        let caught_up = tokio::time::timeout(self.word.lasts, self.barrier()).await;
        if caught_up == Ok(true) && self.has_word() && self.may_serve() {
            if self.word.serving() == Serving::ReadOnly {
                // They shall come back for the whole service, here or elsewhere.
                self.connections.close_all();
                if !self.connections.options().local_sessions {
                    self.connections.local_sessions().forget_all();
                }
            }
            self.word.set_serving(Serving::Everybody);
            tracing::info!("serves clients");
        }
    }

    fn close_gate(&self) {
        tracing::warn!("no word of a leader: clients are sent away until there is");
        self.word.set_serving(Serving::Nobody);
        self.connections.list().iter().for_each(|connection| connection.close());
    }

    fn let_readers_in(&self, word_since: Instant) {
        if self.config.read_only_mode
            && self.word.serving() == Serving::Nobody
            && word_since.elapsed() >= limits::READ_ONLY_AFTER
            && !self.leaving.load(Ordering::Acquire)
        {
            tracing::info!("serves clients that only read, without an ensemble");
            self.word.set_serving(Serving::ReadOnly);
        }
    }
}
