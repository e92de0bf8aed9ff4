//! Warnings about refusals between members, few enough to read.
//!
//! Both ends warn of a refusal, with both names. A member that is refused tries again several times a second, and a
//! stranger as often as it likes. So each member is warned of once in a while, and all strangers together; the rest is
//! written at DEBUG.

use super::hello::HelloRefusal;
use crate::environment::Instant;
use crate::limits;
use crate::model::ensemble::SERVER_IDS;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// When each member was last warned of. The lock is held for a moment only.
///
/// Invariant: the keys are in `SERVER_IDS`, or 0 for all strangers, so a stranger cannot make this grow.
#[derive(Default)]
pub(super) struct Refusals(Mutex<BTreeMap<u32, Instant>>);

impl Refusals {
    /// `here`: this member. `member`: the other end. None: it has not proven that it is a member, whatever it says.
    /// `at`: its address. `direction`: what happened, in words.
    pub(super) fn tell(
        &self,
        here: u32,
        member: Option<u32>,
        at: &dyn std::fmt::Display,
        direction: &str,
        why: &HelloRefusal,
    ) {
        let starts = matches!(why, HelloRefusal::NotReady { .. });
        if starts || !self.is_due(member.unwrap_or(0), Instant::now()) {
            tracing::debug!(here, member, %at, "{direction}: {why}");
            return;
        }
        tracing::warn!(here, member, %at, "{direction}: {why}");
    }

    fn is_due(&self, member: u32, now: Instant) -> bool {
        let key = if SERVER_IDS.contains(&member) { member } else { 0 };
        let mut told = self.0.lock();
        if told.get(&key).is_some_and(|last| now - *last < limits::REFUSAL_WARNING_INTERVAL) {
            return false;
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_warned_of_once_in_a_while() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.is_due(1, now) && refusals.is_due(2, now) && !refusals.is_due(1, now));
        assert!(refusals.is_due(0, now) && !refusals.is_due(255, now) && !refusals.is_due(u32::MAX, now));
        assert!(refusals.is_due(1, now + limits::REFUSAL_WARNING_INTERVAL));
    }
}
