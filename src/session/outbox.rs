//! Packets on their way to a client, and the wake-up of the task that writes them.
//!
//! The thread that applies transactions appends replies and events here. The connection's task takes all bytes at once.
//! The outbox is bounded: a client that does not read is disconnected, and nobody waits for it. Behind the last reply
//! nothing is accepted.
//!
//! An event that a policy has not allowed yet keeps its place. What is queued behind it waits, so that the order stays.

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

/// How a connection ends. A connection moves only from an earlier variant to a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    Open,
    /// Nothing more is queued. The connection closes once everything queued is written.
    AfterFlush,
    /// The connection closes at once. Nothing is queued, and nothing is written any more.
    Now,
}

/// What one client gets next.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    task: AtomicWaker,
    /// Whether the connection is on the list of those that `Connections::flush` wakes.
    marked: AtomicBool,
}

struct Queue {
    /// Bytes that may be written.
    bytes: BytesMut,
    /// Events that wait for a verdict, oldest first. Invariant: at most `limits::EVENTS_HELD_MAX`.
    held: VecDeque<Held>,
    /// Invariant: the sum of the lengths of all `Held::behind`.
    held_bytes: usize,
    /// Invariant: with `End::Now` the queue is empty.
    end: End,
}

struct Held {
    event: Arc<HeldEvent>,
    /// Bytes that were queued behind the event, up to the next held event.
    behind: BytesMut,
}

/// An event that waits for a verdict.
#[derive(Debug)]
pub(crate) struct HeldEvent {
    pub(crate) zxid: i64,
    pub(crate) kind: EventKind,
    pub(crate) path: Box<str>,
    /// The ACL of the node that the event is about.
    pub(crate) acl: Acl,
    /// The identities that the client had proven when the event came.
    pub(crate) identities: Arc<[Identity]>,
}

/// What `Outbox::hold` has done with an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holding {
    /// The event is the only held one. The caller has to have it judged.
    First,
    /// The event waits behind other held events.
    Behind,
    /// The event is dropped: the connection is ending.
    No,
}

impl Outbox {
    pub(crate) fn new() -> Outbox {
        Outbox {
            queue: Mutex::new(Queue { bytes: BytesMut::new(), held: VecDeque::new(), held_bytes: 0, end: End::Open }),
            task: AtomicWaker::new(),
            marked: AtomicBool::new(false),
        }
    }

    /// Appends what `fill` writes. Returns how many bytes wait now; 0 if the connection is ending. The bound is checked
    /// before `fill`, so one reply of any length fits behind a short queue.
    pub(crate) fn push(&self, fill: impl FnOnce(&mut BytesMut)) -> usize {
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
            None => {
                let before = queue.bytes.len();
                fill(&mut queue.bytes);
                assert!(queue.bytes.len() >= before, "a packet is only ever appended");
            }
            Some(held) => {
                let before = held.behind.len();
                fill(&mut held.behind);
                assert!(held.behind.len() >= before, "a packet is only ever appended");
                queue.held_bytes += held.behind.len() - before;
            }
        }
        queue.check();
        queue.len()
    }

    /// Holds an event at the end of the queue. At most `limits::EVENTS_HELD_MAX` events are held: one more closes the
    /// connection, as a full outbox does.
    pub(crate) fn hold(&self, event: HeldEvent) -> Holding {
        let mut queue = self.queue.lock();
        if queue.end != End::Open {
            return Holding::No;
        }
        if queue.held.len() >= EVENTS_HELD_MAX {
            queue.end_now();
            return Holding::No;
        }
        queue.held.push_back(Held { event: Arc::new(event), behind: BytesMut::new() });
        queue.check();
        if queue.held.len() == 1 { Holding::First } else { Holding::Behind }
    }

    /// The oldest held event.
    pub(crate) fn first_held(&self) -> Option<Arc<HeldEvent>> {
        self.queue.lock().held.front().map(|held| held.event.clone())
    }

    /// Replaces the oldest held event by what `fill` writes, which may be nothing. The bytes behind the event may be
    /// written from now on. Returns the length of what `fill` wrote.
    pub(crate) fn settle(&self, fill: impl FnOnce(&mut BytesMut)) -> usize {
        let mut queue = self.queue.lock();
        let Some(held) = queue.held.pop_front() else { return 0 };
        let before = queue.bytes.len();
        fill(&mut queue.bytes);
        let written = queue.bytes.len() - before;
        assert!(queue.held_bytes >= held.behind.len(), "bytes behind a held event are counted");
        queue.held_bytes -= held.behind.len();
        if queue.bytes.is_empty() {
            queue.bytes = held.behind;
        } else {
            queue.bytes.extend_from_slice(&held.behind);
        }
        queue.check();
        written
    }

    /// Whether an event is held.
    pub(crate) fn holds(&self) -> bool {
        !self.queue.lock().held.is_empty()
    }

    /// Takes all bytes that may be written.
    pub(crate) fn take(&self) -> BytesMut {
        std::mem::take(&mut self.queue.lock().bytes)
    }

    /// Whether more requests may be taken: less than `limits::OUTBOX_BYTES_SOFT` waits.
    pub(crate) fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        queue.end == End::Open && queue.len() < OUTBOX_BYTES_SOFT
    }

    /// Whether there are bytes to take.
    pub(crate) fn waits(&self) -> bool {
        !self.queue.lock().bytes.is_empty()
    }

    pub(crate) fn end(&self) -> End {
        self.queue.lock().end
    }

    /// The last reply has been queued. The connection closes once everything queued is written.
    pub(crate) fn close_after_flush(&self) {
        let mut queue = self.queue.lock();
        queue.end = queue.end.max(End::AfterFlush);
    }

    /// Closes the connection at once. What is queued is dropped.
    pub(crate) fn close(&self) {
        self.queue.lock().end_now();
    }

    /// Marks that the task has something to do. Returns true if the mark is new; then the caller must see to it that
    /// `wake` is called.
    pub(crate) fn mark(&self) -> bool {
        !self.marked.swap(true, Ordering::AcqRel)
    }

    /// Wakes the task, and removes the mark.
    pub(crate) fn wake(&self) {
        self.marked.store(false, Ordering::Release);
        self.task.wake();
    }

    /// Sets what `wake` wakes. The task calls this before it looks at the queue.
    pub(crate) fn register(&self, waker: &Waker) {
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

    /// The invariants, after each change. Without `debug_assertions` this takes constant time.
    fn check(&self) {
        assert!(self.held.len() <= EVENTS_HELD_MAX, "{} events are held", self.held.len());
        assert!(!self.held.is_empty() || self.held_bytes == 0, "bytes wait only behind a held event");
        assert_ne!(self.end, End::Now, "nothing is queued for a connection that has closed");
        #[cfg(debug_assertions)]
        {
            let behind: usize = self.held.iter().map(|held| held.behind.len()).sum();
            assert_eq!(self.held_bytes, behind, "all bytes behind held events are counted");
        }
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
        // The second event is withheld.
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
