//! Will memory run out? A probability, a time with its interval, and a score that is always known.
//!
//! Every 100 ms a [`Sample`] of the allocator's counters goes in, and an [`Assessment`] comes out: the probability
//! that an allocation that cannot be refused will find nothing within [`HORIZON_NS`], the risk level, the seconds left and the
//! factors behind it. The model is boosted trees over features that ask not only how fast memory falls, but
//! for how long and how straight it has done so: a fall that began a second ago is more often a step to a plateau
//! than the way to the end. It was fitted offline (`cargo xtask fit crash`; provenance in `coefficients.rs`),
//! learns a bounded correction online, and every prediction is resolved against what happened ([`Score`]).
//!
//! [`Guard`] decides whether to act on it, under five rules.
//!
//! ```
//! use ai_insights::crash_predictor::{Predictor, Risk, Sample};
//!
//! let mut predictor = Predictor::new();
//! let mut last = None;
//! for tick in 0u64..260 {
//!     // 262144 pages (1 GiB), of which 900 are lost every 100 ms: memory ends after about 28 s.
//!     let mut sample = Sample::quiet(tick * 100_000_000, 262_144, 262_144 - tick * 900);
//!     sample.allocated_pages = tick * 900;
//!     last = Some(predictor.sample(sample));
//! }
//! let assessment = last.unwrap();
//! assert!(assessment.risk >= Risk::Warning);
//! let left = assessment.seconds_to_oom.unwrap();
//! assert!(left.low <= left.mid && left.mid <= left.high && left.mid < 10.0);
//! ```
//!
//! Honest limits: what falls to a plateau at a leak's pace looks like a leak until it stops, and no lead of 5 s can be
//! given for what takes less than 5 s. An alarm that was acted on and came to nothing is "averted", which nobody can tell
//! from a false alarm; it is counted apart and teaches nothing.

mod assessment;
mod coefficients;
mod features;
mod guard;
mod hold;
mod model;
mod sample;
mod score;
mod window;

pub use assessment::{Assessment, FACTORS, Factor, Interval, Risk, ThresholdError};
pub use coefficients::FITTED;
pub use features::{CALM, FEATURES, Features, NAMES, SIGN, Values};
pub use guard::{Action, Decision, Done, Guard, GuardScore, Mode, Why};
pub use hold::HOLD_NS;
pub use model::{Coefficients, DEPTH, LEAVES, Model, NEVER, Tree, score, sum};
pub use sample::{Sample, WHOLE};
pub use score::{Outcome, RECORDS, Record, Resolved, Score};

use features::can_wait;
use score::ScoreKeeper;

/// The probability is about this much time from now on.
pub const HORIZON_NS: u64 = 20_000_000_000;
/// While an alarm can wait, the probability is this share of the threshold at the most.
const WAITING: f32 = 0.95;
/// Samples kept.
pub const RING: usize = 100;

/// The predictor. Fixed size (under 8 KiB), constant time per sample, no heap.
#[derive(Debug, Clone)]
pub struct Predictor {
    features: Features,
    model: Model,
    keeper: ScoreKeeper,
    threshold: f32,
    ring: [u32; RING],
    samples: u64,
    refused: u64,
    last: Option<Assessment>,
}

const _: () = assert!(size_of::<Predictor>() <= 8192);

impl Default for Predictor {
    fn default() -> Self {
        Self::new()
    }
}

impl Predictor {
    /// With the committed fit.
    pub const fn new() -> Self {
        Self::with(FITTED)
    }

    /// With another fit, as cross-validation needs it.
    pub const fn with(fit: Coefficients) -> Self {
        Predictor {
            features: Features::new(),
            model: Model::new(fit),
            keeper: ScoreKeeper::new(fit.base_rate),
            threshold: fit.threshold,
            ring: [0; RING],
            samples: 0,
            refused: 0,
            last: None,
        }
    }

