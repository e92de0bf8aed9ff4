//! Until when this member may serve clients. It may serve while it knows that there is a leader, and while it has
//! applied what that leader had committed.
//!
//! There are two leases. Each has an end, and the earlier end counts (`ServingLease::until_us`).
//!
//! **The leader's word.** This lease starts at the moment at which this member last asked for a leader and then heard
//! yes, from a leader that a quorum had acknowledged. For a follower this is when it sent the newest report that was
//! answered; for the leader, when a quorum last acknowledged it. The lease lasts a third of minSessionTimeout, and at
//! least `limits::WORD_LASTS_MIN`. When it has run out, this member may have been cut off, and other members may have
//! let its sessions expire.
//!
//! **Currency.** The leader's word does not show that the leader's entries arrive. So the member asks again and again
//! which log index it must have applied to see everything that was acknowledged before the question
//! (`LeaderLink::read_index`, as for a `sync`). Once it has applied that entry, it knows that it was current at the
//! moment of the question. It may serve for syncLimit from that moment, and at least for as long as the leader's word
//! lasts. So no read is answered with a value that was overwritten longer ago than that.
//!
//! While both last, pings are answered and clients let in. When one has run out, the member closes its clients'
//! connections (`gate`). Both leases go by `Clock::lease_us`, which counts the time in which the machine was suspended.
//! They are checked before each write to a client's socket, so that nothing leaves after a pause.
//!
//! A leader stops evaluating earlier, once no quorum has acknowledged it for as long as openraft's lease lasts:
//! consensus would only refuse what it proposes.

use super::Ensemble;
use crate::config;
use crate::consensus::Role;
use crate::environment::Instant;
use crate::hooks;
use crate::limits;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::replica::ordering::event::Event;
use crate::session::Serving;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct ServingLease {
    /// How long the lease lasts.
    lasts: Duration,
    /// How long a member may serve after it was last current: syncLimit, and not less than `lasts`.
    current_lasts: Duration,
    /// The end of the lease that the leader's word gives, by `Clock::lease_us`. `u64::MAX` while this member is the
    /// only voter.
    ///
    /// Invariant: it never goes back, except from `u64::MAX` when other voters join.
    word_until_us: AtomicU64,
    /// Until when this member counts as current, by `Clock::lease_us`. `u64::MAX` while this member is the only voter.
    ///
    /// Invariant: the same as that of `word_until_us`.
    current_until_us: AtomicU64,
    /// The highest log index that a leader has named in an answer. For display.
    named_index: AtomicU64,
    /// Whether the leader has refused the link because this member is not in its membership.
    turned_out: AtomicBool,
    /// How long this machine has been suspended in all, as of the last look, and the moment at which that time was last
    /// seen to grow. What a quorum said before that moment does not count.
    suspended: Mutex<(u64, Instant)>,
    /// The clients that are let in: a `Serving`.
    serving: AtomicU8,
    /// Whether a quorum has acknowledged this leader lately, as of the last look.
    acknowledged: AtomicBool,
}

impl ServingLease {
    pub(super) fn new(sessions: &config::Sessions, sync_ticks: u32) -> ServingLease {
        let third = Duration::from_millis(u64::try_from(sessions.timeout_ms_min / 3).unwrap_or(0));
        let lasts = third.max(limits::WORD_LASTS_MIN);
        let sync_limit = Duration::from_millis(u64::from(sessions.tick_ms).saturating_mul(sync_ticks.into()));
        ServingLease {
            lasts,
            current_lasts: sync_limit.max(lasts),
            word_until_us: AtomicU64::new(0),
            current_until_us: AtomicU64::new(0),
            named_index: AtomicU64::new(0),
            turned_out: AtomicBool::new(false),
            suspended: Mutex::new((0, Instant::now())),
            serving: AtomicU8::new(Serving::Nobody as u8),
            acknowledged: AtomicBool::new(true),
        }
    }

    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// There was a leader at that moment, by `Clock::lease_us`.
    pub(super) fn renew(&self, at_us: u64) {
        self.word_until_us.fetch_max(end(at_us, self.lasts), Ordering::AcqRel);
    }

    /// This member has applied everything that was acknowledged before that moment, by `Clock::lease_us`.
    fn was_current(&self, at_us: u64) {
        self.current_until_us.fetch_max(end(at_us, self.current_lasts), Ordering::AcqRel);
    }

    /// This member is the only voter.
    fn depend_on_nobody(&self) {
        self.word_until_us.store(u64::MAX, Ordering::Release);
        self.current_until_us.store(u64::MAX, Ordering::Release);
    }

