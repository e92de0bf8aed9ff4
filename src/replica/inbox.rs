//! The sequencer's inbox: what happened since it last looked. Many put in, one takes out.
//!
//! Bounded by what puts in: a connection has at most `limits::WRITES_UNANSWERED_MAX` writes unanswered and stops being
//! read there, so clients cannot make it grow without end.

use super::sequencer::Event;
use parking_lot::{Condvar, Mutex};
use std::time::Duration;

#[derive(Default)]
pub struct Inbox {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    /// Whether the sequencer sleeps: only then is a wake-up (a system call) worth it.
    asleep: bool,
}

impl Inbox {
    pub fn put(&self, event: Event) {
        let mut inner = self.inner.lock();
        inner.events.push(event);
        if inner.asleep {
            inner.asleep = false;
            drop(inner);
            self.filled.notify_one();
        }
    }

    /// Takes all there is into `events` (which must be empty), without waiting.
    pub fn take(&self, events: &mut Vec<Event>) {
        debug_assert!(events.is_empty(), "an event was forgotten");
        std::mem::swap(&mut self.inner.lock().events, events);
    }

    /// Waits for something, at most that long, and takes it.
    pub fn wait(&self, events: &mut Vec<Event>, at_most: Duration) {
        debug_assert!(events.is_empty(), "an event was forgotten");
        let mut inner = self.inner.lock();
        if inner.events.is_empty() {
            inner.asleep = true;
            self.filled.wait_for(&mut inner, at_most);
            inner.asleep = false;
        }
        std::mem::swap(&mut inner.events, events);
    }
}
