//! The figures of a server, under ZooKeeper's names (ServerMetrics.java). `srvr`, `stat` and `mntr` print them.
//!
//! All figures are atomics with relaxed ordering. They are for people and dashboards, and never decide anything. Times
//! are whole milliseconds, as in ZooKeeper. Percentiles are of all values since the start or the last `srst`, and are
//! exact to a quarter of the value. ZooKeeper samples the last minutes instead.
//!
//! | file | holds |
//! |---|---|
//! | `instruments` | counters, summaries, timings, sizes |
//! | `namespaces` | bytes read and written below each child of the root |
//! | `absent` | ZooKeeper's instruments that have no counterpart here |

mod absent;
mod instruments;
pub(crate) mod namespaces;

pub(crate) use instruments::{Counter, LastMinMax, Summary, Timing, Totals};

use namespaces::Namespaces;

/// The value of a line of `mntr`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Value {
    Whole(u64),
    /// Printed as Java prints a double: with at least one decimal place.
    Fraction(f64),
}

macro_rules! instruments {
    (
        counters: { $($(#[$counter_doc:meta])* $counter:ident,)* }
        summaries: { $($(#[$summary_doc:meta])* $summary:ident,)* }
        timings: { $($(#[$timing_doc:meta])* $timing:ident,)* }
    ) => {
        /// All figures of a server. A member has one, and hands it to its parts.
        #[derive(Debug)]
        pub(crate) struct Metrics {
            /// Requests that were read, and four letter words.
            pub(crate) packets_received: Counter,
            /// Replies and events that were sent.
            pub(crate) packets_sent: Counter,
            /// Bytes of each reply.
            pub(crate) client_response_size: LastMinMax,
            /// Bytes of each transaction that was proposed here.
            pub(crate) proposal_size: LastMinMax,
            /// Failed `addauth` requests.
            pub(crate) auth_failed: Counter,
            /// Bytes read and written below each child of the root.
            pub(crate) namespaces: Namespaces,
            $($(#[$counter_doc])* pub $counter: Counter,)*
            $($(#[$summary_doc])* pub $summary: Summary,)*
            $($(#[$timing_doc])* pub $timing: Timing,)*
        }

        impl Metrics {
            pub(crate) const fn new() -> Metrics {
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

            /// Milliseconds from the arrival of a request to its reply, for reads and writes together.
            pub(crate) fn request_latency(&self) -> Totals {
                self.readlatency.totals().and(self.updatelatency.totals())
            }

            /// `srst`: all figures start over.
            pub(crate) fn reset(&self) {
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

            /// Calls `line` with every figure of ZooKeeper: its key without the prefix `zk_`, and its value here. A
            /// figure that has no counterpart here is 0 (`absent`).
            pub(crate) fn each(&self, line: &mut dyn FnMut(String, Value)) {
                $(line(stringify!($counter).to_owned(), Value::Whole(self.$counter.get()));)*
                $(each_of_totals(stringify!($summary), self.$summary.totals(), line);)*
                $(each_of_timing(stringify!($timing), &self.$timing, line);)*
                for namespace in self.namespaces.all() {
                    let name = &namespace.name;
                    each_of_totals(&format!("{name}_read_per_namespace"), namespace.read.totals(), line);
                    each_of_totals(&format!("{name}_write_per_namespace"), namespace.write.totals(), line);
                }
                for name in absent::COUNTERS {
                    line((*name).to_owned(), Value::Whole(0));
                }
                for name in absent::SUMMARIES {
                    each_of_totals(name, Totals::default(), line);
                }
                for name in absent::TIMINGS {
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
        /// Connections refused: too many of one address, or of all clients.
        connection_rejected,
        /// Connect requests.
        connection_request_count,
        /// Sessions attached again.
        connection_revalidate_count,
        /// Times that a digest of the state differed from the leader's.
        digest_mismatches_count,
        /// Frames beyond jute.maxbuffer.
        large_requests_rejected,
        /// Times that this member lost its leader.
        looking_count,
        /// Transactions proposed.
        proposal_count,
        /// Times that backpressure stopped reading from a connection.
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
        /// Milliseconds without a leader, for each time without one.
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
        /// Milliseconds from the evaluation of a batch's first transaction to its application here.
        propagation_latency,
        /// Milliseconds from proposing a batch to its commit.
        proposal_latency,
        /// Milliseconds from a read's arrival to its reply.
        readlatency,
        /// Milliseconds from a write's arrival to its reply.
        updatelatency,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_of_requests_is_that_of_reads_and_writes() {
        let metrics = Metrics::new();
        metrics.updatelatency.add(5);
        assert_eq!(metrics.request_latency(), Totals { count: 1, sum: 5, min: 5, max: 5 });
        metrics.readlatency.add(0);
        assert_eq!(metrics.request_latency(), Totals { count: 2, sum: 5, min: 0, max: 5 });
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
}
