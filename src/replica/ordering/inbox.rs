//! Where events wait for the sequencer. Many threads and tasks put events in; the sequencer alone takes them out.
//!
//! The inbox has no bound of its own, because what puts events in is bounded. A connection, here or on another member,
//! has at most `limits::UNANSWERED_MAX` unanswered requests, and then no more are read from it. Native calls are
//! bounded by `limits::ADMIN_CALLS_MAX`, chores by `limits::CHORES_IN_FLIGHT_MAX`.

use super::event::Event;
use crate::consensus::ProposalOutcome;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Inbox {
    inner: Mutex<Inner>,
    /// Wakes a sequencer that is a thread.
    filled: Condvar,
    /// Wakes a sequencer that is a task.
    filled_for_task: Notify,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    sleep: Sleep,
}

/// Whether the sequencer sleeps, and which events may wake it. A wake-up costs a system call, and takes the processor
/// from another thread.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    #[default]
    Awake,
    /// The sequencer has nothing to do. The outcome of an entry need not wake it, with two exceptions: an entry that
    /// had no effect, whose requests are evaluated again, and an entry with native calls, which the sequencer answers.
    ForWork,
    /// The sequencer cannot go on before something else happens, above all before an entry is resolved. More requests
    /// need not wake it.
    ForRoom,
}

impl Sleep {
    fn is_ended_by(self, event: &Event) -> bool {
        match self {
            Sleep::Awake => false,
            Sleep::ForWork => !matches!(
                event,
                Event::Resolved { outcome: ProposalOutcome::Applied { accepted: true, .. }, awaited: false, .. }
            ),
            Sleep::ForRoom => !matches!(event, Event::Submitted(_) | Event::Forwarded { .. }),
        }
    }
}

impl Inbox {
    pub(in crate::replica) fn put(&self, event: Event) {
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

    /// Moves all events into `events`, which must be empty. Does not wait.
    pub(in crate::replica) fn take(&self, events: &mut Vec<Event>) {
        assert!(events.is_empty(), "the sequencer handles all events it took before it takes more");
        std::mem::swap(&mut self.inner.lock().events, events);
    }

    /// Appends to `events` what has come in since the last call of `take` or `wait`. Does not wait.
    pub(super) fn take_more(&self, events: &mut Vec<Event>) {
        events.append(&mut self.inner.lock().events);
    }

    /// Waits for an event that ends this sleep, then moves all events into `events`, which must be empty.
    pub(super) fn wait(&self, events: &mut Vec<Event>, sleep: Sleep) {
        assert!(events.is_empty(), "the sequencer handles all events it took before it waits for more");
        assert!(sleep != Sleep::Awake, "no event ends a wait of a sequencer that is awake");
        let mut inner = self.inner.lock();
        if !inner.events.iter().any(|event| sleep.is_ended_by(event)) {
            inner.sleep = sleep;
            while inner.sleep != Sleep::Awake {
                self.filled.wait(&mut inner);
            }
        }
        std::mem::swap(&mut inner.events, events);
    }

    /// As `wait`, for a sequencer that is a task.
    pub(super) async fn wait_as_task(&self, events: &mut Vec<Event>, sleep: Sleep) {
        assert!(events.is_empty(), "the sequencer handles all events it took before it waits for more");
        assert!(sleep != Sleep::Awake, "no event ends a wait of a sequencer that is awake");
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
    fn later_events_are_taken_behind_the_event_that_woke() {
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
    fn only_an_applied_entry_leaves_an_idle_sequencer_asleep() {
        let applied = |accepted| ProposalOutcome::Applied { at: LogPosition::default(), accepted };
        let resolved = |outcome, awaited| Event::Resolved { entry: 0, outcome, awaited };
        let ends = |sleep: Sleep, outcome| sleep.is_ended_by(&resolved(outcome, false));
        assert!(!ends(Sleep::ForWork, applied(true)));
        assert!(Sleep::ForWork.is_ended_by(&resolved(applied(true), true)), "a native call waits for its answer");
        for outcome in [applied(false), ProposalOutcome::Refused, ProposalOutcome::Unknown] {
            assert!(ends(Sleep::ForWork, outcome), "{outcome:?}: requests are to be evaluated again");
            assert!(ends(Sleep::ForRoom, outcome));
        }
        assert!(ends(Sleep::ForRoom, applied(true)));
        assert!(Sleep::ForWork.is_ended_by(&Event::Role(Role::Stopped)) && Sleep::ForRoom.is_ended_by(&Event::Stop));
    }
}
