//! What a plugin has done on this server since it started: `/zookeeper/plugins/<name>/counters`.

use super::call::Fault;
use super::faults::Faults;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// They outlive a version: an update of the plugin goes on counting.
#[derive(Default)]
pub struct Counters {
    pub calls: AtomicU64,
    /// Writes that were refused by the guest's own judgement.
    pub refusals: AtomicU64,
    /// In mode audit: what would have been one of the above, or of the faults.
    pub would_refuse: AtomicU64,
    /// Writes that went on though the guest failed.
    pub let_pass: AtomicU64,
    pub fuel_total: AtomicU64,
    pub fuel_max: AtomicU64,
    pub ns_total: AtomicU64,
    pub ns_max: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    pub last_faults: Faults,
    /// By `Fault::class`.
    faults: [AtomicU64; Fault::CLASSES.len()],
}

impl Counters {
    pub fn called(&self, fuel: u64, ns: u64) {
        self.calls.fetch_add(1, Relaxed);
        self.fuel_total.fetch_add(fuel, Relaxed);
        self.fuel_max.fetch_max(fuel, Relaxed);
        self.ns_total.fetch_add(ns, Relaxed);
        self.ns_max.fetch_max(ns, Relaxed);
    }

    pub fn failed(&self, fault: &Fault) {
        if let Some(counter) = self.faults.get(fault.class()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub fn faults(&self, class: &str) -> u64 {
        let at = Fault::CLASSES.iter().position(|name| *name == class);
        at.and_then(|at| self.faults.get(at)).map_or(0, |counter| counter.load(Relaxed))
    }

    pub fn json(&self) -> Value {
        let faults: serde_json::Map<String, Value> = Fault::CLASSES
            .iter()
            .zip(&self.faults)
            .map(|(name, count)| ((*name).to_string(), count.load(Relaxed).into()))
            .collect();
        json!({
            "calls": self.calls.load(Relaxed),
            "refusals": self.refusals.load(Relaxed),
            "would_refuse": self.would_refuse.load(Relaxed),
            "let_pass": self.let_pass.load(Relaxed),
            "faults": faults,
            "fuel_total": self.fuel_total.load(Relaxed),
            "fuel_max": self.fuel_max.load(Relaxed),
            "ns_total": self.ns_total.load(Relaxed),
            "ns_max": self.ns_max.load(Relaxed),
            "log_lines_dropped": self.log_lines_dropped.load(Relaxed),
        })
    }
}
