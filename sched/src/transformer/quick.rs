//! The network's choice in 16-bit whole numbers: what a decision asks for, without what only learning needs.
//!
//! It answers one question: whose benefit is the greatest? Three things make that quick, also where floating point is emulated:
//!
//! - *Matrices that follow each other are one.* Scores are X·(Wq·Wkᵀ)·Xᵀ, and what the hidden layer reads of the context is
//!   A·X·(Wv·W1'): four numbers a task where the head has eight. They are multiplied out once, after a step of learning.
//! - *Only who can win is asked.* Learning moves a benefit by R at most ([`REACH`]); a task whose prior is more than 2·R
//!   behind the best cannot be chosen. It is attended to, but nothing is computed for it.
//! - *Eight tasks at a time*, a lane each: a product is the upper half of 16 × 16 bits, as in signal processors. SSE2 has that as one
//!   instruction, and emulators run it as one.
//!
//! Numbers are fixed-point; how many bits are behind the point is chosen for each matrix from the greatest number that can come out of it
//! ([`Quick::new`]), so nothing overflows, and sums are saturated besides. The answer differs from that of the exact network by less than
//! [`TOLERANCE`], which the tests hold it to.

use super::network::{FEATURES, HEAD, HIDDEN, REACH, SCALE, TOKENS, Weights};

/// A task's features, with [`POINT`] bits behind the point: from −4 up to 4.
pub type Token = [i16; FEATURES];
/// Bits behind the point of a [`Token`]'s numbers.
pub const POINT: u32 = 13;
/// By how much a benefit may differ from that of [`Weights::forward`], where no weight of the head and the hidden layer is beyond 0.7 and
/// none of the outputs beyond 0.5: 3 % more or less of effort do as much. With weights as large as learning lets them be (1.5) it is
/// [`FARTHEST`].
pub const TOLERANCE: f32 = 0.03;
/// See [`TOLERANCE`]. Of 60,000 networks drawn at that bound all but a few are within 0.1.
pub const FARTHEST: f32 = 0.3;

/// Tasks that are computed together.
const LANES: usize = 8;
type Lanes = [i16; LANES];

/// The greatest magnitudes of the features: the sleep share is at most 1, and ln(weight / 1024) / 4 at most 1.12.
const GREATEST: [f32; FEATURES] = [4.0, 4.0, 1.0, 1.2];
/// Bits behind the point of log₂ of an attention weight.
const ATTENTION_POINT: u32 = 11;
/// A feature of the context has two bits less than one of a token.
const CONTEXT_POINT: u32 = 11;

/// The network, multiplied out, each number in every lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quick {
    /// Wq·Wkᵀ·log₂e/√8, a row for each feature of the task that is attended to.
    score: [[Lanes; FEATURES]; FEATURES],
    /// By how many bits scores are shifted left to have [`ATTENTION_POINT`] behind the point.
    score_shift: u32,
    /// For each hidden unit: of the features, and of the context.
    hidden: [([Lanes; FEATURES], [Lanes; FEATURES]); HIDDEN],
    hidden_bias: [i16; HIDDEN],
    output: [Lanes; HIDDEN],
    skip: [Lanes; FEATURES],
    bias: i16,
    /// Bits behind the point of the output.
    output_point: u32,
}

fn high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

/// `sum += a · b`, the upper halves.
fn add_product(sum: &mut Lanes, a: &Lanes, b: &Lanes) {
    for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
        *sum = sum.saturating_add(high(*a, *b));
    }
}

/// What sums of so many products begin with: each upper half is rounded down, by a half on average.
const fn rounding(products: usize) -> Lanes {
    [(products / 2) as i16; LANES]
}

/// 2^−t · 2¹⁵, for t of [`ATTENTION_POINT`] bits behind the point and 4 before it.
fn power(t: i16) -> i16 {
    // 1 − f·(c₁ − f·(c₂ − f·c₃)) for the part behind the point: off by 0.01 %.
    let f = (t & 0x7ff) << 4;
    let c = 15_152_i16.saturating_sub(high(f, 5_187));
    let b = 22_663_i16.saturating_sub(high(f, c));
    let mut power = 16_384_i16.saturating_sub(high(f, b));
    power = power.saturating_add(power);
    // Halved as often as the part before it says: by 1, 2, 4 and 8 bits, where those bits are set.
    for bit in 0..4 {
        let set = (t << (4 - bit)) >> 15;
        power ^= (power ^ (power >> (1 << bit))) & set;
    }
    power
}

