//! The sequencer's inbox: what happened since it last looked. Many put in, one takes out.
//!
//! Bounded by what puts in: a connection, here or on another member, has at most `limits::UNANSWERED_MAX` requests
//! unanswered and stops being read there, so clients cannot make it grow without end. Native calls are bounded by
//! `limits::ADMIN_CONNECTIONS_MAX`, chores by `limits::CHORES_IN_FLIGHT_MAX`.

use crate::consensus::Resolution;
use crate::replica::ordering::sequencer::Event;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Inbox {
    inner: Mutex<Inner>,
    /// Something came that ends its sleep: for a sequencer that is a thread, and for one that is a task.
    filled: Condvar,
    filled_for_task: Notify,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    sleep: Sleep,
}

/// Whether the sequencer sleeps, and what may wake it: a wake-up is a system call, and a thread that gets in the way.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub enum Sleep {
    #[default]
    Awake,
    /// It has nothing to do: that an entry is through can wait until there is something. That one is not, cannot: its
    /// requests are evaluated again. Nor can one with native calls, which the sequencer answers.
    ForWork,
    /// It cannot go on before something else happens, an entry's end above all: more requests can wait.
    ForRoom,
}

impl Sleep {
    fn is_ended_by(self, event: &Event) -> bool {
        match self {
            Sleep::Awake => false,
            Sleep::ForWork => !matches!(
                event,
                Event::Resolved { outcome: Resolution::Applied { accepted: true, .. }, awaited: false, .. }
            ),
            Sleep::ForRoom => !matches!(event, Event::Submitted(_) | Event::Forwarded { .. }),
        }
    }
}

impl Inbox {
    pub fn put(&self, event: Event) {
        let mut inner = self.inner.lock();
        let wakes = inner.sleep.is_ended_by(&event);
        inner.events.push(event);
        if wakes {
            inner.sleep = Sleep::Awake;
            drop(inner);
            self.filled.notify_one();
            self.filled_for_task.notify_one();
        }
    }

    /// Takes all there is into `events` (which must be empty), without waiting.
    pub fn take(&self, events: &mut Vec<Event>) {
        debug_assert!(events.is_empty(), "an event was forgotten");
        std::mem::swap(&mut self.inner.lock().events, events);
    }

    /// Takes what has come since, without waiting, behind what is in `events`.
    pub fn take_more(&self, events: &mut Vec<Event>) {
        events.append(&mut self.inner.lock().events);
    }

    /// Waits for something that ends this sleep, and takes all there is.
    pub fn wait(&self, events: &mut Vec<Event>, sleep: Sleep) {
        debug_assert!(events.is_empty(), "an event was forgotten");
        let mut inner = self.inner.lock();
        if !inner.events.iter().any(|event| sleep.is_ended_by(event)) {
            inner.sleep = sleep;
            while inner.sleep != Sleep::Awake {
                self.filled.wait(&mut inner);
            }
        }
        std::mem::swap(&mut inner.events, events);
    }

    /// As `wait`, for a task.
    pub async fn wait_as_task(&self, events: &mut Vec<Event>, sleep: Sleep) {
        loop {
            let awaited = self.filled_for_task.notified();
            {
                let mut inner = self.inner.lock();
                if inner.events.iter().any(|event| sleep.is_ended_by(event)) {
                    inner.sleep = Sleep::Awake;
                    std::mem::swap(&mut inner.events, events);
                    return;
                }
                inner.sleep = sleep;
            }
            awaited.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Role;
    use crate::storage::LogPosition;

    #[test]
    fn what_comes_after_waking_is_taken_behind_what_woke() {
        let inbox = Inbox::default();
        let mut events = Vec::new();
        inbox.put(Event::LinkEnded { number: 1 });
        inbox.wait(&mut events, Sleep::ForWork);
        inbox.put(Event::LinkEnded { number: 2 });
        inbox.take_more(&mut events);
        let numbers = events.iter().map(|event| match event {
            Event::LinkEnded { number } => *number,
            _ => 0,
        });
        assert!(numbers.eq([1, 2]));
    }

    #[test]
    fn an_idle_sequencer_sleeps_through_success_alone() {
        let applied = |accepted| Resolution::Applied { at: LogPosition::default(), accepted };
        let resolved = |outcome, awaited| Event::Resolved { entry: 0, outcome, awaited };
        let ends = |sleep: Sleep, outcome| sleep.is_ended_by(&resolved(outcome, false));
        assert!(!ends(Sleep::ForWork, applied(true)));
        assert!(Sleep::ForWork.is_ended_by(&resolved(applied(true), true)), "somebody waits for a native call");
        for outcome in [applied(false), Resolution::Refused, Resolution::Unknown] {
            assert!(ends(Sleep::ForWork, outcome), "{outcome:?}: requests wait to be evaluated again");
            assert!(ends(Sleep::ForRoom, outcome));
        }
        assert!(ends(Sleep::ForRoom, applied(true)));
        assert!(Sleep::ForWork.is_ended_by(&Event::Role(Role::Stopped)) && Sleep::ForRoom.is_ended_by(&Event::Stop));
    }
}