    /// Takes a sample: resolves what is due, learns from it, and predicts anew. A sample that is not later than the
    /// last one is refused: the last assessment is returned again and [`refused`](Self::refused) counts it.
    pub fn sample(&mut self, sample: Sample) -> Assessment {
        if !self.features.update(&sample) {
            self.refused += 1;
            if let Some(last) = self.last {
                return last;
            }
        }
        if let Some(slot) = self.ring.get_mut((self.samples % RING as u64) as usize) {
            *slot = u32::try_from(sample.free_pages).unwrap_or(u32::MAX);
        }
        self.samples += 1;

        let values = *self.features.values();
        let log_odds = self.model.log_odds(&values);
        let mut probability = self.model.probability(log_odds);
        if can_wait(&values) {
            // Whatever was learned, and wherever the threshold was put.
            probability = probability.min(WAITING * self.threshold.min(self.model.coefficients().threshold));
        }
        let seconds_to_oom = self.seconds_to_oom();
        let over = probability >= self.threshold;
        let middle = seconds_to_oom.map(|s| s.mid);
        let resolved = self.keeper.predict(sample.t_ns, log_odds, probability, over, middle);
        if let Some(resolved) = resolved {
            self.model.learn(resolved.log_odds, resolved.happened);
        }
        let assessment = Assessment {
            t_ns: sample.t_ns,
            probability,
            risk: Risk::of(probability, self.threshold),
            seconds_to_oom,
        };
        self.last = Some(assessment);
        assessment
    }

    /// Memory ran out at `t_ns`: an allocation failed for good. Resolves everything that waits.
    pub fn outcome_oom(&mut self, t_ns: u64) {
        let model = &mut self.model;
        self.keeper.oom(t_ns, |resolved| model.learn(resolved.log_odds, resolved.happened));
    }

    /// Somebody acted on the last assessment, so its outcome can no longer be told from a false alarm.
    pub fn acted(&mut self) {
        self.keeper.acted();
    }

    /// The last assessment.
    pub fn last(&self) -> Option<&Assessment> {
        self.last.as_ref()
    }

    /// The probability from which on there is an alarm.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Sets the one threshold.
    ///
    /// # Errors
    /// It must lie between 0.01 and 0.99; otherwise nothing changes.
    pub fn set_threshold(&mut self, threshold: f32) -> Result<(), ThresholdError> {
        if !(0.01..=0.99).contains(&threshold) {
            return Err(ThresholdError(threshold));
        }
        self.threshold = threshold;
        if let Some(last) = &mut self.last {
            last.risk = Risk::of(last.probability, threshold);
        }
        Ok(())
    }

    /// How good the predictions have been.
    pub fn score(&self) -> Score {
        self.keeper.score()
    }

    /// Alarms and misses, newest first; at most [`RECORDS`].
    pub fn history(&self) -> impl Iterator<Item = &Record> {
        self.keeper.records()
    }

    /// Free pages of the last [`RING`] samples, oldest first.
    pub fn free_series(&self) -> impl Iterator<Item = u64> {
        let kept = self.samples.min(RING as u64);
        (self.samples - kept..self.samples).map(|i| u64::from(self.ring[(i % RING as u64) as usize]))
    }

    /// Samples taken, and samples refused because their time was not later than the last.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples refused because their time was not later than the last.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The features after the last sample, as the model saw them; names in [`NAMES`].
    pub fn features(&self) -> &Values {
        self.features.values()
    }

    /// What drives the last assessment, largest first. Asked for when somebody looks; it is no part of an update.
    pub fn factors(&self) -> [Factor; FACTORS] {
        assessment::largest(&self.model.contributions(self.features.values()))
    }

    /// The model: its coefficients, and what it learned online.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Drops what was learned online and goes back to the offline fit.
    pub fn forget(&mut self) {
        self.model.forget();
    }

    /// Seconds by the straight line over the last 4 s; `None` while nothing falls, or in more than ten minutes.
    pub fn straight_line_seconds(&self) -> Option<f32> {
        self.features.line_left().map(|(seconds, _)| seconds)
    }

    fn seconds_to_oom(&self) -> Option<Interval> {
        let (straight, error) = self.features.line_left()?;
        // The line's own doubt widens the interval that the training runs gave.
        let doubt = (1.64 * error).min(0.9);
        let fit = self.model.coefficients();
        Some(Interval {
            low: straight * fit.time_low * (1.0 - doubt / 2.0),
            mid: straight * fit.time_mid,
            high: straight * fit.time_high / (1.0 - doubt / 2.0),
        })
    }
}
