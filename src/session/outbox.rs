//! Bytes on their way to a client, and the wake-up of the task that writes them.
//!
//! Whoever applies transactions appends replies and events here; the connection's task takes all of it at once. Bounded:
//! a client that does not read is disconnected rather than waited for. Nothing is accepted behind an announced end.
//!
//! An event that a policy has not yet allowed keeps its place: what comes behind it waits, so that the order stays.

use crate::limits::{EVENTS_HELD_MAX, OUTBOX_BYTES_MAX, OUTBOX_BYTES_SOFT};
use crate::model::{Acl, Identity};
use crate::wire::reply::EventKind;
use bytes::BytesMut;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// How long the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Open,
    /// Once everything queued is written.
    AfterFlush,
    Now,
}

pub struct Outbox {
    queue: Mutex<Queue>,
    task: AtomicWaker,
    /// Whether the connection is on the list of those to wake (`Connections::flush`).
    marked: AtomicBool,
}

struct Queue {
    /// May leave.
    bytes: BytesMut,
    /// Waits, oldest first.
    held: VecDeque<Held>,
    /// Of all `Held::behind`.
    held_bytes: usize,
    end: End,
}

struct Held {
    event: Arc<HeldEvent>,
    /// What was queued after it, up to the next one.
    behind: BytesMut,
}

/// An event that waits for a verdict.
#[derive(Debug)]
pub struct HeldEvent {
    pub zxid: i64,
    pub kind: EventKind,
    pub path: Box<str>,
    /// Who may read what it is about.
    pub acl: Acl,
    /// What the connection had proven when the event came.
    pub identities: Arc<[Identity]>,
}

