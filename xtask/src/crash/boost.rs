//! Gradient boosting of small trees (Friedman, 2001), on histograms, with features of known direction kept monotone.
//!
//! What is boosted is not the answer at each moment but the verdict on each *bag* of moments: one of the moments before an OOM
//! should be over the threshold, and none of a run without one (multiple-instance learning). A bag's score is the mean of its moments,
//! weighted by exp(score / [`SHARPNESS`]): nearly its highest.

use ai_insights::crash_predictor::{DEPTH, FEATURES, LEAVES, NEVER, SIGN, Tree, Values, sum};

/// How far below the highest a moment may be and still count.
const SHARPNESS: f64 = 0.6;
/// By how much a bag's score should be on its side of 0.
const MARGIN: f64 = 1.0;
const ROUNDS: usize = 60;
const RATE: f64 = 0.3;
/// Pull of the leaves towards 0.
const PENALTY: f64 = 30.0;
/// A leaf has at least so much weight, and so many moments.
const LEAST_WEIGHT: f64 = 1.0;
const LEAST_MOMENTS: u32 = 10;
/// Values that a feature is divided into.
const BINS: usize = 64;

/// Moments that are judged together.
pub struct Bag {
    /// Features of each moment.
    pub moments: Vec<Values>,
    /// Whether memory ran out after it.
    pub happened: bool,
    /// How much it counts.
    pub weight: f64,
}

/// Fits trees. Deterministic.
pub fn fit(bags: &[Bag]) -> Vec<Tree> {
    let moments: Vec<&Values> = bags.iter().flat_map(|bag| &bag.moments).collect();
    let bounds: Vec<Vec<i32>> =
        (0..FEATURES).map(|f| quantiles(moments.iter().map(|m| m[f]).collect())).collect();
    let binned: Vec<Vec<u8>> = (0..FEATURES)
        .map(|f| moments.iter().map(|m| bounds[f].partition_point(|b| m[f] > *b) as u8).collect())
        .collect();
    let mut scores = vec![0.0; moments.len()];
    let (mut pull, mut weight) = (vec![0.0; moments.len()], vec![0.0; moments.len()]);
    let mut trees = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let mut first = 0;
        for bag in bags {
            let here = first..first + bag.moments.len();
            judge(bag, &scores[here.clone()], &mut pull[here.clone()], &mut weight[here.clone()]);
            first = here.end;
        }
        let growing = Growing { binned: &binned, bounds: &bounds, pull: &pull, weight: &weight };
        let tree = growing.grow();
        for (score, moment) in scores.iter_mut().zip(&moments) {
            *score += f64::from(sum(&[tree], moment));
        }
        trees.push(tree);
    }
    trees
}

/// Gradient and curvature of the logistic loss of a bag, shared out among its moments.
fn judge(bag: &Bag, scores: &[f64], pull: &mut [f64], weight: &mut [f64]) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scores.iter().map(|s| ((s - most) / SHARPNESS).exp()).collect();
    let sum: f64 = shares.iter().sum();
    let score: f64 = shares.iter().zip(scores).map(|(a, s)| a * s / sum).sum();
    let side = if bag.happened { 1.0 } else { -1.0 };
    let wrong = 1.0 / (1.0 + (side * score - MARGIN).exp());
    for (i, share) in shares.iter().enumerate() {
        let share = bag.weight * share / sum;
        pull[i] = side * wrong * share;
        weight[i] = (wrong * (1.0 - wrong)).max(0.05) * share + 1e-6;
    }
}

/// Bounds between [`BINS`] parts of about equal size.
fn quantiles(mut values: Vec<i32>) -> Vec<i32> {
    values.sort_unstable();
    let mut bounds: Vec<i32> =
        (1..BINS).filter_map(|i| values.get(i * values.len() / BINS).copied()).collect();
    bounds.dedup();
    bounds
}

/// Sums over moments.
#[derive(Clone, Copy, Default)]
struct Sum {
    pull: f64,
    weight: f64,
    moments: u32,
}

impl Sum {
    fn plus(self, other: Sum) -> Sum {
        Sum {
            pull: self.pull + other.pull,
            weight: self.weight + other.weight,
            moments: self.moments + other.moments,
        }
    }

    fn minus(self, other: Sum) -> Sum {
        Sum {
            pull: self.pull - other.pull,
            weight: self.weight - other.weight,
            moments: self.moments - other.moments,
        }
    }

    fn leaf(self, within: (f64, f64)) -> f64 {
        (self.pull / (self.weight + PENALTY)).clamp(within.0, within.1)
    }

    /// How much better it gets with this answer.
    fn gain(self, leaf: f64) -> f64 {
        2.0 * self.pull * leaf - (self.weight + PENALTY) * leaf * leaf
    }

    fn is_enough(self) -> bool {
        self.weight >= LEAST_WEIGHT && self.moments >= LEAST_MOMENTS
    }
}

/// A tree that grows.
struct Draft {
    feature: [u8; LEAVES - 1],
    bound: [i32; LEAVES - 1],
    leaf: [f32; LEAVES],
}

struct Growing<'a> {
    binned: &'a [Vec<u8>],
    bounds: &'a [Vec<i32>],
    pull: &'a [f64],
    weight: &'a [f64],
}