/// The greatest number of bits by which `greatest` can be shifted left and fit in 15 bits; from 0 to `most`.
fn room(greatest: f32, most: u32) -> u32 {
    let mut bits = most;
    while bits > 0 && greatest * (1_u32 << bits) as f32 > f32::from(i16::MAX) {
        bits -= 1;
    }
    bits
}

fn fixed(number: f32, point: u32) -> i16 {
    // Saturates; what is no number becomes 0.
    libm::roundf(number * (1_u32 << point) as f32) as i16
}

impl Quick {
    /// Of these weights. Takes a few hundred floating-point operations: not for the switch path.
    pub(super) fn new(weights: &Weights) -> Self {
        let bits = core::f32::consts::LOG2_E * SCALE;
        let score = weights.query * weights.key.transpose() * bits;
        // Of the task that attends (row g), for the feature f of the one attended to; and the most that comes of it.
        let greatest_query = |f: usize| (0..FEATURES).map(|g| score[(g, f)].abs() * GREATEST[g]).sum::<f32>();
        let greatest_score = (0..FEATURES).map(|f| greatest_query(f) * GREATEST[f]).sum::<f32>();
        // A product with a token has three bits less behind the point than the other factor.
        let less = 16 - POINT;
        let score_point = (0..FEATURES)
            .map(|f| room(greatest_query(f), 20) + less)
            .chain([room(score.amax(), 20), room(greatest_score, 20) + 2 * less, ATTENTION_POINT + 2 * less])
            .min()
            .unwrap_or(0);
        let from_context = weights.value * weights.hidden.fixed_rows::<HEAD>(FEATURES);
        let of_token = weights.hidden.fixed_rows::<FEATURES>(0);
        let unit = |h: usize| {
            let sum = |g: usize| (of_token[(g, h)].abs() + from_context[(g, h)].abs()) * GREATEST[g];
            (0..FEATURES).map(sum).sum::<f32>() + weights.hidden_bias[h].abs()
        };
        let greatest_unit = (0..HIDDEN).map(unit).fold(0.0, f32::max);
        let hidden_point = room(of_token.amax(), 17)
            .min(room(from_context.amax(), 19).saturating_sub(POINT - CONTEXT_POINT))
            .min(room(greatest_unit, 14) + less);
        let unit_point = hidden_point.saturating_sub(less);
        let (output, skip) = (weights.output.column(1), weights.skip.column(1));
        let skipped = (0..FEATURES).map(|g| skip[g].abs() * GREATEST[g]).sum::<f32>();
        let answer =
            (0..HIDDEN).map(|h| output[h].abs() * unit(h)).sum::<f32>() + skipped + weights.bias[1].abs();
        // Of the products with the hidden units; those with the token must have as many bits behind the point.
        let output_point = (room(output.amax(), 20) + unit_point)
            .saturating_sub(16)
            .min(room(skip.amax(), 20).saturating_sub(less))
            .min(room(answer, 14));
        let everywhere = |number: f32, point: u32| [fixed(number, point); LANES];
        let with_unit = (output_point + 16).saturating_sub(unit_point);
        Self {
            score: core::array::from_fn(|f| core::array::from_fn(|g| everywhere(score[(g, f)], score_point))),
            score_shift: (ATTENTION_POINT + 2 * less).saturating_sub(score_point).min(15),
            hidden: core::array::from_fn(|h| {
                let of_context = |g| everywhere(from_context[(g, h)], hidden_point + (POINT - CONTEXT_POINT));
                (
                    core::array::from_fn(|g| everywhere(of_token[(g, h)], hidden_point)),
                    core::array::from_fn(of_context),
                )
            }),
            hidden_bias: core::array::from_fn(|h| fixed(weights.hidden_bias[h], unit_point)),
            output: core::array::from_fn(|h| everywhere(output[h], with_unit)),
            skip: core::array::from_fn(|g| everywhere(skip[g], output_point + less)),
            bias: fixed(weights.bias[1], output_point),
            output_point,
        }
    }