    /// This member is not the only voter any more: its leases start now.
    fn depend_on_others(&self, now_us: u64) {
        for (until_us, lasts) in [(&self.word_until_us, self.lasts), (&self.current_until_us, self.current_lasts)] {
            // If this fails, the lease has depended on other voters before.
            let _ = until_us.compare_exchange(u64::MAX, end(now_us, lasts), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Until when this member may serve, by `Clock::lease_us`.
    pub(in crate::replica) fn until_us(&self) -> u64 {
        self.word_until_us().min(self.current_until_us())
    }

    fn word_until_us(&self) -> u64 {
        hooks::serves_until_us(self.word_until_us.load(Ordering::Acquire))
    }

    fn current_until_us(&self) -> u64 {
        self.current_until_us.load(Ordering::Acquire)
    }

    /// Sets whether the leader refused this member as no member of the ensemble, at the last attempt to reach it.
    pub(super) fn set_turned_out(&self, turned_out: bool) {
        self.turned_out.store(turned_out, Ordering::Release);
    }

    /// Whether this machine was not suspended between `then` and the last look.
    fn was_awake_since(&self, then: Instant, suspended_us: u64) -> bool {
        let mut suspended = self.suspended.lock();
        if suspended.0 != suspended_us {
            *suspended = (suspended_us, Instant::now());
        }
        then >= suspended.1
    }

    /// How often a follower reports to the leader. The lease survives the loss of a report or two.
    pub(super) fn report_interval(&self) -> Duration {
        (self.lasts / 4).min(limits::REPORT_INTERVAL_MAX)
    }

    /// The clients that are let in.
    pub(in crate::replica) fn serving(&self) -> Serving {
        match self.serving.load(Ordering::Acquire) {
            serving if serving == Serving::Everybody as u8 => Serving::Everybody,
            serving if serving == Serving::ReadOnly as u8 => Serving::ReadOnly,
            _ => Serving::Nobody,
        }
    }

    pub(in crate::replica) fn set_serving(&self, serving: Serving) {
        self.serving.store(serving as u8, Ordering::Release);
    }

    /// Consensus has refused a proposal, so a quorum may not acknowledge this leader any more. The next look finds out.
    pub(in crate::replica) fn doubt(&self) {
        self.acknowledged.store(false, Ordering::Release);
    }

    /// Whether a quorum has acknowledged this leader lately. True if this member does not lead.
    pub(in crate::replica) fn is_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::Acquire)
    }
}

/// The end of a lease that starts at `at_us`.
fn end(at_us: u64, lasts: Duration) -> u64 {
    at_us.saturating_add(u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX))
}

/// How far this member is behind, for the operator.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(in crate::replica) struct Lag {
    /// Log entries that the leader has committed and this member has not applied.
    pub(crate) entries: u64,
    /// Milliseconds since the last moment at which this member was known to have applied everything. On a member that
    /// keeps up this is up to the time between two questions, half a second.
    pub(crate) ms: u64,
}

/// Why a member may not serve its clients. `Display` is the part of a sentence that follows "it serves nobody: ".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::replica) enum Hindrance {
    #[error("it has no word of a leader")]
    NoLeader,
    #[error(
        "it is behind: {} log entries of the leader are not applied, and it last had everything {} ms ago, which is \
         more than syncLimit allows",
        .0.entries,
        .0.ms
    )]
    Behind(Lag),
    #[error("it is no member of the ensemble any more: stop it, or add it again with `wasmkeeper cluster add`")]
    NoMember,
    #[error("its state differs from its leader's")]
    Unsound,
}

/// Finds out again and again whether this member is current, until the process ends.
pub(in crate::replica) async fn keep_current(replica: Arc<Replica>) {
    let (order, ensemble) = (&replica.order, &replica.ensemble);
    let mut tick = tokio::time::interval(ensemble.lease.report_interval());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut questions = FuturesUnordered::new();
    loop {
        tokio::select! { biased;
            Some(()) = questions.next() => {}
            _ = tick.tick() => {
                if questions.len() < limits::CURRENCY_QUESTIONS_MAX && !ensemble.is_only_voter() {
                    questions.push(ensemble.find_out_whether_current(order));
                }
            }
        }
    }
}

/// Watches what a quorum says to this member while it leads, until the process ends. A task apart from the gate's,
/// which may wait long until it can open.
pub(in crate::replica) async fn watch_quorum(replica: Arc<Replica>) {
    let mut tick = ticks(&replica.ensemble);
    loop {
        tick.tick().await;
        replica.ensemble.look_at_quorum(&replica.order);
    }
}

/// When the lease and the gate are looked at.
pub(super) fn ticks(ensemble: &Ensemble) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(ensemble.lease.report_interval().min(limits::GATE_INTERVAL_MAX));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick
}

impl Ensemble {
    /// Asks what must be applied, waits until it is, and notes that this member was current when it asked. Gives up
    /// when that would not help any more.
    async fn find_out_whether_current(&self, order: &WriteOrder) {
        let asked_us = self.clock.lease_us();
        let current = async {
            let index = self.read_index(order).await?;
            self.lease.named_index.fetch_max(index, Ordering::Relaxed);
            self.consensus().applied_at_least(index).await.ok()
        };
        if let Ok(Some(())) = tokio::time::timeout(self.lease.current_lasts, current).await {
            self.lease.was_current(asked_us);
        }
    }

