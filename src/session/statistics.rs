//! One connection's counters, as `stat` and `cons` print them. The server's counters are in `metrics`.
//!
//! All atomics are relaxed: a reader may see a reply that is counted and whose latency is not. A latency is the time
//! from the frame's arrival to the moment at which its reply is queued, in microseconds.

use crate::wire::request::RequestHeader;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering::Relaxed};

/// Packets and latencies of one connection.
#[derive(Debug)]
pub(crate) struct Statistics {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    latency_us_min: AtomicU64,
    latency_us_max: AtomicU64,
    latency_us_sum: AtomicU64,
    latencies: AtomicU64,
}

impl Statistics {
    pub(crate) fn new() -> Statistics {
        Statistics {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            latency_us_min: AtomicU64::new(u64::MAX),
            latency_us_max: AtomicU64::new(0),
            latency_us_sum: AtomicU64::new(0),
            latencies: AtomicU64::new(0),
        }
    }

    pub(crate) fn latency(&self, us: u64) {
        if us < self.latency_us_min.load(Relaxed) {
            self.latency_us_min.fetch_min(us, Relaxed);
        }
        if us > self.latency_us_max.load(Relaxed) {
            self.latency_us_max.fetch_max(us, Relaxed);
        }
        self.latency_us_sum.fetch_add(us, Relaxed);
        self.latencies.fetch_add(1, Relaxed);
    }

    pub(crate) fn latency_ms_min(&self) -> u64 {
        match self.latency_us_min.load(Relaxed) {
            u64::MAX => 0,
            us => us / 1000,
        }
    }

    pub(crate) fn latency_ms_max(&self) -> u64 {
        self.latency_us_max.load(Relaxed) / 1000
    }

    pub(crate) fn latency_ms_average(&self) -> f64 {
        match self.latencies.load(Relaxed) {
            0 => 0.0,
            count => self.latency_us_sum.load(Relaxed) as f64 / count as f64 / 1000.0,
        }
    }

    /// `crst`: all counters start over.
    pub(crate) fn reset(&self) {
        for counter in [&self.received, &self.sent, &self.latency_us_max, &self.latency_us_sum, &self.latencies] {
            counter.store(0, Relaxed);
        }
        self.latency_us_min.store(u64::MAX, Relaxed);
    }
}

impl Default for Statistics {
    fn default() -> Statistics {
        Statistics::new()
    }
}

/// The request that was answered last.
#[derive(Debug)]
pub(crate) struct Last {
    /// The opcode; `NONE` before the first answer.
    op: AtomicI32,
    xid: AtomicI32,
    zxid: AtomicI64,
    response_ms: AtomicU64,
    latency_ms: AtomicU64,
}

/// Stands for no operation, no xid, no zxid.
const NONE: i32 = -1;

impl Last {
    pub(crate) fn new() -> Last {
        Last {
            op: AtomicI32::new(NONE),
            xid: AtomicI32::new(NONE),
            zxid: AtomicI64::new(NONE.into()),
            response_ms: AtomicU64::new(0),
            latency_ms: AtomicU64::new(0),
        }
    }

    /// Notes a request that was answered. `response_ms`: when, in milliseconds of the member's clock.
    pub(crate) fn note(&self, header: RequestHeader, zxid: i64, response_ms: u64, latency_ms: u64) {
        self.op.store(header.op, Relaxed);
        // Pings and the like have negative xids. They would hide the client's last real request.
        if header.xid >= 0 {
            self.xid.store(header.xid, Relaxed);
        }
        self.zxid.store(zxid, Relaxed);
        self.response_ms.store(response_ms, Relaxed);
        self.latency_ms.store(latency_ms, Relaxed);
    }

    pub(crate) fn op(&self) -> i32 {
        self.op.load(Relaxed)
    }

    /// -1 before the first.
    pub(crate) fn xid(&self) -> i32 {
        self.xid.load(Relaxed)
    }

    /// -1 before the first.
    pub(crate) fn zxid(&self) -> i64 {
        self.zxid.load(Relaxed)
    }

    pub(crate) fn response_ms(&self) -> u64 {
        self.response_ms.load(Relaxed)
    }

    pub(crate) fn latency_ms(&self) -> u64 {
        self.latency_ms.load(Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.op.store(NONE, Relaxed);
        self.xid.store(NONE, Relaxed);
        self.zxid.store(NONE.into(), Relaxed);
        self.response_ms.store(0, Relaxed);
        self.latency_ms.store(0, Relaxed);
    }
}

impl Default for Last {
    fn default() -> Last {
        Last::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies() {
        let statistics = Statistics::new();
        assert_eq!((statistics.latency_ms_min(), statistics.latency_ms_average()), (0, 0.0));
        statistics.latency(1500);
        statistics.latency(4500);
        assert_eq!((statistics.latency_ms_min(), statistics.latency_ms_max()), (1, 4));
        assert_eq!(statistics.latency_ms_average(), 3.0);
        statistics.reset();
        assert_eq!(statistics.latency_ms_max(), 0);
    }
}
