//! Histograms with log-linear buckets, and quantiles read from them.
//!
//! Each power of two is cut into [`SUB_BUCKETS`] equal parts, so a bucket is at most 1/8 of its value wide
//! (the scheme of HdrHistogram). Values under 8 have a bucket each; values from 2^44 on share the last.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Description, Label, Unit};

/// Parts that each power of two is cut into.
pub const SUB_BUCKETS: usize = 1 << SUB_BITS;
const SUB_BITS: u32 = 3;
/// Values of this many bits or more fall into the last bucket: 2^44 ns is 4.9 hours, 2^44 bytes 16 TiB.
const MAX_BITS: u32 = 44;
/// Number of buckets of every histogram.
pub const BUCKETS: usize = (MAX_BITS - SUB_BITS + 1) as usize * SUB_BUCKETS;

/// The bucket that a value belongs to.
fn bucket_of(value: u64) -> usize {
    if value < SUB_BUCKETS as u64 {
        return value as usize;
    }
    let top_bit = 63 - value.leading_zeros();
    let octave = (top_bit - SUB_BITS) as usize;
    let part = (value >> octave) as usize & (SUB_BUCKETS - 1);
    (SUB_BUCKETS * (octave + 1) + part).min(BUCKETS - 1)
}

/// The least value of a bucket; for `BUCKETS`, the first value past the last.
fn bucket_start(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let octave = bucket / SUB_BUCKETS - 1;
    ((SUB_BUCKETS + bucket % SUB_BUCKETS) as u64) << octave
}

/// How values are distributed: latencies, sizes, token counts. 2.7 KiB each.
///
/// Recording is four relaxed atomic operations, from any context. A reader that runs beside writers sees
/// each value whole, though perhaps not yet in all of count, sum and extremes.
#[derive(Debug)]
pub struct Histogram {
    description: Description,
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

/// What a histogram holds at one moment, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Values recorded.
    pub count: u64,
    /// Their sum (wraps after 2^64).
    pub sum: u64,
    /// The least value recorded, 0 where there is none.
    pub min: u64,
    /// The greatest value recorded.
    pub max: u64,
    /// The median, within 1/16 of its value.
    pub p50: u64,
    /// 90 % of values are at or below this.
    pub p90: u64,
    /// 99 % of values are at or below this.
    pub p99: u64,
    /// 99.9 % of values are at or below this.
    pub p999: u64,
}

impl Histogram {
    /// An empty histogram; `name` ends in the unit's name.
    pub const fn new(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Histogram {
            description: Description::new(name, unit, help),
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }

    /// The same histogram with fixed labels, one static for each combination.
    pub const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.description.labels = labels;
        self
    }

    /// Records one value, in steps (nanoseconds where the unit is seconds, see [`Unit`]).
    pub fn record(&self, value: u64) {
        if let Some(count) = self.counts.get(bucket_of(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// Number of values recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|c| c.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Sum of the values recorded, in steps.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// The value that a share `q` (0 to 1) of all recorded values does not exceed, in steps; `None` when empty.
    /// It is the middle of the bucket that holds it, kept within the extremes really seen.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let min = self.min.load(Ordering::Relaxed);
        let max = self.max.load(Ordering::Relaxed).max(min);
        let rank = libm::ceil(q.clamp(0.0, 1.0) * count as f64).max(1.0) as u64;
        let mut seen = 0u64;
        for (bucket, held) in self.counts.iter().enumerate() {
            seen = seen.wrapping_add(held.load(Ordering::Relaxed));
            if seen >= rank {
                let start = bucket_start(bucket);
                let middle = start + (bucket_start(bucket + 1) - start - 1) / 2;
                // The last bucket has no upper end: only the greatest value says something about it.
                let value = if bucket == BUCKETS - 1 { max } else { middle };
                return Some(value.clamp(min, max));
            }
        }
        Some(max)
    }

    /// Count, sum, extremes and the four quantiles.
    pub fn summary(&self) -> Summary {
        let quantile = |q| self.quantile(q).unwrap_or(0);
        let count = self.count();
        Summary {
            count,
            sum: self.sum(),
            min: if count == 0 { 0 } else { self.min.load(Ordering::Relaxed) },
            max: self.max.load(Ordering::Relaxed),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
        }
    }

    /// Calls `each(greatest value, values at or below it)` for every fourth power, then returns the count.
    /// The bounds never change, as a scraper wants it, and the last call's count is at most the returned one.
    pub(crate) fn cumulative(&self, mut each: impl FnMut(u64, u64)) -> u64 {
        let mut seen = 0u64;
        for (bucket, held) in self.counts.iter().enumerate() {
            seen = seen.wrapping_add(held.load(Ordering::Relaxed));
            let end = bucket_start(bucket + 1);
            let fourth_power = end.is_power_of_two() && end.trailing_zeros().is_multiple_of(2);
            if fourth_power && end > 1 && bucket + 1 < BUCKETS {
                each(end - 1, seen);
            }
        }
        seen
    }

    /// Name, unit, help and labels.
    pub const fn description(&self) -> &Description {
        &self.description
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn buckets_tile_the_numbers_without_gap_or_overlap() {
        for bucket in 0..BUCKETS {
            let (start, end) = (bucket_start(bucket), bucket_start(bucket + 1));
            assert!(start < end);
            assert_eq!(bucket_of(start), bucket);
            assert_eq!(bucket_of(end - 1), bucket);
            assert!(bucket < SUB_BUCKETS || (end - start) * SUB_BUCKETS as u64 <= start);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        let h = Histogram::new("auton_test_seconds", Unit::Seconds, "Test.");
        assert_eq!(h.quantile(0.5), None);
        assert_eq!(
            h.summary(),
            Summary { count: 0, sum: 0, min: 0, max: 0, p50: 0, p90: 0, p99: 0, p999: 0 }
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_sixteenth(mut values in prop::collection::vec(0u64..1 << 43, 1..300), q in 0.0f64..=1.0) {
            let h = Histogram::new("auton_test", Unit::None, "Test.");
            values.iter().for_each(|v| h.record(*v));
            values.sort_unstable();
            let rank = (q * values.len() as f64).ceil().max(1.0) as usize;
            let exact = values[rank - 1];
            let got = h.quantile(q).unwrap();
            prop_assert!(got.abs_diff(exact) <= exact / 8, "{got} for {exact}");
            prop_assert_eq!(h.count(), values.len() as u64);
            prop_assert_eq!(h.sum(), values.iter().sum::<u64>());
        }

        #[test]
        fn cumulative_counts_agree_with_the_values(values in prop::collection::vec(any::<u64>(), 0..200)) {
            let h = Histogram::new("auton_test", Unit::None, "Test.");
            values.iter().for_each(|v| h.record(*v));
            let mut bounds = Vec::new();
            let total = h.cumulative(|bound, count| bounds.push((bound, count)));
            prop_assert_eq!(total, values.len() as u64);
            for (bound, count) in bounds {
                prop_assert_eq!(count, values.iter().filter(|v| **v <= bound).count() as u64);
            }
        }
    }
}
