//! Boosted trees: features to the probability that memory runs out within the horizon, and a bounded correction that is
//! learned online.
//!
//! The offline part (Friedman, 2001; fitted by `cargo xtask fit crash`) never changes at run time. Online, only a scale and
//! a shift of its log-odds are learned (Platt, 1999), by gradient steps on resolved predictions, within bounds, so that a
//! machine whose memory behaves unlike the training runs is answered better, and [`Model::forget`] undoes all of it.

use super::features::{CALM, FEATURES};

/// Log-odds beyond this are as good as certain.
const LIMIT: f32 = 8.0;
/// Bounds of the learned scale and shift.
const SCALE: (f32, f32) = (0.5, 2.0);
const SHIFT: (f32, f32) = (-1.5, 1.5);
/// Step of the online learning; a resolved prediction moves log-odds by at most this.
const RATE: f32 = 0.02;
/// Pull towards the offline fit with each step: what is not confirmed fades over about 500 predictions.
const FADE: f32 = 0.002;
/// Questions on the way to a leaf.
pub const DEPTH: usize = 3;
/// Leaves of a tree.
pub const LEAVES: usize = 1 << DEPTH;

/// A complete binary tree of depth [`DEPTH`]. Question `i` is followed by `2i + 1` (no) or `2i + 2` (yes).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tree {
    /// Which feature is asked for; an index below [`FEATURES`].
    pub feature: [u8; LEAVES - 1],
    /// Is it above this? Infinity is always answered with no.
    pub bound: [f32; LEAVES - 1],
    /// Log-odds that the leaves add.
    pub leaf: [f32; LEAVES],
}

impl Tree {
    /// Log-odds that it adds.
    pub fn answer(&self, features: &[f32; FEATURES]) -> f32 {
        let mut at = 0;
        for _ in 0..DEPTH {
            let value = features[usize::from(self.feature[at]) % FEATURES];
            at = 2 * at + 1 + usize::from(value > self.bound[at]);
        }
        self.leaf[at - (LEAVES - 1)]
    }
}

/// What the offline fit found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Log-odds before the first tree, and where the trees draw the boundary: the log-odds of [`threshold`](Self::threshold).
    pub bias: f32,
    /// The trees.
    pub trees: &'static [Tree],
    /// Tenth percentile of (true time to OOM) / (time by the straight line).
    pub time_low: f32,
    /// Median of the same.
    pub time_mid: f32,
    /// Ninetieth percentile of the same.
    pub time_high: f32,
    /// The threshold chosen on the training families.
    pub threshold: f32,
    /// Share of training samples with an OOM within the horizon: the rival of the Brier score.
    pub base_rate: f32,
}

/// The fit and what was learned since.
#[derive(Debug, Clone)]
pub struct Model {
    fit: Coefficients,
    scale: f32,
    shift: f32,
    learned: u64,
}

impl Model {
    /// The offline fit alone.
    pub const fn new(fit: Coefficients) -> Self {
        Model { fit, scale: 1.0, shift: 0.0, learned: 0 }
    }

    /// The offline fit.
    pub fn coefficients(&self) -> &Coefficients {
        &self.fit
    }

    /// Log-odds by the offline fit.
    pub fn log_odds(&self, features: &[f32; FEATURES]) -> f32 {
        let sum: f32 = self.fit.trees.iter().map(|tree| tree.answer(features)).sum();
        (self.fit.bias + sum).clamp(-LIMIT, LIMIT)
    }

    /// What each feature adds to the log-odds: how much lower they were if it alone were that of a calm machine.
    pub fn contributions(&self, features: &[f32; FEATURES]) -> [f32; FEATURES] {
        let all = self.log_odds(features);
        core::array::from_fn(|i| {
            let mut without = *features;
            without[i] = CALM[i];
            all - self.log_odds(&without)
        })
    }

    /// Probability for these log-odds, as corrected by what was learned.
    pub fn probability(&self, log_odds: f32) -> f32 {
        // Scaled around the boundary between alarm and none: quiet times may sharpen the answers on both sides of it, but not move it.
        let boundary = self.fit.bias;
        sigmoid(boundary + self.scale * (log_odds - boundary) + self.shift)
    }

    /// Learns from a prediction that is resolved: `happened` says whether memory ran out within the horizon.
    pub fn learn(&mut self, log_odds: f32, happened: bool) {
        let error = f32::from(u8::from(happened)) - self.probability(log_odds);
        self.shift = (self.shift * (1.0 - FADE) + RATE * error).clamp(SHIFT.0, SHIFT.1);
        let scale =
            self.scale + FADE * (1.0 - self.scale) + RATE * error * (log_odds - self.fit.bias) / LIMIT;
        self.scale = scale.clamp(SCALE.0, SCALE.1);
        self.learned += 1;
    }

    /// Scale and shift learned so far, and from how many predictions.
    pub fn learned(&self) -> (f32, f32, u64) {
        (self.scale, self.shift, self.learned)
    }

    /// Back to the offline fit.
    pub fn forget(&mut self) {
        *self = Model::new(self.fit);
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash_predictor::coefficients::FITTED;
    use proptest::prelude::*;

    #[test]
    fn a_tree_asks_three_questions() {
        let tree = Tree {
            feature: [0, 1, 2, 3, 3, 4, 4],
            bound: [0.5; 7],
            leaf: [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
        };
        let mut x = [0.0; FEATURES];
        assert_eq!(tree.answer(&x), 0.0);
        (x[0], x[2]) = (1.0, 1.0);
        assert_eq!(tree.answer(&x), 6.0);
        x[4] = 1.0;
        assert_eq!(tree.answer(&x), 7.0);
    }

    #[test]
    fn the_committed_trees_ask_for_features_that_exist() {
        assert!(FITTED.trees.iter().all(|t| t.feature.iter().all(|f| usize::from(*f) < FEATURES)));
        assert!(FITTED.trees.iter().all(|t| t.leaf.iter().all(|l| l.is_finite())));
    }

    #[test]
    fn it_learns_that_alarms_come_to_nothing_and_can_unlearn_it() {
        let mut model = Model::new(FITTED);
        let before = model.probability(1.0);
        (0..200).for_each(|_| model.learn(1.0, false));
        assert!(model.probability(1.0) < before - 0.2, "{model:?}");
        model.forget();
        assert_eq!(model.probability(1.0), before);
    }

    proptest! {
        #[test]
        fn what_it_learns_is_bounded(outcomes in prop::collection::vec((-8.0f32..8.0, any::<bool>()), 0..2000)) {
            let mut model = Model::new(FITTED);
            for (log_odds, happened) in outcomes {
                model.learn(log_odds, happened);
                let (scale, shift, _) = model.learned();
                prop_assert!((SCALE.0..=SCALE.1).contains(&scale) && (SHIFT.0..=SHIFT.1).contains(&shift));
                // More evidence is never less probable.
                prop_assert!(model.probability(3.0) > model.probability(-3.0));
            }
        }
    }
}
