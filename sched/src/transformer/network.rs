//! The network: one self-attention head over the runnable tasks, and a small output layer, with its gradient.
//!
//! For tokens X (`tasks` × 4, one row a task):
//!
//! ```text
//! Q = X·Wq   K = X·Wk   V = X·Wv                       each 4 × 8
//! C = softmax(Q·Kᵀ / √8)·V                             what the others look like, seen from each task
//! H = relu([X C]·W1 + b1)                              12 × 8
//! P = H·W2 + X·Ws + b2                                 two outputs a task
//! O = [P₀, X·r + R·tanh(P₁ / R)]
//! ```
//!
//! Output 0 corrects the logarithm of the expected rest of the task's burst; the softmax of output 1 over the tasks is each one's
//! *share of the benefit* of running next. In Vaswani et al. (2017) a block ends in a residual connection; here `X·r` is that, and `r`,
//! which reads the classic order (least effort) off the token, is not learned. What is learned is held within ±R of it
//! ([`REACH`]): it can exchange two tasks only if their efforts are within a factor of e^2R, about 4, whatever the weights are.
//!
//! `W2`, `Ws` and `b2` begin as 0: the untrained network decides like the history that feeds it.

use nalgebra::SMatrix;

use crate::fast::{exp, ln};

/// The most tasks that are looked at together.
pub const TOKENS: usize = 16;
/// Features of a task.
pub const FEATURES: usize = 4;
pub(super) const HEAD: usize = 8;
pub(super) const HIDDEN: usize = 8;
const JOINED: usize = FEATURES + HEAD;
/// How far learning may move the logarithm of a task's benefit.
pub const REACH: f32 = 0.7;
/// Learning keeps weights within this: up to here a decision in whole numbers is held to the exact answer.
pub const LARGEST: f32 = 1.5;
/// 1 / √HEAD.
pub(super) const SCALE: f32 = 0.353_553_4;

/// Tokens, a row each; rows from `tasks` on are not looked at.
pub type Tokens = SMatrix<f32, TOKENS, FEATURES>;
/// Two outputs for each token.
pub type Outputs = SMatrix<f32, TOKENS, 2>;
type Projected = SMatrix<f32, TOKENS, HEAD>;

/// How the benefit follows from the features before anything is learned (`r`): by weight over effort.
pub const PRIOR: SMatrix<f32, FEATURES, 1> = SMatrix::<f32, FEATURES, 1>::new(-4.0, 0.0, 0.0, 4.0);

/// All that is learned: 226 numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    pub(super) query: SMatrix<f32, FEATURES, HEAD>,
    pub(super) key: SMatrix<f32, FEATURES, HEAD>,
    pub(super) value: SMatrix<f32, FEATURES, HEAD>,
    pub(super) hidden: SMatrix<f32, JOINED, HIDDEN>,
    pub(super) hidden_bias: SMatrix<f32, 1, HIDDEN>,
    pub(super) output: SMatrix<f32, HIDDEN, 2>,
    pub(super) skip: SMatrix<f32, FEATURES, 2>,
    pub(super) bias: SMatrix<f32, 1, 2>,
}

/// Numbers in [`Weights`].
pub const WEIGHTS: usize = 3 * FEATURES * HEAD + JOINED * HIDDEN + HIDDEN + HIDDEN * 2 + FEATURES * 2 + 2;

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Pass {
    tasks: usize,
    query: Projected,
    key: Projected,
    value: Projected,
    /// Row i: how much task i attends to each.
    attention: SMatrix<f32, TOKENS, TOKENS>,
    joined: SMatrix<f32, TOKENS, JOINED>,
    hidden: SMatrix<f32, TOKENS, HIDDEN>,
    /// tanh(P₁ / R).
    moved: [f32; TOKENS],
    /// The answer.
    pub outputs: Outputs,
}

