//! Wall time, as the voters' clocks agree on it (docs/decisions/0021).
//!
//! The *agreed clock* is the median of the voters' clocks. The times of transactions stay within
//! `limits::CLOCK_DRIFT_MAX` of it, whatever the leader's own clock does. The agreed clock is anchored to this
//! machine's monotonic clock. So it does not jump when this machine's clock is set between two rounds of reports.
//!
//! A member warns if its own clock is too far from the agreed one, and if the wall time of transactions is ahead of it.
//! The latter happens only after most clocks were wrong. `/zookeeper/clock` brings wall time back.
//!
//! A single voter has nothing to compare its clock with, so it follows its clock within a round.

use super::Ensemble;
use crate::environment::wall_ms;
use crate::limits;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

const DRIFT_MAX_MS: i64 = limits::CLOCK_DRIFT_MAX.as_millis() as i64;

/// In `AgreedClock::base_ms`: the clocks of a majority are not known yet.
const UNKNOWN: i64 = i64::MIN;

pub(crate) struct AgreedClock {
    /// The agreed clock, Unix milliseconds, minus this member's monotonic clock.
    base_ms: AtomicI64,
    alarms: Mutex<Alarms>,
}

/// The alarms that were raised and not taken back, so that each is logged once.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Alarms {
    /// This machine's clock is off.
    off: bool,
    /// Wall time is ahead.
    ahead: bool,
}

/// How this member's clock and the time of transactions stand to the agreed clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    /// How far this machine's clock is ahead of the agreed clock, milliseconds; negative: behind.
    pub(crate) offset_ms: i64,
    /// How far the time of the last transaction is ahead of the agreed clock, milliseconds.
    pub(crate) ahead_ms: i64,
}

impl Drift {
    fn alarms(self) -> Alarms {
        Alarms { off: self.offset_ms.saturating_abs() > DRIFT_MAX_MS, ahead: self.ahead_ms > DRIFT_MAX_MS }
    }
}

impl Default for AgreedClock {
    fn default() -> AgreedClock {
        AgreedClock { base_ms: AtomicI64::new(UNKNOWN), alarms: Mutex::default() }
    }
}

/// The median of the clocks that are known; the earlier one of two. None: they are not a majority of `voters`.
fn median(mut clocks: Vec<i64>, voters: usize) -> Option<i64> {
    clocks.sort_unstable();
    let at = clocks.len().checked_sub(1)? / 2;
    (clocks.len() > voters / 2).then(|| clocks.get(at).copied())?
}

/// This machine's clock, within the bound of the agreed one.
fn bounded(own_ms: i64, agreed_ms: Option<i64>) -> i64 {
    agreed_ms
        .map_or(own_ms, |agreed| own_ms.clamp(agreed.saturating_sub(DRIFT_MAX_MS), agreed.saturating_add(DRIFT_MAX_MS)))
}

impl Ensemble {
    /// Asks the clocks that are known anew.
    pub(in crate::replica) fn refresh_agreed_clock(&self) {
        let Some(consensus) = self.started_consensus() else { return };
        let voters = consensus.membership().voters;
        let own = u64::from(self.config.server_id);
        let read = |id: &u64| match *id == own {
            true => Some(wall_ms()),
            false => self.known_members.peers().clocks().of(u32::try_from(*id).ok()?),
        };
        let Some(agreed) = median(voters.iter().filter_map(read).collect(), voters.len()) else { return };
        let step_ms = self.agreed_ms().map_or(0, |before| agreed.saturating_sub(before));
        if voters.iter().eq([&own]) && step_ms.saturating_abs() > DRIFT_MAX_MS {
            tracing::warn!("this machine's clock was set by {} s, and this server follows it", step_ms / 1000);
        }
        self.agreed_clock.base_ms.store(agreed.saturating_sub(self.monotonic_ms()), Ordering::Release);
    }

