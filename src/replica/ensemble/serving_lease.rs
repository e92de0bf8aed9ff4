//! Until when this member may serve clients, because it knows that there is a leader.
//!
//! The lease starts at the moment at which this member last asked for a leader and then heard yes, from a leader that a
//! quorum had acknowledged. For a follower this is when it sent the newest report that was answered; for the leader,
//! when a quorum last acknowledged it. The lease lasts a third of minSessionTimeout. While it runs, pings are answered
//! and clients let in. When it has run out, this member may have been cut off, and other members may have let its
//! sessions expire: it closes its clients (`gate`).
//!
//! A leader stops evaluating earlier, once no quorum has acknowledged it for as long as openraft's lease lasts:
//! consensus would only refuse what it proposes. These times only ever make a member give up; no promise depends on
//! them.

use super::Ensemble;
use crate::config;
use crate::consensus::Role;
use crate::hooks;
use crate::limits;
use crate::replica::Replica;
use crate::replica::ordering::WriteOrder;
use crate::replica::ordering::event::Event;
use crate::session::Serving;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct ServingLease {
    /// How long the lease lasts.
    lasts: Duration,
    /// The end of the lease, in microseconds of the server's clock. `u64::MAX` while this member is the only voter.
    ///
    /// Invariant: it never goes back, except from `u64::MAX` when other voters join.
    until_us: AtomicU64,
    /// The clients that are let in: a `Serving`.
    serving: AtomicU8,
    /// Whether a quorum has acknowledged this leader lately, as of the last look.
    acknowledged: AtomicBool,
}

impl ServingLease {
    pub(super) fn new(sessions: &config::Sessions) -> ServingLease {
        let third = Duration::from_millis(u64::try_from(sessions.timeout_ms_min / 3).unwrap_or(0));
        ServingLease {
            lasts: third.max(limits::WORD_LASTS_MIN),
            until_us: AtomicU64::new(0),
            serving: AtomicU8::new(Serving::Nobody as u8),
            acknowledged: AtomicBool::new(true),
        }
    }

    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    /// There was a leader at that moment of the server's clock.
    pub(super) fn renew(&self, at_us: u64) {
        self.until_us.fetch_max(self.end(at_us), Ordering::AcqRel);
    }

    /// This member is not the only voter any more: its lease starts now.
    fn depend_on_others(&self, now_us: u64) {
        // If this fails, the lease has depended on other voters before.
        let _ = self.until_us.compare_exchange(u64::MAX, self.end(now_us), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The end of a lease that starts at `at_us`.
    fn end(&self, at_us: u64) -> u64 {
        let lasts_us = u64::try_from(self.lasts.as_micros()).unwrap_or(u64::MAX);
        at_us.saturating_add(lasts_us)
    }

    /// The end of the lease, in microseconds of the server's clock.
    pub(in crate::replica) fn until_us(&self) -> u64 {
        hooks::serves_until_us(self.until_us.load(Ordering::Acquire))
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
    /// Whether the serving lease runs and the state may be trusted.
    pub(super) fn may_trust_state(&self, order: &WriteOrder) -> bool {
        self.clock.now_us() < self.lease.until_us() && order.soundness.is_sound()
    }

    /// Renews the lease of a leader by what its quorum has acknowledged, and tells the sequencer.
    pub(super) fn look_at_quorum(&self, order: &WriteOrder) {
        let lease = &self.lease;
        if self.is_only_voter() {
            lease.until_us.store(u64::MAX, Ordering::Release);
            if !lease.acknowledged.swap(true, Ordering::AcqRel) {
                order.inbox.put(Event::Lease { held: true });
            }
            return;
        }
        lease.depend_on_others(self.clock.now_us());
        let Role::Leader { .. } = *self.consensus().role().borrow() else {
            lease.acknowledged.store(true, Ordering::Release);
            return;
        };
        let acknowledged_at = self.consensus().quorum_heard();
        if let Some(at) = acknowledged_at {
            lease.renew(self.clock.us_at(at));
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