/// What was seen afterwards, for a set of tokens.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// ln(what was left / what the history said would be) of each task, where it is known.
    pub correction: [Option<f32>; TOKENS],
    /// Each task's true share of the benefit; sums to 1.
    pub share: [f32; TOKENS],
}

/// Errors of the logarithm beyond this pull no harder (Huber).
const HUBER: f32 = 1.0;

/// The first `L` rows of a matrix with a row for each task, column by column.
fn lanes<const L: usize>(columns: &[f32]) -> impl Iterator<Item = &[f32; L]> {
    columns.as_chunks::<TOKENS>().0.iter().filter_map(|column| column.first_chunk())
}

fn lanes_mut<const L: usize>(columns: &mut [f32]) -> impl Iterator<Item = &mut [f32; L]> {
    columns.as_chunks_mut::<TOKENS>().0.iter_mut().filter_map(|column| column.first_chunk_mut())
}

fn add_scaled<const L: usize>(to: &mut [f32; L], from: &[f32; L], by: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from * by);
}

/// `matrix · weights`, of the first `L` rows; the others are 0.
fn product<const L: usize, const M: usize, const N: usize>(
    matrix: &SMatrix<f32, TOKENS, M>,
    weights: &SMatrix<f32, M, N>,
) -> SMatrix<f32, TOKENS, N> {
    let mut result = SMatrix::<f32, TOKENS, N>::zeros();
    for (n, to) in lanes_mut::<L>(result.as_mut_slice()).enumerate() {
        let mut sum = [0.0; L];
        for (m, from) in lanes::<L>(matrix.as_slice()).enumerate() {
            add_scaled(&mut sum, from, weights[(m, n)]);
        }
        *to = sum;
    }
    result
}

impl Weights {
    /// Before any learning.
    #[must_use]
    pub fn untrained() -> Self {
        // Fixed pseudo-random numbers (a multiplicative congruence) break the symmetry between the dimensions.
        let mut state = 1_u32;
        let mut draw = |range: f32| {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * range
        };
        let mut weights = Self::zero();
        weights.query.iter_mut().for_each(|w| *w = draw(0.7));
        weights.key.iter_mut().for_each(|w| *w = draw(0.7));
        weights.value.iter_mut().for_each(|w| *w = draw(0.7));
        weights.hidden.iter_mut().for_each(|w| *w = draw(0.5));
        weights
    }

    fn zero() -> Self {
        Self {
            query: SMatrix::zeros(),
            key: SMatrix::zeros(),
            value: SMatrix::zeros(),
            hidden: SMatrix::zeros(),
            hidden_bias: SMatrix::zeros(),
            output: SMatrix::zeros(),
            skip: SMatrix::zeros(),
            bias: SMatrix::zeros(),
        }
    }

    fn parts(&self) -> [&[f32]; 8] {
        [
            self.query.as_slice(),
            self.key.as_slice(),
            self.value.as_slice(),
            self.hidden.as_slice(),
            self.hidden_bias.as_slice(),
            self.output.as_slice(),
            self.skip.as_slice(),
            self.bias.as_slice(),
        ]
    }

    fn parts_mut(&mut self) -> [&mut [f32]; 8] {
        [
            self.query.as_mut_slice(),
            self.key.as_mut_slice(),
            self.value.as_mut_slice(),
            self.hidden.as_mut_slice(),
            self.hidden_bias.as_mut_slice(),
            self.output.as_mut_slice(),
            self.skip.as_mut_slice(),
            self.bias.as_mut_slice(),
        ]
    }

    /// As a list of [`WEIGHTS`] numbers, always in the same order.
    pub fn iter(&self) -> impl Iterator<Item = f32> {
        self.parts().into_iter().flatten().copied()
    }

    /// From such a list; `None` when there are too few or one is not a finite number.
    pub fn from_numbers(numbers: impl IntoIterator<Item = f32>) -> Option<Self> {
        let mut weights = Self::zero();
        let mut numbers = numbers.into_iter();
        for slot in weights.parts_mut().into_iter().flatten() {
            *slot = numbers.next().filter(|number| number.is_finite())?;
        }
        Some(weights)
    }

