//! Letting other threads of the machine go first, where processors are scarce.
//!
//! A thread with little to do, if it goes on at once, is soon woken again for the next request by itself. If it lets others
//! have the processor for a moment, those who are about to ask have asked, and it finds many (docs/performance.md, "What was
//! learnt on the way"). A processor that nobody else wants comes back at once.
//!
//! Whoever computes without end, though, keeps it for a whole time slice and asks for nothing. That shows in how long it
//! took, and then no courtesy is shown for a while.

use crate::environment::Instant;
use crate::limits;
use std::time::Duration;

pub struct Courtesy {
    /// Somebody has abused it.
    not_before: Option<Instant>,
}

impl Courtesy {
    pub const fn new() -> Courtesy {
        Courtesy { not_before: None }
    }

    /// Lets another thread run, if one wants to.
    pub fn let_others_go_first(&mut self) {
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
    fn whoever_keeps_the_processor_is_let_go_first_no_more_for_a_while() {
        let mut courtesy = Courtesy::new();
        let now = Instant::now();
        courtesy.learn(now, limits::COURTESY_MAX);
        assert!(courtesy.is_due(now), "as long as clients take");
        courtesy.learn(now, limits::COURTESY_MAX + Duration::from_nanos(1));
        assert!(!courtesy.is_due(now) && !courtesy.is_due(now + limits::COURTESY_PAUSE / 2));
        assert!(courtesy.is_due(now + limits::COURTESY_PAUSE));
    }
}
