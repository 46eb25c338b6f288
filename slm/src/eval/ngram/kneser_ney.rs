//! Interpolated modified Kneser-Ney (Chen and Goodman 1998, "An empirical study of smoothing techniques", section 3).
//!
//! ```text
//! p(w|uv) = (c(uvw) - D(c)) / c(uv·)  +  (D1 N1(uv·) + D2 N2(uv·) + D3 N3+(uv·)) / c(uv·)  ·  p(w|v)
//! ```
//!
//! and likewise below, with the number of histories that were seen before `vw` in place of its count, down to the
//! uniform distribution. The discounts of each order come from how many n-grams were seen once, twice, three and four times.

use super::counts::{Level, bigrams, pair, trigrams, unigrams};
use super::{History, Ngram};

/// Discounts where the counts cannot give any (a corpus of a few words); those that KenLM falls back to.
const FALLBACK: [f64; 3] = [0.5, 1.0, 1.5];

/// One order.
struct Order {
    counts: Level,
    discounts: [f64; 3],
    /// For each history: the sum of its counts, and the share that goes to the order below.
    histories: Vec<(f64, f64)>,
}

impl Order {
    fn new(counts: Level) -> Self {
        let discounts = discounts(counts.counts());
        let one = |history| {
            let (_, counts) = counts.after(history);
            let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
            let taken: f64 = counts.iter().map(|&count| discount(&discounts, count)).sum();
            (total, taken / total)
        };
        let histories = (0..counts.histories()).map(one).collect();
        Order { counts, discounts, histories }
    }

    /// What is left of a count, as a share of its history's.
    fn own(&self, count: u32, total: f64) -> f64 {
        (f64::from(count) - discount(&self.discounts, count)) / total
    }

    fn probability(&self, history: u32, token: u16, below: f64) -> f64 {
        let Some(at) = self.counts.find(history) else { return below };
        let (total, rest) = self.histories[at];
        self.own(self.counts.count(at, token), total) + rest * below
    }

    fn distribution(&self, history: u32, out: &mut [f64]) {
        let Some(at) = self.counts.find(history) else { return };
        let (total, rest) = self.histories[at];
        out.iter_mut().for_each(|below| *below *= rest);
        let (tokens, counts) = self.counts.after(at);
        for (&token, &count) in tokens.iter().zip(counts) {
            if let Some(place) = out.get_mut(usize::from(token)) {
                *place += self.own(count, total);
            }
        }
    }
}

/// A fitted model.
pub struct KneserNey {
    /// Of one, two and three tokens.
    orders: [Order; 3],
    vocabulary: usize,
}

impl KneserNey {
    /// Counts `documents`, whose tokens are below `vocabulary`.
    pub fn fit<'d>(documents: impl Iterator<Item = &'d [u16]>, vocabulary: usize) -> Self {
        let three = trigrams(documents);
        let two = bigrams(&three, true);
        let one = unigrams(&two, true);
        KneserNey { orders: [one, two, three].map(Order::new), vocabulary }
    }

    /// D1, D2 and D3 of orders one to three.
    pub fn discounts(&self) -> [[f64; 3]; 3] {
        [0, 1, 2].map(|order| self.orders[order].discounts)
    }
}

impl Ngram for KneserNey {
    fn probability(&self, history: History, token: u16) -> f64 {
        let histories = [0, u32::from(history.1), pair(history)];
        let uniform = 1.0 / self.vocabulary as f64;
        self.orders
            .iter()
            .zip(histories)
            .fold(uniform, |below, (order, history)| order.probability(history, token, below))
    }

    fn distribution(&self, history: History, out: &mut [f64]) {
        out.fill(1.0 / self.vocabulary as f64);
        let histories = [0, u32::from(history.1), pair(history)];
        self.orders.iter().zip(histories).for_each(|(order, history)| order.distribution(history, out));
    }
}

/// What is taken from a count.
fn discount(discounts: &[f64; 3], count: u32) -> f64 {
    if count == 0 { 0.0 } else { discounts[count.min(3) as usize - 1] }
}

/// Chen and Goodman's equation 26.
fn discounts(counts: &[u32]) -> [f64; 3] {
    let seen = |times: u32| counts.iter().filter(|&&count| count == times).count() as f64;
    let [n1, n2, n3, n4] = [1, 2, 3, 4].map(seen);
    let y = n1 / (n1 + 2.0 * n2);
    let found = [1.0 - 2.0 * y * n2 / n1, 2.0 - 3.0 * y * n3 / n2, 3.0 - 4.0 * y * n4 / n3];
    let usable = found.iter().zip([1.0, 2.0, 3.0]).all(|(d, most)| (0.0..=most).contains(d));
    if usable { found } else { FALLBACK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_by_hand() {
        // The documents "1 2 1 2" and "3 2" (vocabulary of 4 with the end, 0): too small for discounts of their own.
        let model = KneserNey::fit([&[1u16, 2, 1, 2][..], &[3, 2]].into_iter(), 4);
        assert_eq!(model.discounts(), [FALLBACK; 3]);
        // Continuation counts, one token: end 1, "1" 2, "2" 2, "3" 1; of 6. Taken: 0.5 + 1 + 1 + 0.5 = 3.
        let p1 = (2.0 - 1.0) / 6.0 + 3.0 / 6.0 * 0.25;
        // After 2: end 2 histories, "1" 1 history; of 3. Taken: 1 + 0.5.
        let p12 = (1.0 - 0.5) / 3.0 + 1.5 / 3.0 * p1;
        // After "1 2": "1" once, end once; of 2. Taken: 0.5 + 0.5.
        let p112 = (1.0 - 0.5) / 2.0 + 1.0 / 2.0 * p12;
        assert!((model.probability((1, 2), 1) - p112).abs() < 1e-12);
        // An unseen history is left to the one that is shorter; an unseen token to the orders below.
        assert!((model.probability((3, 2), 1) - (0.5 / 1.0 * p12)).abs() < 1e-12);
        assert!((model.probability((2, 2), 1) - p12).abs() < 1e-12);
    }

    #[test]
    fn discounts_are_chen_and_goodmans() {
        // n1 = 4, n2 = 2, n3 = 2, n4 = 1: Y = 4/8.
        let found = discounts(&[1, 1, 1, 1, 2, 2, 3, 3, 4, 9]);
        let wanted = [1.0 - 2.0 * 0.5 * 2.0 / 4.0, 2.0 - 3.0 * 0.5 * 2.0 / 2.0, 3.0 - 4.0 * 0.5 * 1.0 / 2.0];
        assert_eq!(found, wanted);
        assert_eq!(discounts(&[]), FALLBACK);
    }
}
