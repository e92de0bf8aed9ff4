//! How long to wait before dialing again.

use crate::environment;
use crate::limits::{PEER_BACKOFF_MAX, PEER_BACKOFF_MIN};
use std::time::Duration;

/// Delays that double from `PEER_BACKOFF_MIN` to `PEER_BACKOFF_MAX`. Each is shortened by a random part of up to a
/// half, so that members that lost each other at the same moment do not dial at the same moments.
pub(crate) struct Backoff {
    /// The next delay before it is shortened. Invariant: from `PEER_BACKOFF_MIN` to `PEER_BACKOFF_MAX`.
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { next: PEER_BACKOFF_MIN }
    }
}

impl Backoff {
    /// Waits for the next `delay`.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }

    /// How long to wait. Each delay is longer than the previous one, until the delays reach `PEER_BACKOFF_MAX`.
    pub(crate) fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(PEER_BACKOFF_MAX);
        assert!((PEER_BACKOFF_MIN..=PEER_BACKOFF_MAX).contains(&self.next), "the next delay is {:?}", self.next);
        let half = whole / 2;
        // Without a random number the delay is not shortened.
        let chance = environment::random_u64().unwrap_or(0);
        let range = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        whole - Duration::from_micros(chance % range)
    }

    /// Begins with short delays again. To be called when a connection has proven good.
    pub(crate) fn reset(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut backoff = Backoff::default();
        let mut bound = PEER_BACKOFF_MIN;
        for _ in 0..20 {
            let delay = backoff.delay();
            assert!(delay <= bound && delay >= bound / 2, "{delay:?} of {bound:?}");
            bound = (bound * 2).min(PEER_BACKOFF_MAX);
        }
        assert_eq!(bound, PEER_BACKOFF_MAX);
        backoff.reset();
        assert!(backoff.delay() <= PEER_BACKOFF_MIN);
    }
}