    /// Why this member may not serve its clients. None: both leases run, and the state may be trusted.
    pub(in crate::replica) fn hindrance(&self, order: &WriteOrder) -> Option<Hindrance> {
        let now_us = self.clock.lease_us();
        if !order.soundness.is_sound() {
            Some(Hindrance::Unsound)
        } else if self.is_no_member() {
            Some(Hindrance::NoMember)
        } else if now_us >= self.lease.word_until_us() {
            Some(Hindrance::NoLeader)
        } else if now_us >= self.lease.current_until_us() {
            Some(Hindrance::Behind(self.lag()))
        } else {
            None
        }
    }

    /// Whether this member was removed: it has the entry that leaves it out, or its leader says so.
    fn is_no_member(&self) -> bool {
        let me = u64::from(self.config.server_id);
        let Some(consensus) = self.started_consensus() else { return false };
        self.lease.turned_out.load(Ordering::Acquire) || consensus.membership_leaves_out(me)
    }

    /// How far this member is behind. Zero for the only voter.
    pub(in crate::replica) fn lag(&self) -> Lag {
        let current_until_us = self.lease.current_until_us();
        if current_until_us == u64::MAX {
            return Lag::default();
        }
        let applied = self.started_consensus().and_then(|consensus| consensus.metrics().applied);
        let named = self.lease.named_index.load(Ordering::Relaxed);
        let lapsed_us = self.clock.lease_us().saturating_add(end(0, self.lease.current_lasts));
        Lag {
            entries: named.saturating_sub(applied.map_or(0, |at| at.index)),
            ms: lapsed_us.saturating_sub(current_until_us) / 1000,
        }
    }

    /// Renews the lease of a leader by what its quorum has acknowledged, and tells the sequencer.
    pub(super) fn look_at_quorum(&self, order: &WriteOrder) {
        let lease = &self.lease;
        if self.is_only_voter() {
            lease.depend_on_nobody();
            if !lease.acknowledged.swap(true, Ordering::AcqRel) {
                order.inbox.put(Event::Lease { held: true });
            }
            return;
        }
        lease.depend_on_others(self.clock.lease_us());
        let Role::Leader { .. } = *self.consensus().role().borrow() else {
            lease.acknowledged.store(true, Ordering::Release);
            return;
        };
        // An older leader may have refused this member for a removal that never came to be committed.
        lease.set_turned_out(false);
        let acknowledged_at = self.consensus().quorum_heard();
        let suspended_us = self.clock.suspended_us();
        if let Some(at) = acknowledged_at.filter(|at| lease.was_awake_since(*at, suspended_us)) {
            lease.renew(self.clock.us_at(at).saturating_add(suspended_us));
        }
        let held = acknowledged_at.is_some_and(|at| at.elapsed() < limits::LEASE);
        let before = lease.acknowledged.swap(held, Ordering::AcqRel);
        // The sequencer of a new leadership assumes that the lease is held. So it hears of a lost one at every look.
        if !held || !before {
            order.inbox.put(Event::Lease { held });
        }
    }

    /// Whether this member leads and a quorum has acknowledged that lately.
    pub(super) fn leads_a_quorum(&self, order: &WriteOrder) -> bool {
        order.leadership.leads() && self.consensus().quorum_heard().is_some_and(|at| at.elapsed() < limits::LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leader's word lasts a third of 6 s, and currency lasts two ticks of 3 s.
    fn lease() -> ServingLease {
        let sessions = config::Sessions { tick_ms: 3_000, timeout_ms_min: 6_000, ..config::Config::default().sessions };
        ServingLease::new(&sessions, 2)
    }

    #[test]
    fn a_word_of_the_leader_is_not_enough() {
        let lease = lease();
        lease.renew(1_000);
        assert_eq!(lease.until_us(), 0, "it has never been current");
        lease.was_current(500);
        assert_eq!(lease.until_us(), 2_001_000);
        lease.renew(9_000_000);
        assert_eq!(lease.until_us(), 6_000_500, "it is behind although the leader answers");
        lease.was_current(400);
        assert_eq!(lease.until_us(), 6_000_500, "an older answer takes nothing back");
    }

    #[test]
    fn the_only_voter_depends_on_nobody_until_others_join() {
        let lease = lease();
        lease.depend_on_nobody();
        assert_eq!(lease.until_us(), u64::MAX);
        lease.depend_on_others(1_000);
        assert_eq!(lease.until_us(), 2_001_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_quorum_said_before_a_suspension_does_not_count() {
        let lease = lease();
        let before = Instant::now();
        assert!(lease.was_awake_since(before, 0));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.was_awake_since(before, 30_000_000));
        assert!(lease.was_awake_since(Instant::now(), 30_000_000));
    }
}