    /// Which of the tasks has the greatest benefit; the first of them, if several have.
    pub(super) fn choose(&self, tokens: &[Token]) -> usize {
        let tokens = &tokens[..tokens.len().min(TOKENS)];
        let mut best = (i32::MIN, 0);
        self.benefits(tokens, &mut |task, benefit| {
            if benefit > best.0 || (benefit == best.0 && task < best.1) {
                best = (benefit, task);
            }
        });
        best.1
    }

    /// Calls `visit` with every task that can win, and its benefit with 16 bits behind the point.
    fn benefits(&self, tokens: &[Token], visit: &mut dyn FnMut(usize, i32)) {
        // A quarter of the prior benefit.
        let prior = |token: &Token| i32::from(token[3]) - i32::from(token[0]);
        let reach = (REACH / 2.0 * (1 << POINT) as f32) as i32 + 1;
        let least = tokens.iter().map(prior).max().unwrap_or(0) - reach;
        let (mut rows, mut count) = ([0; TOKENS], 0);
        for (task, token) in tokens.iter().enumerate() {
            rows[count] = task;
            count += usize::from(prior(token) >= least);
        }
        let rows = &rows[..count];
        if let [only] = rows {
            return visit(*only, 0);
        }
        let mut keys = [[[0; LANES]; FEATURES]; TOKENS];
        for (key, token) in keys.iter_mut().zip(tokens) {
            key.iter_mut().zip(token).for_each(|(key, feature)| key.fill(*feature));
        }
        for rows in rows.chunks(LANES) {
            let mut asked = [[0; LANES]; FEATURES];
            for (lane, &row) in rows.iter().enumerate() {
                for (feature, asked) in tokens[row].iter().zip(&mut asked) {
                    asked[lane] = *feature;
                }
            }
            let moves = self.moves(&asked, &keys[..tokens.len()]);
            for (&row, moved) in rows.iter().zip(moves) {
                visit(row, (prior(&tokens[row]) << (18 - POINT)) + bounded(moved, self.output_point));
            }
        }
    }

    /// The last layer's output for the tasks in the lanes, which attend to the tasks `keys`.
    fn moves(&self, asked: &[Lanes; FEATURES], keys: &[[Lanes; FEATURES]]) -> Lanes {
        let mut weights = [[0; LANES]; TOKENS];
        let shares = self.attend(asked, keys, &mut weights);
        let mut context = [rounding(keys.len()); FEATURES];
        for (weight, key) in weights.iter().zip(keys) {
            let mut attention = [0; LANES];
            add_product(&mut attention, weight, &shares);
            context.iter_mut().zip(key).for_each(|(sum, key)| add_product(sum, &attention, key));
        }
        let mut output = rounding(HIDDEN + FEATURES).map(|half| half.saturating_add(self.bias));
        for ((weights, bias), out) in self.hidden.iter().zip(self.hidden_bias).zip(&self.output) {
            let (of_token, of_context) = weights;
            let mut unit = rounding(2 * FEATURES).map(|half| half.saturating_add(bias));
            asked.iter().zip(of_token).for_each(|(input, weight)| add_product(&mut unit, input, weight));
            context.iter().zip(of_context).for_each(|(input, weight)| add_product(&mut unit, input, weight));
            let unit = unit.map(|unit| unit.max(0));
            add_product(&mut output, &unit, out);
        }
        asked.iter().zip(&self.skip).for_each(|(feature, skip)| add_product(&mut output, feature, skip));
        output
    }