/// What becomes of an event that is to be held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    /// Nothing was held before: somebody has to see to it.
    First,
    Behind,
    /// The connection is ending.
    No,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox {
            queue: Mutex::new(Queue { bytes: BytesMut::new(), held: VecDeque::new(), held_bytes: 0, end: End::Open }),
            task: AtomicWaker::new(),
            marked: AtomicBool::new(false),
        }
    }

    /// Appends what `fill` writes; returns how many bytes wait now, 0 if the connection is ending. The bound is looked at
    /// before: one reply, however large, always fits behind a small queue.
    pub fn push(&self, fill: impl FnOnce(&mut BytesMut)) -> usize {
        let mut queue = self.queue.lock();
        if queue.end != End::Open {
            return 0;
        }
        if queue.len() > OUTBOX_BYTES_MAX {
            queue.end_now();
            return 0;
        }
        let queue = &mut *queue;
        match queue.held.back_mut() {
            None => fill(&mut queue.bytes),
            Some(held) => {
                let before = held.behind.len();
                fill(&mut held.behind);
                queue.held_bytes += held.behind.len() - before;
            }
        }
        queue.len()
    }

    /// Gives an event its place. As many as `limits::EVENTS_HELD_MAX` wait; one more is too much, as a full outbox is.
    pub fn hold(&self, event: HeldEvent) -> Holding {
        let mut queue = self.queue.lock();
        if queue.end != End::Open {
            return Holding::No;
        }
        if queue.held.len() >= EVENTS_HELD_MAX {
            queue.end_now();
            return Holding::No;
        }
        queue.held.push_back(Held { event: Arc::new(event), behind: BytesMut::new() });
        if queue.held.len() == 1 { Holding::First } else { Holding::Behind }
    }

    /// The oldest event that is held.
    pub fn first_held(&self) -> Option<Arc<HeldEvent>> {
        self.queue.lock().held.front().map(|held| held.event.clone())
    }

    /// The oldest held event leaves as `fill` writes it, or not at all, and what was behind it goes on. How many bytes the
    /// event has.
    pub fn settle(&self, fill: impl FnOnce(&mut BytesMut)) -> usize {
        let mut queue = self.queue.lock();
        let Some(held) = queue.held.pop_front() else { return 0 };
        let before = queue.bytes.len();
        fill(&mut queue.bytes);
        let written = queue.bytes.len() - before;
        queue.held_bytes -= held.behind.len();
        if queue.bytes.is_empty() {
            queue.bytes = held.behind;
        } else {
            queue.bytes.extend_from_slice(&held.behind);
        }
        written
    }

    /// Whether something waits behind an event that is held.
    pub fn holds(&self) -> bool {
        !self.queue.lock().held.is_empty()
    }

    /// Everything that may leave.
    pub fn take(&self) -> BytesMut {
        std::mem::take(&mut self.queue.lock().bytes)
    }

    /// Whether so little waits that more requests may be taken.
    pub fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        queue.end == End::Open && queue.len() < OUTBOX_BYTES_SOFT
    }

    /// Whether there is something to take.
    pub fn waits(&self) -> bool {
        !self.queue.lock().bytes.is_empty()
    }

    pub fn end(&self) -> End {
        self.queue.lock().end
    }

    /// The last reply has been queued.
    pub fn close_after_flush(&self) {
        let mut queue = self.queue.lock();
        if queue.end == End::Open {
            queue.end = End::AfterFlush;
        }
    }

    pub fn close(&self) {
        self.queue.lock().end_now();
    }

    /// Notes that there is something to do; true if nobody had.
    pub fn mark(&self) -> bool {
        !self.marked.swap(true, Ordering::AcqRel)
    }

    /// Wakes the task and takes the mark away.
    pub fn wake(&self) {
        self.marked.store(false, Ordering::Release);
        self.task.wake();
    }

    /// To be called by the task before it looks at the queue.
    pub fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.bytes.len() + self.held_bytes
    }

    fn end_now(&mut self) {
        self.end = End::Now;
        self.bytes = BytesMut::new();
        self.held = VecDeque::new();
        self.held_bytes = 0;
    }
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_an_announced_end() {
        let outbox = Outbox::new();
        assert_eq!(outbox.push(|out| out.extend_from_slice(b"last")), 4);
        outbox.close_after_flush();
        assert_eq!(outbox.push(|out| out.extend_from_slice(b"more")), 0);
        assert_eq!((&outbox.take()[..], outbox.end()), (&b"last"[..], End::AfterFlush));
    }

    #[test]
    fn a_full_outbox_ends_the_connection_and_frees_its_bytes() {
        let outbox = Outbox::new();
        outbox.push(|out| out.resize(OUTBOX_BYTES_MAX + 1, 0));
        assert_eq!(outbox.push(|out| out.extend_from_slice(b"event")), 0);
        assert_eq!((outbox.take().len(), outbox.end()), (0, End::Now));
    }

    #[test]
    fn a_connection_is_marked_once_until_it_is_woken() {
        let outbox = Outbox::new();
        assert!(outbox.mark());
        assert!(!outbox.mark());
        outbox.wake();
        assert!(outbox.mark());
    }

    fn event(zxid: i64) -> HeldEvent {
        HeldEvent { zxid, kind: EventKind::Created, path: "/a".into(), acl: Arc::from([]), identities: Arc::from([]) }
    }

    #[test]
    fn what_comes_behind_a_held_event_waits_for_it() {
        let outbox = Outbox::new();
        outbox.push(|out| out.extend_from_slice(b"a"));
        assert_eq!(outbox.hold(event(1)), Holding::First);
        assert_eq!(outbox.push(|out| out.extend_from_slice(b"b")), 2);
        assert_eq!(outbox.hold(event(2)), Holding::Behind);
        outbox.push(|out| out.extend_from_slice(b"c"));
        assert_eq!(&outbox.take()[..], b"a");
        assert!(!outbox.waits() && outbox.holds());
        outbox.close_after_flush();
        assert_eq!(outbox.first_held().map(|held| held.zxid), Some(1));
        assert_eq!(outbox.settle(|out| out.extend_from_slice(b"1")), 1);
        assert_eq!((&outbox.take()[..], outbox.holds()), (&b"1b"[..], true));
        // Withheld.
        assert_eq!(outbox.settle(|_| {}), 0);
        assert_eq!((&outbox.take()[..], outbox.holds()), (&b"c"[..], false));
    }

    #[test]
    fn held_events_are_bounded_and_so_is_what_waits_behind_them() {
        let outbox = Outbox::new();
        for zxid in 0..EVENTS_HELD_MAX as i64 {
            outbox.hold(event(zxid));
        }
        assert_eq!((outbox.hold(event(0)), outbox.end(), outbox.holds()), (Holding::No, End::Now, false));
        let outbox = Outbox::new();
        outbox.hold(event(1));
        outbox.push(|out| out.resize(OUTBOX_BYTES_MAX + 1, 0));
        assert!(!outbox.has_room());
        assert_eq!((outbox.push(|out| out.extend_from_slice(b"x")), outbox.end()), (0, End::Now));
        assert_eq!(outbox.settle(|out| out.extend_from_slice(b"x")), 0);
    }
}
