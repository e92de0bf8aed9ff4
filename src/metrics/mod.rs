//! Counters of this process, under ZooKeeper's names (ServerMetrics.java): what `srvr`, `stat` and `mntr` print.
//!
//! Everything is an atomic, counted with relaxed ordering: figures for people and dashboards, never for decisions. Times
//! are whole milliseconds, as in ZooKeeper. Percentiles come from a histogram with buckets of at most a quarter's width
//! since start (or `srst`), where ZooKeeper samples the last minutes.

pub mod namespaces;

use namespaces::Namespaces;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Only grows, until it is reset.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Count, sum, least and largest of some values, at one moment. Zeros if there are none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
}

impl Totals {
    /// Rounded to four places, as ZooKeeper prints it.
    pub fn average(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.sum as f64 / self.count as f64 * 1e4).round() / 1e4
    }

    /// Of both together.
    fn and(self, other: Totals) -> Totals {
        match (self.count, other.count) {
            (0, _) => other,
            (_, 0) => self,
            _ => Totals {
                count: self.count + other.count,
                sum: self.sum + other.sum,
                min: self.min.min(other.min),
                max: self.max.max(other.max),
            },
        }
    }
}

/// Least and largest of some values.
#[derive(Debug)]
struct Range {
    /// `u64::MAX` while there is none.
    min: AtomicU64,
    max: AtomicU64,
}

impl Range {
    const fn new() -> Range {
        Range { min: AtomicU64::new(u64::MAX), max: AtomicU64::new(0) }
    }

    fn add(&self, value: u64) {
        // Mostly neither changes; a load is much cheaper than an exchange.
        if value < self.min.load(Relaxed) {
            self.min.fetch_min(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
    }

    fn get(&self) -> Option<(u64, u64)> {
        let min = self.min.load(Relaxed);
        (min != u64::MAX).then(|| (min, self.max.load(Relaxed)))
    }

    fn reset(&self) {
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }
}

/// Adds values up. Two additions a value.
#[derive(Debug)]
pub struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    range: Range,
}

impl Summary {
    pub(super) const fn new() -> Summary {
        Summary { count: AtomicU64::new(0), sum: AtomicU64::new(0), range: Range::new() }
    }

    pub fn add(&self, value: u64) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.range.add(value);
    }

    pub fn totals(&self) -> Totals {
        let (min, max) = self.range.get().unwrap_or_default();
        Totals { count: self.count.load(Relaxed), sum: self.sum.load(Relaxed), min, max }
    }

    pub(super) fn reset(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
        self.range.reset();
    }
}

/// Values below this have a bucket each.
const EXACT: u64 = 16;
/// Buckets for each doubling above.
const PER_DOUBLING: usize = 4;
/// Sixteen exact ones, then doublings up to 2^32: seven weeks of milliseconds. What is larger counts into the last.
const BUCKETS: usize = EXACT as usize + 28 * PER_DOUBLING;

/// A summary with percentiles. Two additions a value: how many there are is what the buckets hold.
#[derive(Debug)]
pub struct Timing {
    sum: AtomicU64,
    range: Range,
    buckets: [AtomicU64; BUCKETS],
}

impl Timing {
    pub const fn new() -> Timing {
        Timing { sum: AtomicU64::new(0), range: Range::new(), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    pub fn add(&self, value: u64) {
        self.sum.fetch_add(value, Relaxed);
        self.range.add(value);
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub fn totals(&self) -> Totals {
        let count = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum();
        let (min, max) = self.range.get().unwrap_or_default();
        Totals { count, sum: self.sum.load(Relaxed), min, max }
    }

    /// The value below or at which that share (0.5, 0.99) of all lie, to the bucket's lower end; 0 if there is none.
    pub fn percentile(&self, share: f64) -> u64 {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_end(bucket);
            }
        }
        0
    }

    /// How many values there are up to each power of two, less one: 0, 1, 3, 7 and on, to the largest that was seen.
    pub fn up_to_doublings(&self) -> Vec<(u64, u64)> {
        let mut counts =
            self.buckets.iter().enumerate().map(|(at, count)| (lower_end(at), count.load(Relaxed))).peekable();
        let mut seen = 0;
        let mut doublings = Vec::new();
        for power in 0..=u32::BITS {
            let end = 1u64 << power;
            while let Some((_, count)) = counts.next_if(|(lower_end, _)| *lower_end < end) {
                seen += count;
            }
            doublings.push((end - 1, seen));
            if self.range.get().is_none_or(|(_, max)| max < end) {
                break;
            }
        }
        doublings
    }

    fn reset(&self) {
        self.sum.store(0, Relaxed);
        self.range.reset();
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }
}

fn bucket_of(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let doubling = value.ilog2() as usize;
    // The two bits below the leading one choose among the four.
    let quarter = (value >> (doubling - 2)) as usize & (PER_DOUBLING - 1);
    (EXACT as usize + (doubling - 4) * PER_DOUBLING + quarter).min(BUCKETS - 1)
}

fn lower_end(bucket: usize) -> u64 {
    match bucket.checked_sub(EXACT as usize) {
        None => bucket as u64,
        Some(above) => (PER_DOUBLING + above % PER_DOUBLING) as u64 * (EXACT >> 2 << (above / PER_DOUBLING)),
    }
}

/// One line of `mntr`: the key without its prefix `zk_`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    Whole(u64),
    /// Printed as Java prints a double: with at least one place.
    Fraction(f64),
}

