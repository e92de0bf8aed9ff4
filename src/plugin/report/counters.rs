//! What a plugin has done on this server since the server started: `/zookeeper/plugins/<name>/counters`.

use super::faults::Faults;
use super::log::{Level, Log};
use super::tape::{Question, Tape};
use crate::metrics::Timing;
use crate::plugin::fault::Fault;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The counters of one plugin. They outlive a version: an update goes on counting.
#[derive(Default)]
pub struct Counters {
    pub(crate) calls: AtomicU64,
    /// Requests that the guest refused.
    pub(crate) refusals: AtomicU64,
    /// In mode `audit`: requests that the guest would have refused, or that its faults would have.
    pub(crate) would_refuse: AtomicU64,
    /// Requests that went on although the guest failed.
    pub(crate) let_pass: AtomicU64,
    /// The fuel of each call.
    pub(crate) fuel: Timing,
    /// The nanoseconds of each call, including the time to make an instance.
    pub(crate) ns: Timing,
    /// The largest memory of an instance so far, in bytes.
    pub(crate) memory_bytes_max: AtomicU64,
    /// Operations on transactions that the guest asked for. Refused operations and those of failed calls count.
    pub(crate) operations: AtomicU64,
    pub(crate) log_lines_dropped: AtomicU64,
    pub(crate) last_faults: Faults,
    /// Calls that took at least the binding's `limits.slow_ms`.
    pub(crate) slow_calls: AtomicU64,
    /// The guest's log lines, and the server's lines about the plugin.
    pub(crate) log: Log,
    /// The recording of calls, while somebody reads it.
    pub(crate) tape: Tape,
    /// Counts by `Fault::class`.
    faults: [AtomicU64; Fault::CLASSES.len()],
}

impl Counters {
    pub(crate) fn called(&self, fuel: u64, ns: u64) {
        self.calls.fetch_add(1, Relaxed);
        self.fuel.add(fuel);
        self.ns.add(ns);
    }

    /// Notes the memory of an instance after a call, and the operations of the call.
    pub(crate) fn took(&self, memory_bytes: u64, operations: u64) {
        // Memory mostly does not grow, and a load is much cheaper than an exchange.
        if memory_bytes > self.memory_bytes_max.load(Relaxed) {
            self.memory_bytes_max.fetch_max(memory_bytes, Relaxed);
        }
        if operations > 0 {
            self.operations.fetch_add(operations, Relaxed);
        }
    }

    /// Counts a slow call, and logs the question.
    pub(crate) fn slow(&self, took: Duration, fuel: u64, question: &Question) {
        self.slow_calls.fetch_add(1, Relaxed);
        let us = took.as_micros();
        self.log.push(Level::Warn, &format!("slow call: {us} us, fuel {fuel}: {question:?}"));
    }

    pub(crate) fn failed(&self, fault: &Fault) {
        if let Some(counter) = self.faults.get(fault.class()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The names of all faults, with their counts.
    pub(crate) fn all_faults(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Fault::CLASSES.iter().zip(&self.faults).map(|(name, count)| (*name, count.load(Relaxed)))
    }

    /// The counts without timings and faults, with their names.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("calls", self.calls.load(Relaxed)),
            ("refusals", self.refusals.load(Relaxed)),
            ("would_refuse", self.would_refuse.load(Relaxed)),
            ("let_pass", self.let_pass.load(Relaxed)),
            ("slow_calls", self.slow_calls.load(Relaxed)),
            ("operations", self.operations.load(Relaxed)),
            ("log_lines_dropped", self.log_lines_dropped.load(Relaxed)),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let mut json: serde_json::Map<String, Value> =
            self.counts().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let faults: serde_json::Map<String, Value> =
            self.all_faults().map(|(name, count)| (name.to_owned(), count.into())).collect();
        json.insert("faults".into(), faults.into());
        for (name, timing) in [("fuel", &self.fuel), ("ns", &self.ns)] {
            let totals = timing.totals();
            json.insert(format!("{name}_total"), totals.sum.into());
            json.insert(format!("{name}_max"), totals.max.into());
            for (share, of) in [("p50", 0.5), ("p99", 0.99)] {
                json.insert(format!("{name}_{share}"), timing.percentile(of).into());
            }
        }
        json.insert("memory_bytes_max".into(), self.memory_bytes_max.load(Relaxed).into());
        Value::Object(json)
    }
}
