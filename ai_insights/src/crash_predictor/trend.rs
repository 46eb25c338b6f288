//! A straight line through the recent past: least squares with exponentially fading weights, O(1) per point.

/// Weighted sums around the newest point, whose time is always 0. Moving the origin along keeps the numbers
/// small, and fading lets rounding errors fade too.
#[derive(Debug, Clone, Copy)]
pub struct Trend {
    /// Seconds after which a point counts 1/e.
    memory_s: f64,
    w: f64,
    wt: f64,
    wtt: f64,
    wy: f64,
    wty: f64,
    wyy: f64,
}

/// The line as it is at the newest point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Change per second.
    pub slope: f64,
    /// Standard error of the slope.
    pub slope_error: f64,
    /// Share of the variance that the line explains, 0 to 1.
    pub straightness: f64,
}

impl Trend {
    /// An empty trend that forgets over `memory_s` seconds.
    pub const fn new(memory_s: f64) -> Self {
        Trend { memory_s, w: 0.0, wt: 0.0, wtt: 0.0, wy: 0.0, wty: 0.0, wyy: 0.0 }
    }

    /// Takes the value seen `dt` seconds after the last one. A point weighs as much as the time it stands for.
    pub fn add(&mut self, value: f64, dt: f64) {
        let fade = libm::exp(-dt / self.memory_s);
        let weight = dt.clamp(0.01, 1.0);
        self.wtt = (self.wtt - 2.0 * dt * self.wt + dt * dt * self.w) * fade;
        self.wty = (self.wty - dt * self.wy) * fade;
        self.wt = (self.wt - dt * self.w) * fade;
        self.w = self.w * fade + weight;
        self.wy = self.wy * fade + weight * value;
        self.wyy = self.wyy * fade + weight * value * value;
    }

    /// The line, or a flat one while there are too few points for another.
    pub fn line(&self) -> Line {
        let flat = Line { slope: 0.0, slope_error: 0.0, straightness: 0.0 };
        if self.w <= 0.0 {
            return flat;
        }
        let (mean_t, mean_y) = (self.wt / self.w, self.wy / self.w);
        let tt = self.wtt / self.w - mean_t * mean_t;
        let ty = self.wty / self.w - mean_t * mean_y;
        let yy = (self.wyy / self.w - mean_y * mean_y).max(0.0);
        if tt < 1e-6 {
            return flat;
        }
        let slope = ty / tt;
        let explained = (slope * ty).clamp(0.0, yy);
        let straightness = if yy < 1e-12 { 0.0 } else { explained / yy };
        // Ten points a second, of which neighbours are alike: about one independent point in three.
        let points = (self.w * 10.0 / 3.0).max(3.0);
        let slope_error = libm::sqrt((yy - explained).max(0.0) / tt / (points - 2.0));
        Line { slope, slope_error, straightness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_straight_line_is_found_exactly() {
        let mut trend = Trend::new(3.0);
        for i in 0..100 {
            trend.add(0.9 - 0.02 * f64::from(i) * 0.1, 0.1);
        }
        let line = trend.line();
        assert!((line.slope + 0.02).abs() < 1e-6, "{line:?}");
        assert!(line.straightness > 0.999 && line.slope_error < 1e-6, "{line:?}");
    }

    #[test]
    fn a_short_memory_sees_the_turn_first() {
        let (mut short, mut long) = (Trend::new(1.0), Trend::new(10.0));
        for i in 0..200 {
            let y = if i < 150 { 1.0 - 0.004 * f64::from(i) } else { 0.4 };
            short.add(y, 0.1);
            long.add(y, 0.1);
        }
        assert!(short.line().slope > -0.002 && long.line().slope < -0.01);
    }

    proptest! {
        #[test]
        fn agrees_with_the_textbook_sum(points in prop::collection::vec((0.02f64..0.5, 0.0f64..1.0), 3..80)) {
            let mut trend = Trend::new(5.0);
            points.iter().for_each(|(dt, y)| trend.add(*y, *dt));
            // Straight from the definition, all points again.
            let (mut age, mut rows) = (0.0, std::vec::Vec::new());
            for (dt, y) in points.iter().rev() {
                rows.push((-age, *y, dt.clamp(0.01, 1.0) * libm::exp(-age / 5.0)));
                age += dt;
            }
            let sum = |f: &dyn Fn(&(f64, f64, f64)) -> f64| rows.iter().map(f).sum::<f64>();
            let w = sum(&|r| r.2);
            let (mt, my) = (sum(&|r| r.0 * r.2) / w, sum(&|r| r.1 * r.2) / w);
            let slope = sum(&|r| (r.0 - mt) * (r.1 - my) * r.2) / sum(&|r| (r.0 - mt).powi(2) * r.2);
            prop_assert!((trend.line().slope - slope).abs() < 1e-6 * (1.0 + slope.abs()));
        }
    }
}
