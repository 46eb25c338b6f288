//! The machine's read bandwidth: the roof under which decoding lives.
//!
//! Each thread sums its part of a buffer far larger than the caches, from its beginning to its end. The additions are
//! four 16-byte vectors wide (the compiler vectorises [`sum`] with SSE2; the loads then wait for memory, not the
//! additions), so this is what one plain, prefetched stream a thread reads. It is a measured figure, not the most that the
//! memory could give: more streams a thread were slower here.

use std::hint::black_box;
use std::time::Instant;

/// Bytes of the buffer.
const BYTES: usize = 1 << 30;
/// Passes; the fastest counts, for other work on the machine only takes away.
const PASSES: usize = 7;

/// A buffer with its pages in place.
pub struct Buffer(Vec<u64>);

impl Default for Buffer {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl Buffer {
    fn new(bytes: usize) -> Self {
        // Written, for pages that were never written all map to one page of zeros.
        Self((0..bytes as u64 / 8).collect())
    }

    /// Bytes per second that `threads` read together: the best of some passes.
    pub fn read_rate(&self, threads: usize) -> f64 {
        let part = self.0.len().div_ceil(threads.max(1)).max(1);
        let mut best = f64::INFINITY;
        for _ in 0..PASSES {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for piece in self.0.chunks(part) {
                    scope.spawn(|| black_box(sum(piece)));
                }
            });
            best = best.min(began.elapsed().as_secs_f64());
        }
        size_of_val(self.0.as_slice()) as f64 / best
    }
}

/// The sum, wrapping.
#[inline(never)]
fn sum(values: &[u64]) -> u64 {
    let mut lanes = [0u64; 16];
    let pieces = values.chunks_exact(lanes.len());
    let rest = pieces.remainder().iter().fold(0u64, |sum, &value| sum.wrapping_add(value));
    for piece in pieces {
        for (lane, value) in lanes.iter_mut().zip(piece) {
            *lane = lane.wrapping_add(*value);
        }
    }
    lanes.into_iter().fold(rest, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let values: Vec<u64> = (0..length).map(|i| i * i + 1).collect();
            assert_eq!(sum(&values), values.iter().sum::<u64>());
        }
        assert_eq!(sum(&[u64::MAX, 2]), 1);
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        let rate = Buffer::new(1 << 20).read_rate(3);
        assert!(rate.is_finite() && rate > 0.0, "{rate}");
    }
}
