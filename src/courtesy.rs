//! When a busy thread yields its processor before it sleeps, on a machine whose processors are all in use.
//!
//! A thread that has just served its clients could sleep at once. The next request would wake it alone, and so would
//! the one after that. If the thread yields first, other threads run and send their requests meanwhile, and the thread
//! then finds many requests together (docs/performance.md, "What was learnt on the way"). If no other thread wants the
//! processor, the yield returns at once.
//!
//! A program that computes without pause keeps the processor for a whole time slice and sends no request. [`Courtesy`]
//! recognises such a program by the length of the yield, and stops yielding for a while.

use crate::environment::Instant;
use crate::limits;
use std::time::Duration;

/// Decides for one thread whether yielding pays at the moment.
pub(crate) struct Courtesy {
    /// No yield before this time, since an earlier yield cost a time slice.
    not_before: Option<Instant>,
}

impl Courtesy {
    pub(crate) const fn new() -> Courtesy {
        Courtesy { not_before: None }
    }

    /// Yields to another thread that is ready to run, unless a yield cost a time slice lately.
    pub(crate) fn let_others_go_first(&mut self) {
        let begun = Instant::now();
        if self.is_due(begun) {
            std::thread::yield_now();
            self.learn(begun, begun.elapsed());
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| now >= not_before)
    }

    fn learn(&mut self, begun: Instant, took: Duration) {
        if took > limits::COURTESY_MAX {
            self.not_before = Some(begun + limits::COURTESY_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yield_that_lasts_too_long_stops_yielding_for_a_while() {
        let mut courtesy = Courtesy::new();
        let now = Instant::now();
        courtesy.learn(now, limits::COURTESY_MAX);
        assert!(courtesy.is_due(now), "clients take that long");
        courtesy.learn(now, limits::COURTESY_MAX + Duration::from_nanos(1));
        assert!(!courtesy.is_due(now) && !courtesy.is_due(now + limits::COURTESY_PAUSE / 2));
        assert!(courtesy.is_due(now + limits::COURTESY_PAUSE));
    }
}