    /// The agreed clock, Unix milliseconds. None: the clocks of a majority are not known yet.
    pub(in crate::replica) fn agreed_ms(&self) -> Option<i64> {
        let base_ms = self.agreed_clock.base_ms.load(Ordering::Acquire);
        (base_ms != UNKNOWN).then(|| base_ms.saturating_add(self.monotonic_ms()))
    }

    /// This machine's clock, within the bound of the agreed one: the time for the next transaction, unless the last one
    /// was later.
    pub(in crate::replica) fn bounded_wall_ms(&self) -> i64 {
        bounded(wall_ms(), self.agreed_ms())
    }

    /// `last_ms`: the time of the last transaction.
    pub(in crate::replica) fn drift(&self, last_ms: i64) -> Drift {
        let agreed = self.agreed_ms().unwrap_or_else(wall_ms);
        Drift { offset_ms: wall_ms().saturating_sub(agreed), ahead_ms: last_ms.saturating_sub(agreed).max(0) }
    }

    /// Logs what has changed about this machine's clock and the time of transactions.
    pub(in crate::replica) fn watch_clocks(&self, last_ms: i64) {
        let drift = self.drift(last_ms);
        let now = drift.alarms();
        let before = std::mem::replace(&mut *self.agreed_clock.alarms.lock(), now);
        match (before.off, now.off) {
            (false, true) => tracing::warn!(
                offset_ms = drift.offset_ms,
                "this machine's clock is {} s {} the members' clocks: correct it; transactions do not follow it",
                drift.offset_ms.saturating_abs() / 1000,
                if drift.offset_ms > 0 { "ahead of" } else { "behind" }
            ),
            (true, false) => tracing::info!("this machine's clock agrees with the members' clocks again"),
            _ => {}
        }
        match (before.ahead, now.ahead) {
            (false, true) => tracing::error!(
                ahead_ms = drift.ahead_ms,
                "the time of transactions is {} s ahead of the members' clocks, which were wrong: times stand still \
                 until then. Check all clocks, then run `wasmkeeper cluster clock --set-back`",
                drift.ahead_ms / 1000
            ),
            (true, false) => tracing::info!("the time of transactions agrees with the members' clocks again"),
            _ => {}
        }
    }

    /// Milliseconds of the monotonic clock that counts suspended time.
    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.clock.lease_us() / 1000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS_70: i64 = 70 * 365 * 86_400_000;
    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn one_clock_of_three_moves_the_agreed_one_by_nothing() {
        assert_eq!(median(vec![NOW + YEARS_70, NOW, NOW + 1], 3), Some(NOW + 1));
        assert_eq!(median(vec![NOW - YEARS_70, NOW, NOW + 1], 3), Some(NOW));
        assert_eq!(median(vec![NOW + YEARS_70, NOW], 3), Some(NOW), "one member is away");
        assert_eq!(median(vec![NOW], 1), Some(NOW));
        for (clocks, voters) in [(vec![NOW], 3), (vec![NOW], 2), (vec![NOW, NOW], 4), (vec![], 0)] {
            assert_eq!(median(clocks, voters), None);
        }
    }

    #[test]
    fn a_wild_clock_is_followed_to_the_bound_only() {
        assert_eq!(bounded(NOW + YEARS_70, Some(NOW)), NOW + DRIFT_MAX_MS);
        assert_eq!(bounded(NOW - YEARS_70, Some(NOW)), NOW - DRIFT_MAX_MS);
        assert_eq!(bounded(NOW + 7, Some(NOW)), NOW + 7);
        assert_eq!(bounded(NOW + YEARS_70, None), NOW + YEARS_70);
    }

    #[test]
    fn what_is_an_alarm() {
        let alarms = |offset_ms, ahead_ms| Drift { offset_ms, ahead_ms }.alarms();
        assert_eq!(alarms(DRIFT_MAX_MS, DRIFT_MAX_MS), Alarms::default());
        assert_eq!(alarms(-YEARS_70, 0), Alarms { off: true, ahead: false });
        assert_eq!(alarms(0, YEARS_70), Alarms { off: false, ahead: true });
    }
}