    /// Makes the last number none.
    pub(super) fn poison(&mut self) {
        self.bias[(0, 1)] = f32::NAN;
    }

    /// Whether all are finite.
    #[must_use]
    pub fn finite(&self) -> bool {
        self.iter().all(f32::is_finite)
    }

    /// The network's answer for the first `tasks` rows. All of it runs down columns of [`TOKENS`] numbers, a lane for each task, which the
    /// compiler turns into vector code.
    #[must_use]
    pub fn forward(&self, tokens: &Tokens, tasks: usize) -> Pass {
        // Most queues are short: they do not pay for the lanes that they leave empty.
        match tasks {
            ..=4 => self.forward_in::<4>(tokens, tasks),
            5..=8 => self.forward_in::<8>(tokens, tasks),
            _ => self.forward_in::<TOKENS>(tokens, tasks.min(TOKENS)),
        }
    }

    /// In `L` lanes, of which `tasks` are used.
    fn forward_in<const L: usize>(&self, tokens: &Tokens, tasks: usize) -> Pass {
        let query = product::<L, _, _>(tokens, &self.query);
        let key = product::<L, _, _>(tokens, &self.key);
        let value = product::<L, _, _>(tokens, &self.value);
        let mut attention = SMatrix::<f32, TOKENS, TOKENS>::zeros();
        let mut highest = [f32::NEG_INFINITY; L];
        for (j, column) in lanes_mut::<L>(attention.as_mut_slice()).take(tasks).enumerate() {
            for (d, query) in lanes::<L>(query.as_slice()).enumerate() {
                add_scaled(column, query, key[(j, d)] * SCALE);
            }
            highest.iter_mut().zip(column).for_each(|(highest, score)| *highest = highest.max(*score));
        }
        // Less the highest of the row, which changes no share: so none is beyond the end of f32.
        let mut sums = [0.0; L];
        for column in lanes_mut::<L>(attention.as_mut_slice()).take(tasks) {
            for ((score, highest), sum) in column.iter_mut().zip(&highest).zip(&mut sums) {
                *score = exp(*score - highest);
                *sum += *score;
            }
        }
        let shares = sums.map(|sum| 1.0 / sum.max(f32::MIN_POSITIVE));
        for column in lanes_mut::<L>(attention.as_mut_slice()).take(tasks) {
            column.iter_mut().zip(&shares).for_each(|(score, share)| *score *= share);
        }
        let mut joined = SMatrix::<f32, TOKENS, JOINED>::zeros();
        joined.fixed_columns_mut::<FEATURES>(0).copy_from(tokens);
        let attended = lanes_mut::<L>(joined.as_mut_slice()).skip(FEATURES);
        for (to, values) in attended.zip(value.as_slice().as_chunks::<TOKENS>().0) {
            let mut sum = [0.0; L];
            for (column, by) in lanes::<L>(attention.as_slice()).take(tasks).zip(values) {
                add_scaled(&mut sum, column, *by);
            }
            *to = sum;
        }
        let mut hidden = product::<L, _, _>(&joined, &self.hidden);
        for (column, bias) in lanes_mut::<L>(hidden.as_mut_slice()).zip(self.hidden_bias.iter()) {
            column.iter_mut().for_each(|h| *h = (*h + bias).max(0.0));
        }
        let mut outputs = product::<L, _, _>(&hidden, &self.output);
        let skipped = product::<L, _, _>(tokens, &self.skip);
        let added = lanes::<L>(skipped.as_slice()).zip(self.bias.iter());
        for (column, (skip, bias)) in lanes_mut::<L>(outputs.as_mut_slice()).zip(added) {
            column.iter_mut().zip(skip).for_each(|(o, skip)| *o = *o + skip + bias);
        }
        let prior = product::<L, _, _>(tokens, &PRIOR);
        let mut moved = [0.0; TOKENS];
        for benefit in lanes_mut::<L>(outputs.as_mut_slice()).skip(1) {
            for ((moved, benefit), prior) in moved.iter_mut().zip(benefit).zip(prior.iter()) {
                // tanh z = 1 − 2 / (e^2z + 1)
                *moved = 1.0 - 2.0 / (exp(*benefit * (2.0 / REACH)) + 1.0);
                *benefit = prior + REACH * *moved;
            }
        }
        Pass { tasks, query, key, value, attention, joined, hidden, moved, outputs }
    }

