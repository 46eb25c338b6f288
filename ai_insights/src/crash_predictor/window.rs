//! A straight line through the last so many seconds: least squares by sums that a point enters and leaves, O(1) per point.
//!
//! All sums are integers (milliseconds, 65,536ths of the memory), so what enters leaves without a trace, however long
//! it runs; and integers are what an emulated processor is quick at.

/// Sums over the points of a window; times are relative to the newest point, so 0 or negative.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Length in milliseconds.
    length: i64,
    /// Number of the oldest point in it.
    pub(super) oldest: u32,
    n: i64,
    t: i64,
    y: i64,
    tt: i64,
    ty: i64,
    yy: i64,
}

/// What explains all of the variance.
pub const STRAIGHT: i32 = 4096;

/// The line as it is at the newest point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The slope, change per millisecond, is `rise / run`.
    pub rise: i64,
    /// Positive.
    pub run: i64,
    /// Share of the variance that the line explains, 0 to [`STRAIGHT`].
    pub straightness: i32,
    /// Mean square of what the line leaves unexplained.
    pub scatter: i32,
    /// Points in the window.
    pub points: u32,
}

impl Line {
    /// No point yet.
    pub const FLAT: Line = Line { rise: 0, run: 1, straightness: 0, scatter: 0, points: 0 };

    /// Milliseconds until `height` is lost, at most `far`, which is also the answer of a line that does not fall.
    pub fn left(&self, height: i32, far: i32) -> i32 {
        if self.rise >= 0 {
            return far;
        }
        (i64::from(height).saturating_mul(self.run) / -self.rise).min(far.into()) as i32
    }
}

impl Window {
    /// An empty window of `length` milliseconds.
    pub const fn new(length: i64) -> Self {
        Window { length, oldest: 0, n: 0, t: 0, y: 0, tt: 0, ty: 0, yy: 0 }
    }

    /// Time goes on by `dt` milliseconds.
    pub fn pass(&mut self, dt: i64) {
        self.tt += dt * (dt * self.n - 2 * self.t);
        self.ty -= dt * self.y;
        self.t -= dt * self.n;
    }

    /// The newest point.
    pub fn enter(&mut self, y: i64) {
        self.n += 1;
        self.y += y;
        self.yy += y * y;
    }

    /// Whether a point of this age is too old for the window; sampling need not be exact to the millisecond.
    pub fn is_over(&self, age: i64) -> bool {
        age > self.length + 20
    }

    /// The oldest point, `age` milliseconds ago.
    pub fn leave(&mut self, age: i64, y: i64) {
        self.oldest = self.oldest.wrapping_add(1);
        self.n -= 1;
        self.t += age;
        self.y -= y;
        self.tt -= age * age;
        self.ty += age * y;
        self.yy -= y * y;
    }

    /// Mean of the points; 0 while there is none.
    pub fn mean(&self) -> i64 {
        self.y / self.n.max(1)
    }

    /// The line; flat while there are no two points. `span` is the age of the oldest point: while the window is not full, what came
    /// before it is taken as flat.
    pub fn line(&self, span: i64) -> Line {
        let points = self.n.max(0) as u32;
        let run = self.n * self.tt - self.t * self.t;
        if self.n < 2 || run <= 0 {
            return Line { points, ..Line::FLAT };
        }
        let (rise, all) = (self.n * self.ty - self.t * self.y, self.n * self.yy - self.y * self.y);
        // The slope in 65,536ths; what it explains of the variance fits into 64 bits again.
        let slope = i128::from((rise << 16) / run);
        let explained = ((slope * i128::from(rise) + (1 << 15)) >> 16) as i64;
        let explained = explained.clamp(0, all);
        let straightness = if all > 0 { (explained * i64::from(STRAIGHT) / all) as i32 } else { 0 };
        let scatter = ((all - explained) / (self.n * self.n)).min(i32::MAX.into()) as i32;
        let (mut rise, mut run) = (rise, run);
        if span * 10 < self.length * 9 {
            // Large ones are shortened, so that the products fit.
            let bits = if run > 1 << 24 { 8 } else { 0 };
            rise = (rise >> bits) * span.max(1);
            run = (run >> bits) * self.length;
        }
        Line { rise, run, straightness, scatter, points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_textbook_whatever_came_and_went(
            points in prop::collection::vec((1i64..900, 0i64..65_536), 2..300),
        ) {
            let mut window = Window::new(3000);
            let (mut kept, mut now): (std::vec::Vec<(i64, i64)>, i64) = Default::default();
            for (dt, y) in points {
                now += dt;
                window.pass(dt);
                while kept.first().is_some_and(|(t, _)| window.is_over(now - t)) {
                    let (t, y) = kept.remove(0);
                    window.leave(now - t, y);
                }
                window.enter(y);
                kept.push((now, y));
                if kept.len() < 2 {
                    continue;
                }
                let n = kept.len() as f64;
                let (mt, my) = kept.iter().fold((0.0, 0.0), |(a, b), (t, y)| (a + *t as f64 / n, b + *y as f64 / n));
                let sum = |f: &dyn Fn(f64, f64) -> f64| kept.iter().map(|(t, y)| f(*t as f64 - mt, *y as f64 - my)).sum::<f64>();
                let (tt, ty, yy) = (sum(&|t, _| t * t), sum(&|t, y| t * y), sum(&|_, y| y * y));
                let line = window.line(3000);
                let slope = ty / tt;
                let found = line.rise as f64 / line.run as f64;
                prop_assert!((found - slope).abs() <= 1e-4 * (1.0 + slope.abs()), "{line:?} {slope}");
                let straight = if yy > 0.0 { ty * ty / tt / yy } else { 0.0 };
                prop_assert!((f64::from(line.straightness) / f64::from(STRAIGHT) - straight).abs() < 1e-2, "{line:?} {straight}");
                prop_assert_eq!(line.points as usize, kept.len());
            }
        }
    }

    #[test]
    fn a_window_that_is_not_full_is_flatter() {
        let mut window = Window::new(3000);
        for i in 0..10 {
            window.pass(100);
            window.enter(60_000 - i * 600);
        }
        let line = window.line(900);
        assert!(line.straightness > STRAIGHT - 10, "{line:?}");
        assert!((line.rise as f64 / line.run as f64 + 6.0 * 0.3).abs() < 1e-2, "{line:?}");
    }
}
