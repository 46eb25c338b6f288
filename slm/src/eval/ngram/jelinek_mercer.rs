//! Interpolation by weights that held-out data decide (Jelinek and Mercer 1980).
//!
//! ```text
//! p(w|uv) = λ3 c(uvw)/c(uv) + λ2 c(vw)/c(v) + λ1 c(w)/N + λ0 / vocabulary
//! ```
//!
//! The weights depend on how often the history was seen, by powers of two: what was seen often is trusted more. They are those
//! that make the held-out data most likely, found by expectation and maximisation.

use super::counts::{Level, bigrams, pair, trigrams, unigrams};
use super::{History, Ngram, predictions};

/// Classes of histories: nothing of it seen, its last token seen, all of it seen 1, 2-3, 4-7, … times.
const CLASSES: usize = 2 + 32;
/// Rounds of expectation and maximisation, at most; it ends where one gains less than [`GAIN`] nats a token.
const ROUNDS: usize = 100;
const GAIN: f64 = 1e-5;
/// The uniform distribution always has some weight: there are tokens in other texts that the held-out data lack.
const LEAST: f64 = 1e-6;

/// The weights λ0 to λ3 of a class.
type Weights = [f64; 4];

/// A fitted model.
pub struct JelinekMercer {
    /// Of one, two and three tokens.
    levels: [Level; 3],
    /// The sums of the counts of each history of each level.
    totals: [Vec<f64>; 3],
    weights: Vec<Weights>,
    vocabulary: usize,
}

impl JelinekMercer {
    /// Counts `documents` and fits the weights on `held_out`. Tokens are below `vocabulary`.
    pub fn fit<'d>(
        documents: impl Iterator<Item = &'d [u16]>,
        held_out: impl Iterator<Item = &'d [u16]>,
        vocabulary: usize,
    ) -> Self {
        let three = trigrams(documents);
        let two = bigrams(&three, false);
        let one = unigrams(&two, false);
        let levels = [one, two, three];
        let totals = [0, 1, 2].map(|order: usize| {
            let sum = |at| levels[order].after(at).1.iter().map(|&count| f64::from(count)).sum();
            (0..levels[order].histories()).map(sum).collect()
        });
        let weights = (0..CLASSES).map(even).collect();
        let mut model = JelinekMercer { levels, totals, weights, vocabulary };
        model.fit_weights(held_out);
        model
    }

    fn fit_weights<'d>(&mut self, held_out: impl Iterator<Item = &'d [u16]>) {
        let parts: Vec<(usize, [f64; 4])> = held_out
            .flat_map(predictions)
            .map(|(history, token)| {
                let (class, found) = self.class(history);
                (class, self.parts(&found, token))
            })
            .collect();
        let mut before = f64::NEG_INFINITY;
        for _ in 0..ROUNDS {
            // How much of each prediction is each part's, by class.
            let (mut shares, mut logarithm) = (vec![[0.0; 4]; CLASSES], 0.0);
            for (class, parts) in &parts {
                let weights = &self.weights[*class];
                let whole: f64 = weights.iter().zip(parts).map(|(weight, part)| weight * part).sum();
                logarithm += whole.ln();
                for ((share, weight), part) in shares[*class].iter_mut().zip(weights).zip(parts) {
                    *share += weight * part / whole;
                }
            }
            for (weights, shares) in self.weights.iter_mut().zip(&shares) {
                let all: f64 = shares.iter().sum();
                if all > 0.0 {
                    *weights = shares.map(|share| share / all);
                    weights[0] = weights[0].max(LEAST);
                    let all: f64 = weights.iter().sum();
                    *weights = weights.map(|weight| weight / all);
                }
            }
            if logarithm - before < GAIN * parts.len() as f64 {
                break;
            }
            before = logarithm;
        }
    }

    /// The class of a history, and its number at each level.
    fn class(&self, history: History) -> (usize, [Option<usize>; 3]) {
        let [one, two, three] = &self.levels;
        let found = [one.find(0), two.find(u32::from(history.1)), three.find(pair(history))];
        let class = match found {
            [_, _, Some(at)] => 2 + (self.totals[2][at] as u32).max(1).ilog2() as usize,
            [_, Some(_), None] => 1,
            _ => 0,
        };
        (class, found)
    }

    /// The probability of a token by each part; 0 where the history was not seen.
    fn parts(&self, found: &[Option<usize>; 3], token: u16) -> [f64; 4] {
        let mut parts = [1.0 / self.vocabulary as f64, 0.0, 0.0, 0.0];
        for (order, found) in found.iter().enumerate() {
            if let Some(at) = *found {
                parts[order + 1] = f64::from(self.levels[order].count(at, token)) / self.totals[order][at];
            }
        }
        parts
    }
}

/// Equal weights for the parts that a class has.
fn even(class: usize) -> Weights {
    match class {
        0 => [0.5, 0.5, 0.0, 0.0],
        1 => [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
        _ => [0.25; 4],
    }
}

impl Ngram for JelinekMercer {
    fn probability(&self, history: History, token: u16) -> f64 {
        let (class, found) = self.class(history);
        self.weights[class].iter().zip(self.parts(&found, token)).map(|(weight, part)| weight * part).sum()
    }

    fn distribution(&self, history: History, out: &mut [f64]) {
        let (class, found) = self.class(history);
        let weights = &self.weights[class];
        out.fill(weights[0] / self.vocabulary as f64);
        for (order, found) in found.iter().enumerate() {
            let Some(at) = *found else { continue };
            let share = weights[order + 1] / self.totals[order][at];
            let (tokens, counts) = self.levels[order].after(at);
            for (&token, &count) in tokens.iter().zip(counts) {
                if let Some(place) = out.get_mut(usize::from(token)) {
                    *place += share * f64::from(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_go_to_what_predicts() {
        // After "1" always comes "2", whatever was before; before it anything may be.
        let train: Vec<u16> = (0..4000u16).flat_map(|i| [3 + i * 7 % 50, 3 + i * 11 % 47, 1, 2]).collect();
        let held_out: Vec<u16> = (0..400u16).flat_map(|i| [3 + i * 13 % 50, 3 + i * 17 % 47, 1, 2]).collect();
        let model = JelinekMercer::fit([&train[..]].into_iter(), [&held_out[..]].into_iter(), 60);
        assert!(model.probability((40, 1), 2) > 0.9);
        assert!(model.probability((40, 1), 7) < 0.01);
    }

    #[test]
    fn an_example_by_hand() {
        // Without held-out data the weights are even.
        let model = JelinekMercer::fit([&[1u16, 2, 1, 2][..], &[3, 2]].into_iter(), [].into_iter(), 4);
        // "1": 2 of 8 tokens, after 2 1 of 3, after "1 2" 1 of 2.
        let wanted = 0.25 * (0.25 + 2.0 / 8.0 + 1.0 / 3.0 + 1.0 / 2.0);
        assert!((model.probability((1, 2), 1) - wanted).abs() < 1e-12);
        // "2 2" was never seen: three parts.
        let wanted = (0.25 + 2.0 / 8.0 + 1.0 / 3.0) / 3.0;
        assert!((model.probability((2, 2), 1) - wanted).abs() < 1e-12);
    }
}
