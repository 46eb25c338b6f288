//! How many of how many, with how far that can be trusted.

use serde::{Deserialize, Serialize};

/// A share of right answers, with its 95 % confidence interval by Wilson (1927).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Right answers.
    pub right: u64,
    /// Questions.
    pub asked: u64,
    /// `right / asked`; 0 where nothing was asked.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The normal distribution's 97.5 % quantile.
const Z: f64 = 1.959_963_984_540_054;

impl Share {
    /// `right` of `asked`.
    pub fn new(right: usize, asked: usize) -> Self {
        if asked == 0 {
            return Share { right: 0, asked: 0, share: 0.0, low: 0.0, high: 1.0 };
        }
        let (n, p) = (asked as f64, right as f64 / asked as f64);
        let z2 = Z * Z;
        let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        let (low, high) = ((middle - half).max(0.0), (middle + half).min(1.0));
        Share { right: right as u64, asked: asked as u64, share: p, low, high }
    }

    /// Of a list of verdicts.
    pub fn of(verdicts: impl IntoIterator<Item = bool>) -> Self {
        let (right, asked) = verdicts.into_iter().fold((0, 0), |(r, n), v| (r + usize::from(v), n + 1));
        Share::new(right, asked)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.asked == 0 {
            return write!(f, "nothing asked");
        }
        let [share, low, high] = [self.share, self.low, self.high].map(|x| 100.0 * x);
        write!(f, "{share:.1} % ({} of {}; {low:.1}–{high:.1})", self.right, self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // The formula, computed apart in Python.
        for (right, asked, low, high) in
            [(450, 500, 0.870_578, 0.923_322), (500, 500, 0.992_376, 1.0), (0, 10, 0.0, 0.277_533)]
        {
            let share = Share::new(right, asked);
            assert!((share.low - low).abs() < 1e-5 && (share.high - high).abs() < 1e-5, "{share:?}");
        }
        assert_eq!(Share::of([true, false, true, true]).to_string(), "75.0 % (3 of 4; 30.1–95.4)");
        assert_eq!(Share::new(0, 0).to_string(), "nothing asked");
    }
}
