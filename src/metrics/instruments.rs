//! The kinds of instruments: counters, summaries, timings with percentiles, sizes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows until it is reset.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(super) const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Count, sum, minimum and maximum of values, at one moment. All are 0 if there are no values.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Totals {
    /// The average, rounded to four decimal places, as ZooKeeper prints it.
    pub(crate) fn average(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.sum as f64 / self.count as f64 * 1e4).round() / 1e4
    }

    /// The totals of the values of both.
    pub(super) fn and(self, other: Totals) -> Totals {
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

/// Minimum and maximum of values.
#[derive(Debug)]
struct Range {
    /// `u64::MAX` if there are no values.
    min: AtomicU64,
    max: AtomicU64,
}

impl Range {
    const fn new() -> Range {
        Range { min: AtomicU64::new(u64::MAX), max: AtomicU64::new(0) }
    }

    fn add(&self, value: u64) {
        // Mostly neither changes, and a load is much cheaper than an exchange.
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

/// Totals of values. Costs two atomic additions for each value.
#[derive(Debug)]
pub(crate) struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    range: Range,
}

impl Summary {
    pub(super) const fn new() -> Summary {
        Summary { count: AtomicU64::new(0), sum: AtomicU64::new(0), range: Range::new() }
    }

    pub(crate) fn add(&self, value: u64) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.range.add(value);
    }

    pub(crate) fn totals(&self) -> Totals {
        let (min, max) = self.range.get().unwrap_or_default();
        Totals { count: self.count.load(Relaxed), sum: self.sum.load(Relaxed), min, max }
    }

    pub(super) fn reset(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
        self.range.reset();
    }
}

/// Each value below this has its own bucket.
const EXACT: u64 = 16;
/// Buckets for each doubling above `EXACT`.
const PER_DOUBLING: usize = 4;
/// 16 exact buckets, then those for the doublings up to 2^32, which is seven weeks in milliseconds. Larger values are
/// in the last bucket.
const BUCKETS: usize = EXACT as usize + 28 * PER_DOUBLING;

/// A summary with percentiles. Costs two atomic additions for each value: the count is the sum of the buckets.
#[derive(Debug)]
pub(crate) struct Timing {
    sum: AtomicU64,
    range: Range,
    buckets: [AtomicU64; BUCKETS],
}

impl Timing {
    pub(crate) const fn new() -> Timing {
        Timing { sum: AtomicU64::new(0), range: Range::new(), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }

    pub(crate) fn add(&self, value: u64) {
        self.sum.fetch_add(value, Relaxed);
        self.range.add(value);
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let count = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum();
        let (min, max) = self.range.get().unwrap_or_default();
        Totals { count, sum: self.sum.load(Relaxed), min, max }
    }

    /// The value that a share (0.5, 0.99) of all values does not exceed, rounded down to the lower end of its bucket. 0
    /// if there are no values.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
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

    /// Pairs of a bound and the number of values up to it. The bounds are 0, 1, 3, 7 and so on, up to the largest
    /// value.
    pub(crate) fn up_to_doublings(&self) -> Vec<(u64, u64)> {
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

    pub(super) fn reset(&self) {
        self.sum.store(0, Relaxed);
        self.range.reset();
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }
}

/// The bucket of a value.
fn bucket_of(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    let doubling = value.ilog2() as usize;
    // The two bits below the leading one select one of the four buckets of the doubling.
    let quarter = (value >> (doubling - 2)) as usize & (PER_DOUBLING - 1);
    (EXACT as usize + (doubling - 4) * PER_DOUBLING + quarter).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
fn lower_end(bucket: usize) -> u64 {
    match bucket.checked_sub(EXACT as usize) {
        None => bucket as u64,
        Some(above) => (PER_DOUBLING + above % PER_DOUBLING) as u64 * (EXACT >> 2 << (above / PER_DOUBLING)),
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::new()
    }
}

/// The last, the smallest and the largest of sizes in bytes. All are -1 if there are none (BufferStats.java).
#[derive(Debug)]
pub(crate) struct LastMinMax {
    last: AtomicU64,
    range: Range,
}

impl LastMinMax {
    pub(super) const fn new() -> LastMinMax {
        LastMinMax { last: AtomicU64::new(0), range: Range::new() }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.last.store(bytes, Relaxed);
        self.range.add(bytes);
    }

    pub(crate) fn last(&self) -> i64 {
        or_none(self.range.get().map(|_| self.last.load(Relaxed)))
    }

    pub(crate) fn min(&self) -> i64 {
        or_none(self.range.get().map(|(min, _)| min))
    }

    pub(crate) fn max(&self) -> i64 {
        or_none(self.range.get().map(|(_, max)| max))
    }

    pub(super) fn reset(&self) {
        self.range.reset();
    }
}

/// -1 for None.
fn or_none(bytes: Option<u64>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

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
    fn buckets_are_in_order_and_begin_with_their_lower_ends() {
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
    fn doublings_count_the_values_below_them() {
        let timing = Timing::new();
        assert_eq!(timing.up_to_doublings(), [(0, 0)]);
        for value in [0, 1, 3, 15, 16, 31, 32, 100] {
            timing.add(value);
        }
        assert_eq!(timing.up_to_doublings(), [(0, 1), (1, 2), (3, 3), (7, 3), (15, 4), (31, 6), (63, 7), (127, 8)]);
    }
}
