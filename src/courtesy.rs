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

#[derive(Default)]
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
        if self.not_before.is_none_or(|not_before| begun >= not_before) {
            std::thread::yield_now();
            if begun.elapsed() > limits::COURTESY_MAX {
                self.not_before = Some(begun + limits::COURTESY_PAUSE);
            }
        }
    }
}