    /// How much the tasks in the lanes attend to each of the tasks `keys`: a weight for each, and by what to multiply all of them that they
    /// become shares, with 14 bits behind the point.
    // Not inlined: what the compiler would learn of the shares here makes it widen the products that they go into.
    #[inline(never)]
    fn attend(
        &self,
        asked: &[Lanes; FEATURES],
        keys: &[[Lanes; FEATURES]],
        weights: &mut [Lanes; TOKENS],
    ) -> Lanes {
        let mut query = [rounding(FEATURES); FEATURES];
        for (query, score) in query.iter_mut().zip(&self.score) {
            asked.iter().zip(score).for_each(|(asked, score)| add_product(query, asked, score));
        }
        let mut highest = [i16::MIN; LANES];
        for (score, key) in weights.iter_mut().zip(keys) {
            let mut sum = rounding(FEATURES);
            query.iter().zip(key).for_each(|(query, key)| add_product(&mut sum, query, key));
            highest.iter_mut().zip(sum).for_each(|(highest, sum)| *highest = sum.max(*highest));
            *score = sum;
        }
        // Of two sums, for 16 times 1 does not fit in one.
        let mut sums = [[0_i16; LANES]; 2];
        let (shift, most) = (self.score_shift, i16::MAX >> self.score_shift);
        for (half, sum) in weights[..keys.len()].chunks_mut(TOKENS / 2).zip(&mut sums) {
            for score in half {
                for ((score, highest), sum) in score.iter_mut().zip(highest).zip(sum.iter_mut()) {
                    *score = power(highest.saturating_sub(*score).min(most) << shift);
                    *sum = sum.saturating_add(*score >> 3);
                }
            }
        }
        let mut shares = [0; LANES];
        for ((share, a), b) in shares.iter_mut().zip(sums[0]).zip(sums[1]) {
            let sum = i32::from(a) + i32::from(b);
            *share = ((1 << 27) / sum.max(1)).min(i32::from(i16::MAX)) as i16;
        }
        shares
    }
}

/// tanh i/32, 16 bits behind the point.
static TANH: [i32; 257] = tanh();

const fn tanh() -> [i32; 257] {
    // e^(1/16), and its powers.
    let step = 1.064_494_458_917_859_4_f64;
    let (mut table, mut power, mut i) = ([0; 257], 1.0, 0);
    while i < 257 {
        table[i] = ((1.0 - 2.0 / (power + 1.0)) * 65_536.0 + 0.5) as i32;
        power *= step;
        i += 1;
    }
    table
}

/// R·tanh(x / R) with 16 bits behind the point, of x with `point`.
fn bounded(x: i16, point: u32) -> i32 {
    const PER_STEP: i64 = (32.0 / REACH * 65_536.0) as i64;
    let steps = (i64::from(x.unsigned_abs()) * PER_STEP) >> point;
    let (at, share) = ((steps >> 16) as usize, (steps & 0xffff) as i32);
    let tanh = match TANH.get(at..at + 2) {
        Some(&[here, next]) => here + (((next - here) * share) >> 16),
        _ => 1 << 16,
    };
    let moved = ((i64::from(tanh) * (REACH * 65_536.0) as i64) >> 16) as i32;
    if x < 0 { -moved } else { moved }
}

#[cfg(test)]
mod tests {
    use super::super::network::{LARGEST, PRIOR, Tokens, WEIGHTS};
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn exact(weights: &Weights, tokens: &[Token]) -> Vec<f32> {
        let number = |i: usize, j: usize| f32::from(tokens[i][j]) / (1 << POINT) as f32;
        let matrix = Tokens::from_fn(|i, j| if i < tokens.len() { number(i, j) } else { 0.0 });
        let outputs = weights.forward(&matrix, tokens.len()).outputs;
        (0..tokens.len()).map(|i| outputs[(i, 1)]).collect()
    }

    /// The benefits of those that can win.
    fn quick(weights: &Weights, tokens: &[Token]) -> Vec<(usize, f32)> {
        let mut all = Vec::new();
        Quick::new(weights).benefits(tokens, &mut |i, benefit| all.push((i, benefit as f32 / 65_536.0)));
        all
    }