    /// The loss, and its gradient by the weights.
    ///
    /// Loss: the cross-entropy of the benefit shares, plus the mean Huber loss of the corrections that are known.
    #[must_use]
    pub fn gradient(&self, tokens: &Tokens, pass: &Pass, target: &Target) -> (f32, Self) {
        let tasks = pass.tasks;
        let (loss, mut d_outputs) = output_gradient(pass, target);
        for (d, moved) in d_outputs.column_mut(1).iter_mut().zip(pass.moved) {
            *d *= 1.0 - moved * moved;
        }
        let mut gradient = Self::zero();
        gradient.output = pass.hidden.transpose() * d_outputs;
        gradient.skip = tokens.transpose() * d_outputs;
        gradient.bias = d_outputs.row_sum();
        let mut d_hidden = d_outputs * self.output.transpose();
        d_hidden.zip_apply(&pass.hidden, |d, h| *d = if h > 0.0 { *d } else { 0.0 });
        gradient.hidden = pass.joined.transpose() * d_hidden;
        gradient.hidden_bias = d_hidden.row_sum();
        let d_context = (d_hidden * self.hidden.transpose()).fixed_columns::<HEAD>(FEATURES).clone_owned();
        // C = A·V, with the softmax along each row of A.
        let d_value = pass.attention.transpose() * d_context;
        let d_attention = d_context * pass.value.transpose();
        let mut d_scores = SMatrix::<f32, TOKENS, TOKENS>::zeros();
        for i in 0..tasks {
            let (a, d) = (pass.attention.row(i), d_attention.row(i));
            let mean = a.dot(&d);
            for j in 0..tasks {
                d_scores[(i, j)] = a[j] * (d[j] - mean) * SCALE;
            }
        }
        let d_query = d_scores * pass.key;
        let d_key = d_scores.transpose() * pass.query;
        gradient.query = tokens.transpose() * d_query;
        gradient.key = tokens.transpose() * d_key;
        gradient.value = tokens.transpose() * d_value;
        (loss, gradient)
    }

    /// One step of gradient descent; the step's length is bounded by `longest`. A gradient that is not finite changes nothing.
    pub fn descend(&mut self, gradient: &Self, rate: f32, longest: f32) -> bool {
        let norm = libm::sqrtf(gradient.iter().map(|g| g * g).sum());
        if !norm.is_finite() {
            return false;
        }
        let rate = rate.min(longest / norm.max(f32::MIN_POSITIVE));
        for (part, slope) in self.parts_mut().into_iter().zip(gradient.parts()) {
            part.iter_mut()
                .zip(slope)
                .for_each(|(weight, g)| *weight = (*weight - rate * g).clamp(-LARGEST, LARGEST));
        }
        true
    }
}

