//! Bytes on their way to a client, and the wake-up of the task that writes them.
//!
//! Whoever applies transactions appends replies and events here; the connection's task takes all of it at once. Bounded:
//! a client that does not read is disconnected rather than waited for. Nothing is accepted behind an announced end.

use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_BYTES_SOFT};
use bytes::BytesMut;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
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
    bytes: BytesMut,
    end: End,
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox {
            queue: Mutex::new(Queue { bytes: BytesMut::new(), end: End::Open }),
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
        if queue.bytes.len() > OUTBOX_BYTES_MAX {
            queue.end = End::Now;
            queue.bytes = BytesMut::new();
            return 0;
        }
        fill(&mut queue.bytes);
        queue.bytes.len()
    }

    /// Everything queued.
    pub fn take(&self) -> BytesMut {
        std::mem::take(&mut self.queue.lock().bytes)
    }

    /// Whether so little waits that more requests may be taken.
    pub fn has_room(&self) -> bool {
        let queue = self.queue.lock();
        queue.end == End::Open && queue.bytes.len() < OUTBOX_BYTES_SOFT
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
        let mut queue = self.queue.lock();
        queue.end = End::Now;
        queue.bytes = BytesMut::new();
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
}
