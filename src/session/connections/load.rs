//! How many requests are unanswered on all connections, and whether more may be taken from the sockets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The unanswered requests of all connections. Each connection's `Order` adds its own.
pub(in crate::session) struct Load {
    /// Invariant: the sum of the lengths of all `Order`s that live.
    outstanding: AtomicUsize,
    /// `globalOutstandingLimit`
    outstanding_max: usize,
    /// Set when the server shuts down, and never reset.
    takes_no_more: AtomicBool,
}

impl Load {
    pub(crate) fn new(outstanding_max: usize) -> Load {
        Load { outstanding: AtomicUsize::new(0), outstanding_max, takes_no_more: AtomicBool::new(false) }
    }

    /// One request more is unanswered.
    pub(crate) fn add_one(&self) {
        self.outstanding.fetch_add(1, Relaxed);
    }

    /// `count` requests are answered, or nobody waits for their answers any more.
    pub(crate) fn take_off(&self, count: usize) {
        let before = self.outstanding.fetch_sub(count, Relaxed);
        assert!(before >= count, "{count} requests end, and {before} were unanswered on all connections");
    }

    /// Unanswered requests of all connections.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Relaxed)
    }

    /// Whether more is unanswered than `globalOutstandingLimit` allows.
    pub(crate) fn is_over(&self) -> bool {
        self.outstanding() > self.outstanding_max
    }

    /// From now on no request is taken from a socket.
    pub(crate) fn take_no_more(&self) {
        self.takes_no_more.store(true, Relaxed);
    }

    /// Whether requests may be taken from sockets.
    pub(crate) fn takes_requests(&self) -> bool {
        !self.takes_no_more.load(Relaxed)
    }
}