/// The loss, and its gradient by the outputs.
fn output_gradient(pass: &Pass, target: &Target) -> (f32, Outputs) {
    let tasks = pass.tasks;
    let mut gradient = Outputs::zeros();
    let benefit = pass.outputs.column(1);
    let highest = benefit.iter().take(tasks).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut shares = [0.0; TOKENS];
    for i in 0..tasks {
        shares[i] = exp(benefit[i] - highest);
    }
    let sum: f32 = shares.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    let mut loss = 0.0;
    for i in 0..tasks {
        let share = shares[i] / sum;
        gradient[(i, 1)] = share - target.share[i];
        loss -= target.share[i] * (benefit[i] - highest - ln(sum));
    }
    let known = target.correction[..tasks].iter().flatten().count().max(1) as f32;
    for i in 0..tasks {
        let Some(truth) = target.correction[i] else { continue };
        let error = pass.outputs[(i, 0)] - truth;
        gradient[(i, 0)] = error.clamp(-HUBER, HUBER) / known;
        let size = error.abs();
        loss += if size <= HUBER { size * size / 2.0 } else { HUBER * (size - HUBER / 2.0) } / known;
    }
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(tasks: usize) -> (Tokens, Target) {
        let tokens =
            Tokens::from_fn(|i, j| if i < tasks { libm::sinf((7 * i + 3 * j + 1) as f32) } else { 0.0 });
        let mut target = Target { correction: [None; TOKENS], share: [0.0; TOKENS] };
        for i in 0..tasks {
            target.share[i] = (i + 1) as f32 / (tasks * (tasks + 1) / 2) as f32;
            target.correction[i] = (i % 3 != 1).then_some(0.4 * i as f32 - 1.0);
        }
        (tokens, target)
    }

    /// Weights away from 0, so that every path carries something.
    fn busy() -> Weights {
        let mut state = 3_u32;
        let numbers = core::iter::repeat_with(move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        });
        Weights::from_numbers(numbers.take(WEIGHTS)).unwrap_or_else(Weights::untrained)
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for tasks in [2, 5, TOKENS] {
            let (tokens, target) = example(tasks);
            let weights = busy();
            let (_, gradient) = weights.gradient(&tokens, &weights.forward(&tokens, tasks), &target);
            let loss =
                |weights: &Weights| weights.gradient(&tokens, &weights.forward(&tokens, tasks), &target).0;
            let mut checked = 0;
            for (at, slope) in gradient.iter().enumerate() {
                let moved = |step: f32| {
                    let numbers = weights.iter().enumerate().map(|(i, w)| if i == at { w + step } else { w });
                    Weights::from_numbers(numbers).map_or(f32::NAN, |weights| loss(&weights))
                };
                let (step, here) = (4e-3, loss(&weights));
                // Where a relu bends in between, the two sides differ, and the slope lies between them.
                let (up, down) = ((moved(step) - here) / step, (here - moved(-step)) / step);
                let slack = 4e-3 + 0.02 * slope.abs();
                assert!(
                    (up.min(down) - slack..=up.max(down) + slack).contains(&slope),
                    "weight {at}: {slope}, and {down} to {up}"
                );
                checked += usize::from(slope.abs() > 1e-3);
            }
            assert!(checked > WEIGHTS / 2, "only {checked} of the slopes were not 0");
        }
    }

    #[test]
    fn untrained_it_decides_by_the_prior() {
        let (tokens, _) = example(6);
        let outputs = Weights::untrained().forward(&tokens, 6).outputs;
        for i in 0..6 {
            assert_eq!(outputs[(i, 0)], 0.0);
            assert!((outputs[(i, 1)] - 4.0 * (tokens[(i, 3)] - tokens[(i, 0)])).abs() < 1e-5);
        }
    }

    #[test]
    fn descending_lowers_the_loss_and_refuses_nonsense() {
        let (tokens, target) = example(7);
        let mut weights = Weights::untrained();
        let start = weights.gradient(&tokens, &weights.forward(&tokens, 7), &target).0;
        for _ in 0..200 {
            let (_, gradient) = weights.gradient(&tokens, &weights.forward(&tokens, 7), &target);
            assert!(weights.descend(&gradient, 0.05, 0.1));
        }
        let end = weights.gradient(&tokens, &weights.forward(&tokens, 7), &target).0;
        assert!(end < start - 0.3, "{start} to {end}");
        let mut broken = Weights::zero();
        broken.bias[0] = f32::NAN;
        let before = weights.clone();
        assert!(!weights.descend(&broken, 0.1, 1.0) && weights == before);
    }
}
