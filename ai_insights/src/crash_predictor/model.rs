//! Boosted trees: features to the probability that memory runs out within the horizon, and a bounded correction that is
//! learned online.
//!
//! The offline part (Friedman, 2001; fitted by `cargo xtask fit crash`) never changes at run time. Online, only a scale and
//! a shift of its log-odds are learned (Platt, 1999), by gradient steps on resolved predictions, within bounds, so that a
//! machine whose memory behaves unlike the training runs is answered better, and [`Model::forget`] undoes all of it.

use super::features::{CALM, FEATURES, Values, can_wait};

/// Log-odds beyond this are as good as certain.
const LIMIT: f32 = 8.0;
/// Bounds of the learned scale and shift.
const SCALE: (f32, f32) = (0.5, 2.0);
const SHIFT: (f32, f32) = (-1.5, 1.5);
/// Step of the online learning; a resolved prediction moves log-odds by at most this.
const RATE: f32 = 0.02;
/// Pull towards the offline fit with each step: what is not confirmed fades over about 500 predictions.
const FADE: f32 = 0.002;
/// What the trees can say at most while an alarm can wait.
const WAITING: f32 = -0.25;
/// Questions on the way to a leaf.
pub const DEPTH: usize = 3;
/// Leaves of a tree.
pub const LEAVES: usize = 1 << DEPTH;

/// Parts of a unit of log-odds that leaves are counted in.
const PARTS: f32 = 65_536.0;

/// A complete binary tree of depth [`DEPTH`]. Question `i` is followed by `2i + 1` (no) or `2i + 2` (yes). All in integers: an emulated
/// processor compares them several times as fast as floats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tree {
    /// Which feature is asked for; an index below [`FEATURES`].
    pub feature: [u8; LEAVES - 1],
    /// Is it above this? [`NEVER`] is always answered with no.
    pub bound: [i32; LEAVES - 1],
    /// Log-odds that the leaves add, in 65,536ths.
    leaf: [i32; LEAVES],
}

/// The bound of a question that is always answered with no.
pub const NEVER: i32 = i32::MAX;

impl Tree {
    /// From features asked for, bounds, and the log-odds of the leaves.
    pub const fn new(feature: [u8; LEAVES - 1], bound: [i32; LEAVES - 1], leaf: [f32; LEAVES]) -> Self {
        let mut leaves = [0; LEAVES];
        let mut i = 0;
        while i < LEAVES {
            leaves[i] = (leaf[i] * PARTS) as i32;
            i += 1;
        }
        Tree { feature, bound, leaf: leaves }
    }

    /// Log-odds that it adds, in 65,536ths.
    pub fn answer(&self, features: &Values) -> i32 {
        let mut at = 0;
        for _ in 0..DEPTH {
            let value = features[usize::from(self.feature[at]) % FEATURES];
            at = 2 * at + 1 + usize::from(value > self.bound[at]);
        }
        self.leaf[at - (LEAVES - 1)]
    }

    /// Log-odds of the leaves.
    pub fn leaves(&self) -> [f32; LEAVES] {
        self.leaf.map(|leaf| leaf as f32 / PARTS)
    }
}

/// What trees add together.
pub fn sum(trees: &[Tree], features: &Values) -> f32 {
    trees.iter().map(|tree| tree.answer(features)).sum::<i32>() as f32 / PARTS
}

/// What the trees say; below their boundary while an alarm [can wait](can_wait).
pub fn score(trees: &[Tree], features: &Values) -> f32 {
    let sum = sum(trees, features);
    if can_wait(features) { sum.min(WAITING) } else { sum }
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
    pub fn log_odds(&self, features: &Values) -> f32 {
        (self.fit.bias + score(self.fit.trees, features)).clamp(-LIMIT, LIMIT)
    }

    /// What each feature adds to the log-odds: how much lower they were if it alone were that of a calm machine.
    pub fn contributions(&self, features: &Values) -> [f32; FEATURES] {
        // Also while an alarm waits: the danger is what it is.
        let all = sum(self.fit.trees, features);
        core::array::from_fn(|i| {
            let mut without = *features;
            without[i] = CALM[i];
            all - sum(self.fit.trees, &without)
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
        let tree = Tree::new([0, 1, 2, 3, 3, 4, 4], [5; 7], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let mut x = [0; FEATURES];
        let answer = |x: &Values| sum(&[tree], x);
        assert_eq!(answer(&x), 0.0);
        (x[0], x[2]) = (6, 6);
        assert_eq!(answer(&x), 6.0);
        x[4] = 6;
        assert_eq!(answer(&x), 7.0);
        assert_eq!(tree.leaves()[7], 7.0);
    }

    #[test]
    fn the_committed_trees_ask_for_features_that_exist() {
        assert!(FITTED.trees.iter().all(|t| t.feature.iter().all(|f| usize::from(*f) < FEATURES)));
        assert!(FITTED.trees.iter().all(|t| t.leaves().iter().all(|l| l.abs() < 8.0)));
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
