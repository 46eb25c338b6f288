//! Logistic regression by Newton's method with an L2 penalty, weighted, on standardised features.

// Matrices are indexed as in the formulas.
#![allow(clippy::needless_range_loop)]

use ai_insights::crash_predictor::FEATURES;

/// Weights per feature, and the bias last.
pub const PARAMETERS: usize = FEATURES + 1;

/// One sample to learn from.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The features.
    pub x: [f32; FEATURES],
    /// Whether memory ran out within the horizon.
    pub y: bool,
    /// How much it counts.
    pub weight: f64,
}

/// Bias and weights for raw (not standardised) features.
#[derive(Debug, Clone, Copy)]
pub struct Solution {
    /// Log-odds at 0.
    pub bias: f64,
    /// Log-odds per unit.
    pub weights: [f64; FEATURES],
}

impl Solution {
    /// Log-odds of these features.
    pub fn log_odds(&self, x: &[f32; FEATURES]) -> f64 {
        self.bias + self.weights.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>()
    }
}

/// Fits. `penalty` is the precision of a Gaussian prior around zero on each standardised weight, in units of the total
/// weight of all examples. A feature with `sign[i] != 0` whose weight would come out with the other sign is
/// left out (weight 0): what we know of the direction is worth more than what a few families say.
pub fn fit(examples: &[Example], penalty: f64, sign: &[i8; FEATURES]) -> Solution {
    fit_from(examples, penalty, sign, None)
}

/// As [`fit`], starting from a solution that is thought to be near.
pub fn fit_from(
    examples: &[Example],
    penalty: f64,
    sign: &[i8; FEATURES],
    near: Option<&Solution>,
) -> Solution {
    let total: f64 = examples.iter().map(|e| e.weight).sum();
    let mut mean = [0.0; FEATURES];
    let mut spread = [0.0; FEATURES];
    for e in examples {
        for i in 0..FEATURES {
            mean[i] += e.weight * f64::from(e.x[i]) / total;
        }
    }
    for e in examples {
        for i in 0..FEATURES {
            spread[i] += e.weight * (f64::from(e.x[i]) - mean[i]).powi(2) / total;
        }
    }
    let spread = spread.map(|s: f64| s.sqrt());
    // What hardly ever moves in training says nothing, and must not get a huge weight for it.
    let mut used = spread.map(|s| s > 0.005);
    let mut at = [0.0; PARAMETERS];
    if let Some(near) = near {
        at[FEATURES] = near.bias + (0..FEATURES).map(|i| near.weights[i] * mean[i]).sum::<f64>();
        (0..FEATURES).for_each(|i| at[i] = near.weights[i] * spread[i]);
    }
    loop {
        let solution = newton(examples, penalty * total, &mean, &spread, &used, at);
        at = solution;
        // The worst offender goes first; the others may come right without it.
        let worst = (0..FEATURES)
            .filter(|i| used[*i] && f64::from(sign[*i]) * solution[*i] < 0.0)
            .max_by(|a, b| solution[*a].abs().total_cmp(&solution[*b].abs()));
        match worst {
            Some(i) => used[i] = false,
            None => {
                let weights = std::array::from_fn(|i| if used[i] { solution[i] / spread[i] } else { 0.0 });
                let bias = solution[FEATURES] - (0..FEATURES).map(|i| weights[i] * mean[i]).sum::<f64>();
                return Solution { bias, weights };
            }
        }
    }
}

fn newton(
    examples: &[Example],
    penalty: f64,
    mean: &[f64; FEATURES],
    spread: &[f64; FEATURES],
    used: &[bool; FEATURES],
    mut at: [f64; PARAMETERS],
) -> [f64; PARAMETERS] {
    (0..FEATURES).filter(|i| !used[*i]).for_each(|i| at[i] = 0.0);
    for _ in 0..30 {
        let mut gradient = [0.0; PARAMETERS];
        let mut hessian = [[0.0; PARAMETERS]; PARAMETERS];
        for i in 0..PARAMETERS {
            // The bias is free; an unused feature is held at 0.
            let held = i < FEATURES && !used[i];
            let pull = if held {
                1e12
            } else if i < FEATURES {
                penalty
            } else {
                1e-9
            };
            gradient[i] = -pull * at[i];
            hessian[i][i] = pull;
        }
        for e in examples {
            let mut x = [1.0; PARAMETERS];
            for i in 0..FEATURES {
                x[i] = if used[i] { (f64::from(e.x[i]) - mean[i]) / spread[i] } else { 0.0 };
            }
            let z: f64 = x.iter().zip(&at).map(|(a, b)| a * b).sum();
            let p = 1.0 / (1.0 + (-z).exp());
            let slope = e.weight * (f64::from(u8::from(e.y)) - p);
            let curvature = e.weight * p * (1.0 - p);
            for i in 0..PARAMETERS {
                gradient[i] += slope * x[i];
                for j in 0..=i {
                    hessian[i][j] += curvature * x[i] * x[j];
                }
            }
        }
        let step = solve(hessian, gradient);
        let largest = step.iter().fold(0.0f64, |a, s| a.max(s.abs()));
        // A step that is too long overshoots where the curve is flat.
        let scale = if largest > 2.0 { 2.0 / largest } else { 1.0 };
        for i in 0..PARAMETERS {
            at[i] += scale * step[i];
        }
        if largest < 1e-5 {
            break;
        }
    }
    at
}

/// Cholesky; only the lower half of `a` is read.
fn solve(mut a: [[f64; PARAMETERS]; PARAMETERS], mut b: [f64; PARAMETERS]) -> [f64; PARAMETERS] {
    for j in 0..PARAMETERS {
        for k in 0..j {
            a[j][j] -= a[j][k] * a[j][k];
        }
        a[j][j] = a[j][j].max(1e-12).sqrt();
        for i in j + 1..PARAMETERS {
            for k in 0..j {
                a[i][j] -= a[i][k] * a[j][k];
            }
            a[i][j] /= a[j][j];
        }
    }
    for i in 0..PARAMETERS {
        for k in 0..i {
            b[i] -= a[i][k] * b[k];
        }
        b[i] /= a[i][i];
    }
    for i in (0..PARAMETERS).rev() {
        for k in i + 1..PARAMETERS {
            b[i] -= a[k][i] * b[k];
        }
        b[i] /= a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Example> {
        // Truth: log-odds = 2·x0 − 1, x1 is noise; drawn by a fixed sequence.
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        (0..20_000)
            .map(|_| {
                let mut x = [0.0; FEATURES];
                x[0] = (random() * 4.0 - 2.0) as f32;
                x[1] = (random() * 4.0 - 2.0) as f32;
                let p = 1.0 / (1.0 + (-(2.0 * f64::from(x[0]) - 1.0)).exp());
                Example { x, y: random() < p, weight: 1.0 }
            })
            .collect()
    }

    #[test]
    fn the_truth_is_found() {
        let s = fit(&examples(), 1e-6, &[0; FEATURES]);
        assert!((s.weights[0] - 2.0).abs() < 0.15 && s.weights[1].abs() < 0.1, "{s:?}");
        assert!((s.bias + 1.0).abs() < 0.1, "{s:?}");
    }

    #[test]
    fn a_sign_is_kept() {
        let mut sign = [0; FEATURES];
        sign[0] = -1;
        assert_eq!(fit(&examples(), 1e-6, &sign).weights[0], 0.0);
    }
}