impl Growing<'_> {
    fn grow(&self) -> Tree {
        let mut draft = Draft { feature: [0; LEAVES - 1], bound: [NEVER; LEAVES - 1], leaf: [0.0; LEAVES] };
        let all: Vec<u32> = (0..self.pull.len() as u32).collect();
        self.divide(&mut draft, 0, 0, all, (f64::NEG_INFINITY, f64::INFINITY));
        Tree::new(draft.feature, draft.bound, draft.leaf)
    }

    /// Finds the question of node `at`, and goes on with both sides. `within` is what monotony leaves to the answers.
    fn divide(&self, tree: &mut Draft, at: usize, depth: usize, rows: Vec<u32>, within: (f64, f64)) {
        let sum = rows.iter().fold(Sum::default(), |sum, row| sum.plus(self.one(*row)));
        if depth == DEPTH {
            tree.leaf[at - (LEAVES - 1)] = (RATE * sum.leaf(within)) as f32;
            return;
        }
        let (mut no, mut yes) = (within, within);
        let mut right = Vec::new();
        let mut left = rows;
        if let Some((feature, bin, answers)) = self.best(&left, sum, within) {
            tree.feature[at] = feature as u8;
            tree.bound[at] = self.bounds[feature][bin];
            (left, right) =
                left.into_iter().partition(|row| usize::from(self.binned[feature][*row as usize]) <= bin);
            let middle = (answers.0 + answers.1) / 2.0;
            match SIGN[feature] {
                1 => (no.1, yes.0) = (middle, middle),
                -1 => (no.0, yes.1) = (middle, middle),
                _ => {}
            }
        } else {
            // All go left; the right side answers alike, though nobody gets there.
            right.clone_from(&left);
        }
        self.divide(tree, 2 * at + 1, depth + 1, left, no);
        self.divide(tree, 2 * at + 2, depth + 1, right, yes);
    }

    fn one(&self, row: u32) -> Sum {
        Sum { pull: self.pull[row as usize], weight: self.weight[row as usize], moments: 1 }
    }

    /// The question that helps most, and the answers to both sides of it.
    fn best(&self, rows: &[u32], sum: Sum, within: (f64, f64)) -> Option<(usize, usize, (f64, f64))> {
        let before = sum.gain(sum.leaf(within));
        let mut best = (1e-9, None);
        for feature in 0..FEATURES {
            let mut bins = [Sum::default(); BINS];
            for row in rows {
                let bin = &mut bins[usize::from(self.binned[feature][*row as usize])];
                *bin = bin.plus(self.one(*row));
            }
            let mut left = Sum::default();
            for (bin, here) in bins.iter().enumerate().take(self.bounds[feature].len()) {
                left = left.plus(*here);
                let right = sum.minus(left);
                if !left.is_enough() || !right.is_enough() {
                    continue;
                }
                let answers = (left.leaf(within), right.leaf(within));
                if f64::from(SIGN[feature]) * (answers.1 - answers.0) < 0.0 {
                    continue;
                }
                let gain = left.gain(answers.0) + right.gain(answers.1) - before;
                if gain > best.0 {
                    best = (gain, Some((feature, bin, answers)));
                }
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::host::random::Random;

    fn score(trees: &[Tree], x: &Values) -> f32 {
        sum(trees, x)
    }

    /// Bags of ten moments. Of those that end badly, one moment has feature 3 low *and* feature 4 high; of the others, moments have one of both.
    fn bags() -> Vec<Bag> {
        let mut random = Random::new(3);
        let mut bags = Vec::new();
        for i in 0..80 {
            let happened = i % 2 == 0;
            let mut moments: Vec<_> = (0..10)
                .map(|_| {
                    let mut x = [0; FEATURES];
                    let near = random.chance(0.5);
                    x[3] = if near { random.between(0.0, 10e3) } else { random.between(20e3, 60e3) } as i32;
                    x[4] =
                        if near { random.between(0.0, 3276.0) } else { random.between(0.0, 4096.0) } as i32;
                    x
                })
                .collect();
            if happened {
                (moments[3][3], moments[3][4]) = (5000, 3973);
            }
            bags.push(Bag { moments, happened, weight: 5.0 });
        }
        bags
    }

    #[test]
    fn bags_are_told_apart_by_their_one_telling_moment() {
        let bags = bags();
        let trees = fit(&bags);
        for bag in &bags {
            let highest = bag.moments.iter().map(|m| score(&trees, m)).fold(f32::MIN, f32::max);
            assert_eq!(highest > 0.0, bag.happened, "{highest}");
        }
    }

    #[test]
    fn a_feature_of_known_direction_is_never_answered_against_it() {
        let trees = fit(&bags());
        let mut random = Random::new(9);
        for _ in 0..2000 {
            let mut x: Values = std::array::from_fn(|_| random.between(-1e3, 60e3) as i32);
            x[4] = random.between(0.0, 4096.0) as i32;
            let before = score(&trees, &x);
            x[3] += random.between(0.0, 20e3) as i32;
            assert!(score(&trees, &x) <= before + 1e-5);
        }
    }
}
