//! The part of the crate `base2histogram` that openraft needs, without the tables of the real crate.
//!
//! openraft keeps histograms of its own batch sizes. At its first use the real crate makes lookup tables for sixteen
//! resolutions. They take 26 MiB of resident memory, two thirds of this server's memory after a start, and only one
//! resolution is used. The server does not read these statistics, so this crate counts samples and keeps only their sum
//! and maximum. `[patch.crates-io]` in the workspace's Cargo.toml puts it in place of the real crate. docs/decisions
//! has the measurement.

use std::fmt;
use std::marker::PhantomData;

/// Counts values. Every percentile is the maximum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    samples: u64,
    max: u64,
    slots: PhantomData<T>,
}

/// The percentiles of the real crate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

/// Draws nothing.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart;

impl<T> Histogram<T> {
    pub fn new() -> Histogram<T> {
        Histogram { samples: 0, max: 0, slots: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    pub fn record_n(&mut self, value: u64, count: u64) {
        self.samples += count;
        self.max = self.max.max(value);
    }

    pub fn total(&self) -> u64 {
        self.samples
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        let Histogram { samples, max, .. } = *self;
        PercentileStats { samples, p0_1: 0, p1: max, p5: max, p10: max, p50: max, p90: max, p99: max, p99_9: max }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl AsciiChart {
    pub fn new() -> AsciiChart {
        AsciiChart
    }

    #[allow(clippy::should_implement_trait)] // The real crate's name.
    pub fn add(self, _: &str, _: Histogram) -> AsciiChart {
        self
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples, at most {}", self.samples, self.p99_9)
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