macro_rules! instruments {
    (
        counters: { $($(#[$counter_doc:meta])* $counter:ident,)* }
        summaries: { $($(#[$summary_doc:meta])* $summary:ident,)* }
        timings: { $($(#[$timing_doc:meta])* $timing:ident,)* }
    ) => {
        /// All counters of a server. One for the process, shared by reference.
        #[derive(Debug)]
        pub struct Metrics {
            /// Requests read, four letter words included.
            pub packets_received: Counter,
            /// Replies and events sent.
            pub packets_sent: Counter,
            /// Bytes of replies.
            pub client_response_size: LastMinMax,
            /// Bytes of transactions proposed here, as they were evaluated.
            pub proposal_size: LastMinMax,
            /// `addauth` refused.
            pub auth_failed: Counter,
            /// What is read and written below each child of the root.
            pub namespaces: Namespaces,
            $($(#[$counter_doc])* pub $counter: Counter,)*
            $($(#[$summary_doc])* pub $summary: Summary,)*
            $($(#[$timing_doc])* pub $timing: Timing,)*
        }

        impl Metrics {
            pub const fn new() -> Metrics {
                Metrics {
                    packets_received: Counter::new(),
                    packets_sent: Counter::new(),
                    client_response_size: LastMinMax::new(),
                    proposal_size: LastMinMax::new(),
                    auth_failed: Counter::new(),
                    namespaces: Namespaces::new(),
                    $($counter: Counter::new(),)*
                    $($summary: Summary::new(),)*
                    $($timing: Timing::new(),)*
                }
            }

            /// Milliseconds from a request's arrival to its reply, of reads and writes.
            pub fn request_latency(&self) -> Totals {
                self.readlatency.totals().and(self.updatelatency.totals())
            }

            /// `srst`: starts over.
            pub fn reset(&self) {
                self.packets_received.reset();
                self.packets_sent.reset();
                self.auth_failed.reset();
                for namespace in self.namespaces.all() {
                    namespace.read.reset();
                    namespace.write.reset();
                }
                self.client_response_size.reset();
                self.proposal_size.reset();
                $(self.$counter.reset();)*
                $(self.$summary.reset();)*
                $(self.$timing.reset();)*
            }

            /// Every instrument of ZooKeeper's, with its value here. Those that have no counterpart in this server are 0,
            /// so that dashboards and parsers find each key they know.
            pub fn each(&self, line: &mut dyn FnMut(String, Value)) {
                $(line(stringify!($counter).to_owned(), Value::Whole(self.$counter.get()));)*
                $(each_of_totals(stringify!($summary), self.$summary.totals(), line);)*
                $(each_of_timing(stringify!($timing), &self.$timing, line);)*
                for namespace in self.namespaces.all() {
                    let name = &namespace.name;
                    each_of_totals(&format!("{name}_read_per_namespace"), namespace.read.totals(), line);
                    each_of_totals(&format!("{name}_write_per_namespace"), namespace.write.totals(), line);
                }
                for name in UNUSED_COUNTERS {
                    line((*name).to_owned(), Value::Whole(0));
                }
                for name in UNUSED_SUMMARIES {
                    each_of_totals(name, Totals::default(), line);
                }
                for name in UNUSED_TIMINGS {
                    each_of_timing(name, &Timing::new(), line);
                }
            }
        }
    };
}

instruments! {
    counters: {
        /// Bytes of request frames, their lengths included.
        bytes_received_count,
        /// Transactions applied.
        commit_count,
        /// Connections closed.
        connection_drop_count,
        /// Connections refused: too many of one address or altogether.
        connection_rejected,
        /// Connect requests.
        connection_request_count,
        /// Sessions attached again.
        connection_revalidate_count,
        /// Times a state digest differed from the leader's.
        digest_mismatches_count,
        /// Frames beyond jute.maxbuffer.
        large_requests_rejected,
        /// Times this member had no leader.
        looking_count,
        /// Transactions proposed.
        proposal_count,
        /// Times a connection was not read because too much was outstanding.
        request_throttle_wait_count,
        /// Requests whose session had closed before they ran.
        requests_not_forwarded_to_commit_processor,
        /// Bytes of replies.
        response_bytes,
        /// Connections closed because no connect request came.
        sessionless_connections_expired,
        /// Checkpoints sent to a peer.
        snap_count,
        /// Checkpoints and images that could not be written.
        snapshot_error_count,
        /// Requests whose connection had closed before they ran.
        stale_requests,
        /// Sessions expired.
        stale_sessions_expired,
        /// Requests answered THROTTLEDOP.
        throttled_ops,
        /// TLS handshakes refused because too many were under way.
        tls_handshake_exceeded,
        /// Errors that end the process.
        unrecoverable_error_count,
        /// TLS handshakes that failed.
        unsuccessful_handshake,
        /// Bytes of watch events.
        watch_bytes,
    }
    summaries: {
        /// Milliseconds to load the state at start.
        dbinittime,
        /// Milliseconds without a leader, each time.
        election_time,
        /// Milliseconds of one fdatasync of the log.
        fsynctime,
        /// Watches fired by one change of data.
        node_changed_watch_count,
        /// Watches fired by one change of children.
        node_children_watch_count,
        /// Watches fired by one creation.
        node_created_watch_count,
        /// Watches fired by one deletion.
        node_deleted_watch_count,
        /// Milliseconds to evaluate one batch.
        prep_process_time,
        /// Requests waiting for the sequencer when it began a batch.
        requests_in_session_queue,
        /// Milliseconds to write a checkpoint.
        snapshottime,
        /// Milliseconds to load the checkpoint or image at start.
        startup_snap_load_time,
        /// Milliseconds to replay the log at start.
        startup_txns_load_time,
        /// Transactions replayed at start.
        startup_txns_loaded,
        /// Transactions in one log entry.
        sync_processor_batch_size,
    }
    timings: {
        /// Milliseconds from the making of a batch's first transaction to its application here.
        propagation_latency,
        /// Milliseconds from proposing a batch to its commit.
        proposal_latency,
        /// Milliseconds from a read's arrival to its reply.
        readlatency,
        /// Milliseconds from a write's arrival to its reply.
        updatelatency,
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::new()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

fn each_of_totals(name: &str, totals: Totals, line: &mut dyn FnMut(String, Value)) {
    line(format!("avg_{name}"), Value::Fraction(totals.average()));
    line(format!("min_{name}"), Value::Whole(totals.min));
    line(format!("max_{name}"), Value::Whole(totals.max));
    line(format!("cnt_{name}"), Value::Whole(totals.count));
    line(format!("sum_{name}"), Value::Whole(totals.sum));
}

fn each_of_timing(name: &str, timing: &Timing, line: &mut dyn FnMut(String, Value)) {
    each_of_totals(name, timing.totals(), line);
    for (key, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
        line(format!("{key}_{name}"), Value::Whole(timing.percentile(share)));
    }
}

/// The last, least and largest of some sizes in bytes; -1 while there is none (BufferStats.java).
#[derive(Debug)]
pub struct LastMinMax {
    last: AtomicU64,
    range: Range,
}

impl LastMinMax {
    const fn new() -> LastMinMax {
        LastMinMax { last: AtomicU64::new(0), range: Range::new() }
    }

    pub fn add(&self, bytes: u64) {
        self.last.store(bytes, Relaxed);
        self.range.add(bytes);
    }

    pub fn last(&self) -> i64 {
        or_none(self.range.get().map(|_| self.last.load(Relaxed)))
    }

    pub fn min(&self) -> i64 {
        or_none(self.range.get().map(|(min, _)| min))
    }

    pub fn max(&self) -> i64 {
        or_none(self.range.get().map(|(_, max)| max))
    }

    fn reset(&self) {
        self.range.reset();
    }
}

fn or_none(bytes: Option<u64>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Instruments of ZooKeeper's that measure parts this server does not have, or cannot see from here.
const UNUSED_COUNTERS: &[&str] = &[
    "add_dead_watcher_stall_time",
    "cnxn_closed_without_zk_server_running",
    "dead_watchers_cleared",
    "dead_watchers_queued",
    "diff_count",
    "ensemble_auth_fail",
    "ensemble_auth_skip",
    "ensemble_auth_success",
    "insecure_admin_count",
    "learner_commit_received_count",
    "learner_proposal_received_count",
    "outstanding_changes_queued",
    "outstanding_changes_removed",
    "prep_processor_request_queued",
    "quit_leading_due_to_disloyal_voter",
    "request_commit_queued",
    "response_packet_cache_hits",
    "response_packet_cache_misses",
    "response_packet_get_children_cache_hits",
    "response_packet_get_children_cache_misses",
    "restore_error_count",
    "restore_rate_limited_count",
    "revalidate_count",
    "skip_learner_request_to_next_processor_count",
    "snapshot_rate_limited_count",
    "stale_replies",
    "stale_requests_dropped",
    "sync_processor_request_queued",
];

const UNUSED_SUMMARIES: &[&str] = &[
    "commit_commit_proc_req_queued",
    "commit_process_time",
    "concurrent_request_processing_in_commit_processor",
    "connection_token_deficit",
    "follower_sync_time",
    "inflight_diff_count",
    "inflight_snap_count",
    "leader_unavailable_time",
    "learner_request_processor_queue_size",
    "netty_queued_buffer_capacity",
    "observer_sync_time",
    "pending_session_queue_size",
    "prep_processor_queue_size",
    "proposal_process_time",
    "read_commit_proc_issued",
    "read_commit_proc_req_queued",
    "reads_after_write_in_session_queue",
    "reads_issued_from_session_queue",
    "restore_time",
    "session_queues_drained",
    "socket_closing_time",
    "sync_process_time",
    "sync_processor_queue_size",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "unavailable_time",
    "write_batch_time_in_commit_processor",
    "write_commit_proc_issued",
    "write_commit_proc_req_queued",
];

const UNUSED_TIMINGS: &[&str] = &[
    "close_session_prep_time",
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "jvm_pause_time_ms",
    "local_write_committed_time_ms",
    "om_commit_process_time_ms",
    "om_proposal_process_time_ms",
    "prep_processor_queue_time_ms",
    "proposal_ack_creation_latency",
    "quorum_ack_latency",
    "read_commitproc_time_ms",
    "read_final_proc_time_ms",
    "request_throttle_queue_time_ms",
    "server_write_committed_time_ms",
    "sync_processor_queue_and_flush_time_ms",
    "sync_processor_queue_flush_time_ms",
    "sync_processor_queue_time_ms",
    "write_commitproc_time_ms",
    "write_final_proc_time_ms",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let summary = Summary::new();
        assert_eq!((summary.totals(), summary.totals().average()), (Totals::default(), 0.0));
        for value in [3, 1, 4] {
            summary.add(value);
        }
        assert_eq!(summary.totals(), Totals { count: 3, sum: 8, min: 1, max: 4 });
        assert_eq!(summary.totals().average(), 2.6667);
    }

    #[test]
    fn the_latency_of_requests_is_that_of_reads_and_writes() {
        let metrics = Metrics::new();
        metrics.updatelatency.add(5);
        assert_eq!(metrics.request_latency(), Totals { count: 1, sum: 5, min: 5, max: 5 });
        metrics.readlatency.add(0);
        assert_eq!(metrics.request_latency(), Totals { count: 2, sum: 5, min: 0, max: 5 });
    }

    #[test]
    fn buckets_are_in_order_and_hold_their_lower_ends() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(lower_end(bucket)), bucket);
            assert!(bucket == 0 || lower_end(bucket - 1) < lower_end(bucket));
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles() {
        let timing = Timing::new();
        assert_eq!(timing.percentile(0.5), 0);
        for value in 1..=1000 {
            timing.add(value);
        }
        assert_eq!(timing.percentile(0.005), 5);
        let median = timing.percentile(0.5);
        assert!((375..=500).contains(&median), "{median}");
        assert!(timing.percentile(0.999) <= 1000);
    }

    #[test]
    fn a_reset_starts_over() {
        let metrics = Metrics::new();
        metrics.packets_received.increment();
        metrics.readlatency.add(9);
        metrics.client_response_size.add(100);
        assert_eq!((metrics.client_response_size.last(), metrics.client_response_size.min()), (100, 100));
        metrics.reset();
        assert_eq!(metrics.packets_received.get(), 0);
        assert_eq!(metrics.readlatency.percentile(0.5), 0);
        assert_eq!(metrics.client_response_size.max(), -1);
    }

    #[test]
    fn every_instrument_once() {
        let mut names = Vec::new();
        Metrics::new().each(&mut |name, _| names.push(name));
        assert_eq!(names.len(), 51 + 42 * 5 + 23 * 9, "counters, summaries, timings of ZooKeeper 3.9.5");
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn doublings_hold_what_is_below_them() {
        let timing = Timing::new();
        assert_eq!(timing.up_to_doublings(), [(0, 0)]);
        for value in [0, 1, 3, 15, 16, 31, 32, 100] {
            timing.add(value);
        }
        assert_eq!(timing.up_to_doublings(), [(0, 1), (1, 2), (3, 3), (7, 3), (15, 4), (31, 6), (63, 7), (127, 8)]);
    }
}
