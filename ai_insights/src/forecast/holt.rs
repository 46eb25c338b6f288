//! Holt's linear trend ("double exponential smoothing", C. C. Holt, 1957) in error-correction form, with
//! smoothing parameters that follow the gradient of the squared one-step error.
//!
//! With forecast `p = level + trend·dt` and error `e = y − p`:
//! `level ← p + α·e`, `trend ← trend + α·β·e/dt`. The derivatives of level and trend by (α, β) are carried
//! along by the same recursion (real-time recurrent learning, Williams and Zipser, 1989).

use micromath::F32;
use nalgebra::Vector2;

/// α and β stay within these bounds, so that the filter is stable and never deaf.
const BOUNDS: (f64, f64) = (0.05, 0.95);
/// A step of α or β for an error of typical size; no step is longer than four of these.
const RATE: f64 = 0.005;
/// Share of the newest squared error in the running mean.
const ERROR_SHARE: f64 = 0.05;

/// Level and trend of a series, learned as it goes.
#[derive(Debug, Clone)]
pub struct Holt {
    level: f64,
    /// Per second.
    trend: f64,
    /// (α, β).
    smoothing: Vector2<f64>,
    /// Derivatives of the level by (α, β).
    level_by: Vector2<f64>,
    /// Derivatives of the trend by (α, β).
    trend_by: Vector2<f64>,
    /// Running mean of the squared one-step error.
    squared_error: f64,
}

impl Holt {
    /// A flat line at the first value.
    pub fn new(first: f64) -> Self {
        let zero = Vector2::zeros();
        let smoothing = Vector2::new(0.5, 0.3);
        Holt { level: first, trend: 0.0, smoothing, level_by: zero, trend_by: zero, squared_error: 0.0 }
    }

    /// Starts the line anew at `first` and keeps what was learned about smoothing.
    pub fn restart(&mut self, first: f64) {
        let smoothing = self.smoothing;
        *self = Holt { smoothing, ..Holt::new(first) };
    }

    /// Takes the value seen `dt` seconds after the last one. Values or times that are not positive, finite
    /// numbers leave the state as it was; returns whether the value was taken.
    pub fn update(&mut self, value: f64, dt: f64) -> bool {
        if !value.is_finite() || !dt.is_finite() || dt <= 0.0 {
            return false;
        }
        let before = self.clone();
        let (alpha, beta) = (self.smoothing.x, self.smoothing.y);
        let forecast = self.level + self.trend * dt;
        let forecast_by = self.level_by + self.trend_by * dt;
        let error = value - forecast;

        self.level = forecast + alpha * error;
        self.trend += alpha * beta * error / dt;
        self.level_by = forecast_by * (1.0 - alpha) + Vector2::new(error, 0.0);
        let gained = Vector2::new(beta * error, alpha * error) - forecast_by * (alpha * beta);
        self.trend_by += gained / dt;

        // The error's own scale is divided out, so that bytes and gigabytes learn at the same pace.
        let scale = before.squared_error.max(1.0);
        let step = forecast_by * (error / scale) * RATE;
        let step = step.map(|s| s.clamp(-4.0 * RATE, 4.0 * RATE));
        self.smoothing = (self.smoothing + step).map(|s| s.clamp(BOUNDS.0, BOUNDS.1));
        self.squared_error += ERROR_SHARE * (error * error - self.squared_error);

        let state = [self.level, self.trend, self.squared_error, self.smoothing.x, self.smoothing.y];
        let sound =
            state.iter().chain(self.level_by.iter()).chain(self.trend_by.iter()).all(|v| v.is_finite());
        if !sound {
            *self = before;
            self.restart(value);
        }
        true
    }

    /// The smoothed value now.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// Change per second.
    pub fn trend(&self) -> f64 {
        self.trend
    }

    /// (α, β) as learned so far.
    pub fn smoothing(&self) -> (f64, f64) {
        (self.smoothing.x, self.smoothing.y)
    }

    /// Typical size of the one-step error (root of its running mean square).
    pub fn typical_error(&self) -> f64 {
        // It only scales a learning step: micromath's few parts in a hundred are close enough.
        f64::from(F32(self.squared_error as f32).sqrt().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_straight_line_is_learned() {
        let mut holt = Holt::new(1000.0);
        for i in 1..200 {
            holt.update(1000.0 - 3.0 * f64::from(i), 1.0);
        }
        assert!((holt.trend() + 3.0).abs() < 0.01, "{holt:?}");
    }

    #[test]
    fn smoothing_follows_the_kind_of_noise() {
        // Steps that stay (a random walk) call for a high α, noise around a level for a low one.
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64 * 200.0 - 100.0
        };
        let (mut walk, mut level) = (Holt::new(0.0), Holt::new(0.0));
        let mut position = 0.0;
        for _ in 0..3000 {
            position += noise();
            walk.update(position, 1.0);
            level.update(noise(), 1.0);
        }
        assert!(walk.smoothing().0 > 0.75, "{:?}", walk.smoothing());
        assert!(level.smoothing().0 < 0.25, "{:?}", level.smoothing());
    }

    proptest! {
        #[test]
        fn no_input_breaks_it(series in prop::collection::vec((any::<f64>(), any::<f64>()), 1..200)) {
            let mut holt = Holt::new(0.0);
            for (value, dt) in series {
                holt.update(value, dt);
                let (alpha, beta) = holt.smoothing();
                prop_assert!(holt.level().is_finite() && holt.trend().is_finite());
                prop_assert!((0.05..=0.95).contains(&alpha) && (0.05..=0.95).contains(&beta));
            }
        }
    }
}
