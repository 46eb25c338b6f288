//! How much memory will be free, and when there will be none: a forecast that learns and keeps score.
//!
//! A sample a second goes into [`Holt`]'s line. Each sample also makes one prediction, for the horizon
//! ahead; when that moment comes, it is compared with what happened, and so is persistence ("it stays as it
//! is"), the rival that a forecast of free memory most often loses to. How far the trend may be trusted is
//! learned from the same comparisons, by regression through the origin of what changed on what the trend
//! had promised: on a plateau or a sawtooth the trust sinks and the forecast becomes persistence.
//!
//! ```
//! use ai_insights::forecast::{MemoryForecast, Sample};
//!
//! let mut forecast = MemoryForecast::new(1 << 30, 10_000_000_000);
//! for second in 0u64..60 {
//!     // 4 MiB are lost each second.
//!     forecast.sample(Sample { t_ns: second * 1_000_000_000, free_bytes: (512 << 20) - second * (4 << 20) });
//! }
//! let left = forecast.seconds_to_exhaustion().unwrap();
//! assert!((60.0..80.0).contains(&left)); // 69 s
//! assert!(forecast.score().skill().unwrap() > 0.5);
//! ```
//!
//! Honest limits: one straight line, one cause-blind series; it acts on nothing. On real machines persistence
//! is hard to beat: over 34 recorded Linux runs of 40 s (`tests/forecast.rs`, horizon 5 s) the skill is −0.05,
//! from +0.5 on a steady fall to −0.5 where nothing but noise happens.

mod holt;
mod score;

pub use holt::Holt;
pub use score::Score;

use score::{Prediction, Waiting};

/// Samples kept for drawing.
pub const HISTORY: usize = 60;
/// How slowly the learned trust forgets: a comparison counts half after about 35 newer ones.
const MEMORY: f64 = 0.98;
/// Exhaustion further away than this is no forecast.
const FARTHEST_S: f64 = 3600.0;

/// Free memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Monotonic time in nanoseconds.
    pub t_ns: u64,
    /// Free memory in bytes.
    pub free_bytes: u64,
}

/// A forecast of free memory at a fixed horizon. Fixed size (under 4 KiB), constant time a sample.
#[derive(Debug, Clone)]
pub struct MemoryForecast {
    total: f64,
    horizon_ns: u64,
    holt: Option<Holt>,
    last: Option<Sample>,
    waiting: Waiting,
    score: Score,
    /// Running sums of change × promised change, and of promised change squared.
    promised_kept: f64,
    promised: f64,
    refused: u64,
    history: [u64; HISTORY],
    samples: usize,
}

impl MemoryForecast {
    /// A forecast for a machine of `total_bytes`, always `horizon_ns` ahead.
    pub fn new(total_bytes: u64, horizon_ns: u64) -> Self {
        MemoryForecast {
            total: total_bytes as f64,
            horizon_ns: horizon_ns.max(1),
            holt: None,
            last: None,
            waiting: Waiting::new(),
            score: Score::default(),
            promised_kept: 0.0,
            promised: 0.0,
            refused: 0,
            history: [0; HISTORY],
            samples: 0,
        }
    }

    /// Takes a sample: resolves what is due, learns, predicts. A clock that stands still or steps back makes
    /// the sample refused; a gap longer than the horizon starts the line anew.
    pub fn sample(&mut self, sample: Sample) {
        let free = (sample.free_bytes as f64).min(self.total);
        if let Some(last) = self.last {
            if sample.t_ns <= last.t_ns {
                self.refused += 1;
                return;
            }
            if sample.t_ns - last.t_ns > self.horizon_ns {
                self.score.unresolved += self.waiting.clear() as u64;
                if let Some(holt) = &mut self.holt {
                    holt.restart(free);
                }
            } else {
                self.resolve(last, sample);
                let dt = (sample.t_ns - last.t_ns) as f64 / 1e9;
                if let Some(holt) = &mut self.holt {
                    holt.update(free, dt);
                }
            }
        }
        self.holt.get_or_insert_with(|| Holt::new(free));
        self.last = Some(sample);
        if let Some(slot) = self.history.get_mut(self.samples % HISTORY) {
            *slot = sample.free_bytes;
        }
        self.samples += 1;
        self.predict_for_later(sample, free);
    }