    fn check(weights: &Weights, tokens: &[Token], tolerance: f32) -> Result<f32, TestCaseError> {
        let (exact, quick) = (exact(weights, tokens), quick(weights, tokens));
        let best = exact.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let chosen = Quick::new(weights).choose(tokens);
        prop_assert!(quick.iter().any(|(i, _)| *i == chosen));
        let mut worst = 0.0_f32;
        if let [(only, _)] = quick[..] {
            prop_assert!(exact[only] == best, "{only} of {exact:?}");
            return Ok(0.0);
        }
        for (i, benefit) in &quick {
            worst = worst.max((benefit - exact[*i]).abs());
        }
        // Who was not asked could not have won.
        for i in (0..tokens.len()).filter(|i| quick.iter().all(|(asked, _)| asked != i)) {
            prop_assert!(exact[i] < best, "{i} of {exact:?}");
        }
        prop_assert!(best - exact[chosen] <= 2.0 * tolerance, "{chosen}: {} of {best}", exact[chosen]);
        Ok(worst)
    }

    fn token() -> impl Strategy<Value = Token> {
        let one = 1_i16 << POINT;
        // As they are: sizes within a factor of e^±6 or far beyond, often a few alike.
        let size = prop_oneof![4 => -12_000..12_000_i16, 1 => i16::MIN..=i16::MAX, 1 => Just(0_i16)];
        let owed = prop_oneof![2 => Just(0_i16), 2 => 0..12_000_i16, 1 => 0..=i16::MAX];
        (size, owed, 0..=one, prop_oneof![3 => Just(0_i16), 1 => -one..one])
            .prop_map(|(a, b, c, d)| [a, b, c, d])
    }

    /// Weights within `range`, and within `last` in what follows the hidden layer.
    fn weights(range: f32, last: f32) -> impl Strategy<Value = Weights> {
        let outputs = 2 * HIDDEN + 2 * FEATURES + 2;
        let numbers = (
            prop::collection::vec(-range..range, WEIGHTS - outputs),
            prop::collection::vec(-last..last, outputs),
        );
        numbers.prop_map(|(first, last)| {
            Weights::from_numbers(first.into_iter().chain(last)).unwrap_or_else(Weights::untrained)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn it_chooses_as_the_exact_network_does(
            weights in prop_oneof![weights(0.2, 0.05), weights(0.7, 0.1), weights(0.7, 0.5)],
            tokens in prop::collection::vec(token(), 1..=TOKENS),
        ) {
            let worst = check(&weights, &tokens, TOLERANCE)?;
            prop_assert!(worst <= TOLERANCE, "off by {worst}");
        }

        #[test]
        fn also_with_the_largest_weights_it_is_near(
            weights in weights(LARGEST, LARGEST),
            tokens in prop::collection::vec(token(), 1..=TOKENS),
        ) {
            let worst = check(&weights, &tokens, FARTHEST)?;
            prop_assert!(worst <= FARTHEST, "off by {worst}");
        }

        #[test]
        fn no_weights_make_it_overflow(
            weights in prop_oneof![weights(1e-6, 1e-6), weights(30.0, 1e-3), weights(1e9, 30.0), weights(1e38, 1e38)],
            tokens in prop::collection::vec(token(), 0..=TOKENS),
        ) {
            prop_assert!(Quick::new(&weights).choose(&tokens) < tokens.len().max(1));
        }
    }

    #[test]
    fn untrained_it_chooses_by_the_prior() {
        let tokens: Vec<Token> = (0..TOKENS as i16).map(|i| [(i * 37) % 101 * 30, 0, 4096, i * 11]).collect();
        let prior = |token: &Token| f32::from(token[0]) * PRIOR[0] + f32::from(token[3]) * PRIOR[3];
        let best = (0..TOKENS).max_by(|&a, &b| prior(&tokens[a]).total_cmp(&prior(&tokens[b])));
        assert_eq!(Some(Quick::new(&Weights::untrained()).choose(&tokens)), best);
    }

    #[test]
    fn powers_are_close() {
        for t in 0..=i16::MAX {
            let exact = libm::exp2f(-f32::from(t) / 2048.0) * 32_767.0;
            assert!((f32::from(power(t)) - exact).abs() <= 2.0 + 3e-4 * exact, "{t}: {} {exact}", power(t));
        }
    }
}
