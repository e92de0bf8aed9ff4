//! Counters of one connection and of the server, as `stat`, `cons`, `srvr` and `mntr` print them.
//!
//! All relaxed: a reader may see a reply counted whose latency is not. Latencies run from the frame's arrival to the
//! moment its reply is queued, in microseconds.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering::Relaxed};

/// One connection's, or the whole server's.
#[derive(Debug)]
pub struct Statistics {
    pub received: AtomicU64,
    pub sent: AtomicU64,
    latency_us_min: AtomicU64,
    latency_us_max: AtomicU64,
    latency_us_sum: AtomicU64,
    latencies: AtomicU64,
}

impl Statistics {
    pub fn new() -> Statistics {
        Statistics {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            latency_us_min: AtomicU64::new(u64::MAX),
            latency_us_max: AtomicU64::new(0),
            latency_us_sum: AtomicU64::new(0),
            latencies: AtomicU64::new(0),
        }
    }

    pub fn latency(&self, us: u64) {
        if us < self.latency_us_min.load(Relaxed) {
            self.latency_us_min.fetch_min(us, Relaxed);
        }
        if us > self.latency_us_max.load(Relaxed) {
            self.latency_us_max.fetch_max(us, Relaxed);
        }
        self.latency_us_sum.fetch_add(us, Relaxed);
        self.latencies.fetch_add(1, Relaxed);
    }

    pub fn latency_ms_min(&self) -> u64 {
        match self.latency_us_min.load(Relaxed) {
            u64::MAX => 0,
            us => us / 1000,
        }
    }

    pub fn latency_ms_max(&self) -> u64 {
        self.latency_us_max.load(Relaxed) / 1000
    }

    pub fn latency_ms_average(&self) -> f64 {
        match self.latencies.load(Relaxed) {
            0 => 0.0,
            count => self.latency_us_sum.load(Relaxed) as f64 / count as f64 / 1000.0,
        }
    }

    /// `srst` and `crst`.
    pub fn reset(&self) {
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

/// The last request a connection got an answer to.
#[derive(Debug, Default)]
pub struct Last {
    /// The opcode; 0 before the first.
    pub op: AtomicI32,
    pub xid: AtomicI32,
    pub zxid: AtomicI64,
    /// When it was answered: milliseconds of the server's clock (`Connections::now_us`).
    pub response_ms: AtomicU64,
    pub latency_ms: AtomicU64,
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