    fn predict_for_later(&mut self, now: Sample, free: f64) {
        let Some(due_ns) = now.t_ns.checked_add(self.horizon_ns) else { return };
        let (Some(predicted), Some(trend_change)) = (self.predicted_free(), self.trend_change()) else {
            return;
        };
        let prediction = Prediction { due_ns, persistence: free, trend_change, predicted };
        if !self.waiting.push(prediction) {
            self.score.unresolved += 1;
        }
    }

    /// Scores every prediction that fell due between two samples, on the line between them.
    fn resolve(&mut self, from: Sample, to: Sample) {
        while let Some(p) = self.waiting.due(to.t_ns) {
            let share = p.due_ns.saturating_sub(from.t_ns) as f64 / (to.t_ns - from.t_ns) as f64;
            let (a, b) = (from.free_bytes as f64, to.free_bytes as f64);
            let happened = (a + (b - a) * share).min(self.total);
            self.score.add((happened - p.predicted).abs(), (happened - p.persistence).abs());
            // Scored first, learned from afterwards: no prediction is judged on what it was fitted to.
            let change = happened - p.persistence;
            self.promised_kept = MEMORY * self.promised_kept + change * p.trend_change;
            self.promised = MEMORY * self.promised + p.trend_change * p.trend_change;
        }
    }

    /// What the trend, trusted wholly, changes until the horizon; `None` before the first sample.
    fn trend_change(&self) -> Option<f64> {
        self.holt.as_ref().map(|holt| holt.trend() * self.horizon_ns as f64 / 1e9)
    }

    /// How far the trend is trusted, from 0 (it stays as it is) to 1 (it goes on like this).
    /// It is 0 before anything is known: a trend has to earn its trust.
    pub fn trust(&self) -> f64 {
        // A change of one thousandth of the memory is the weight of not knowing yet.
        let doubt = (self.total / 1000.0) * (self.total / 1000.0);
        (self.promised_kept / (self.promised + doubt).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    /// Free bytes expected one horizon after the last sample; `None` before the first sample.
    pub fn predicted_free(&self) -> Option<f64> {
        let now = (self.last?.free_bytes as f64).min(self.total);
        Some((now + self.trust() * self.trend_change()?).clamp(0.0, self.total))
    }

    /// Seconds until no memory is free if the trusted trend goes on; `None` where there is no downward
    /// trend that stands out from the noise, or the end is more than an hour away.
    pub fn seconds_to_exhaustion(&self) -> Option<f64> {
        let holt = self.holt.as_ref()?;
        let fall = -self.trust() * holt.trend();
        let over_horizon = fall * self.horizon_ns as f64 / 1e9;
        let noise = (2.0 * holt.typical_error()).max(self.total / 1000.0);
        if fall <= 0.0 || over_horizon <= noise {
            return None;
        }
        let left = (self.last?.free_bytes as f64).min(self.total) / fall;
        (left <= FARTHEST_S).then_some(left)
    }

    /// How good the predictions have been.
    pub fn score(&self) -> Score {
        self.score
    }

    /// The line behind the forecast; `None` before the first sample.
    pub fn holt(&self) -> Option<&Holt> {
        self.holt.as_ref()
    }

    /// How far ahead each prediction looks, in nanoseconds.
    pub fn horizon_ns(&self) -> u64 {
        self.horizon_ns
    }

    /// Samples refused because the clock did not advance.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Free bytes of the last [`HISTORY`] samples, oldest first: for a [`crate::metrics::Sparkline`].
    pub fn history(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        let kept = self.samples.min(HISTORY);
        let first = self.samples - kept;
        (first..self.samples).filter_map(|i| self.history.get(i % HISTORY).copied())
    }
}
