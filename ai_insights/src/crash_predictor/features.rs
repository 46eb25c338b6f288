//! From samples to the numbers that the model weighs: how long until the end at the pace of the last half second to the last eight,
//! how straight the way there is, whether it slows down, and what this machine has survived before.
//!
//! Falls that end by themselves are short and falls that end in an OOM are long and straight, on every machine that was
//! recorded (`mem_oom`: 154 of the first kind last 0.7 s in the middle and 2.2 s at the 95th percentile; 15 of the second kind
//! 7.6 s in the middle). So the same question is asked at several lengths: at all of them the end must be near.

use super::RING;
use super::sample::Sample;
use super::window::{Line, Window};

/// Number of features.
pub const FEATURES: usize = 21;

/// What each feature is called, in the order of [`Features::values`].
pub const NAMES: [&str; FEATURES] = [
    "seconds left at the 0.5 s pace",
    "seconds left at the 1 s pace",
    "seconds left at the 2 s pace",
    "straightness of 2 s",
    "seconds left at the 3 s pace",
    "straightness of 3 s",
    "seconds left at the 4 s pace",
    "straightness of 4 s",
    "scatter of 4 s",
    "seconds left at the 8 s pace",
    "straightness of 8 s",
    "scatter of 8 s",
    "headroom",
    "highest headroom of 8 s",
    "above the lowest of 8 s",
    "lower than what was survived",
    "recent recovery",
    "stall",
    "refused allocations",
    "pace of 3 s against the 3 s before",
    "pace of 4.5 s against the 4.5 s before",
];

/// +1 where more of a feature can only mean more danger, −1 where it can only mean less, 0 where it may mean either.
pub const SIGN: [i8; FEATURES] = [-1, -1, -1, 1, -1, 1, -1, 1, 0, -1, 1, 0, -1, -1, -1, 1, -1, 1, 1, 1, 1];

/// What the features are on a machine where nothing happens; factors are told by the difference to it.
pub const CALM: [f32; FEATURES] = [
    FAR_S, FAR_S, FAR_S, 0.0, FAR_S, 0.0, FAR_S, 0.0, 0.0, FAR_S, 0.0, 0.0, 0.9, 0.9, 0.0, 0.0, 0.0, 0.0,
    0.0, 0.0, 0.0,
];

/// A time to exhaustion beyond this is as good as never.
const FAR_S: f32 = 60.0;
/// Lengths of the windows in milliseconds.
const LENGTHS: [i64; 6] = [500, 1000, 2000, 3000, 4000, 8000];
/// Which of them is the pace that [`Features::line`] tells.
const PACE: usize = 3;
/// Paces are compared with those of the time before: now, this long ago, and twice as long ago (milliseconds).
const LAGS: [(u32, u32); 2] = [(3000, 6000), (4500, 9000)];
/// A fall slower than this share of the memory in a second is none.
const STILL: f32 = 5e-4;
/// Headroom is counted in this many parts of the memory.
const PARTS: f32 = 65_536.0;
/// A rise of this share of the memory over the lowest point ends a fall.
const TURN: f32 = 0.02;
/// Falls less deep than this are noise.
const NOISE: f32 = 0.03;
/// Seconds kept of highest and lowest headroom.
const SECONDS: usize = 9;

/// Running state behind the features; every update takes constant time.
#[derive(Debug, Clone)]
pub struct Features {
    last: Option<Sample>,
    /// Samples so far, and the last [`RING`] of them: milliseconds and headroom.
    count: u32,
    points: [(u32, i32); RING],
    windows: [Window; LENGTHS.len()],
    /// Numbers of the samples that are [`LAGS`] old.
    lagging: [[u32; 2]; LAGS.len()],
    line: Line,
    /// Highest and lowest headroom of the last seconds, and which second is the newest.
    extremes: [(i32, i32); SECONDS],
    second: u32,
    /// The present fall: where it began, and its lowest point.
    peak: f32,
    lowest: f32,
    recovery: f32,
    /// Lowest headroom that falls turned at; forgotten over two minutes.
    survived: f32,
    /// Fading sums over 3 s.
    stall: f32,
    failures: f32,
    /// What the model weighs now.
    values: [f32; FEATURES],
}

impl Default for Features {
    fn default() -> Self {
        Self::new()
    }
}

impl Features {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        let mut windows = [Window::new(0); LENGTHS.len()];
        let mut i = 0;
        while i < LENGTHS.len() {
            windows[i] = Window::new(LENGTHS[i]);
            i += 1;
        }
        Features {
            last: None,
            count: 0,
            points: [(0, 0); RING],
            windows,
            lagging: [[0; 2]; LAGS.len()],
            line: Line { slope: 0.0, straightness: 0.0, scatter: 0.0, points: 0 },
            extremes: [(i32::MIN, i32::MAX); SECONDS],
            second: 0,
            peak: 0.0,
            lowest: 0.0,
            recovery: 0.0,
            survived: 1.0,
            stall: 0.0,
            failures: 0.0,
            values: CALM,
        }
    }

    /// Takes a sample. One that is not later than the last is refused (`false`); after a gap of more than 5 s
    /// everything starts anew, for what lay between is unknown.
    pub fn update(&mut self, sample: &Sample) -> bool {
        if self.last.is_some_and(|last| sample.t_ns <= last.t_ns) {
            return false;
        }
        let unknown =
            |last: &Sample| sample.t_ns - last.t_ns > 5_000_000_000 || sample.total_pages != last.total_pages;
        if self.last.as_ref().is_some_and(unknown) {
            *self = Features::new();
        }
        let milliseconds = (sample.t_ns / 1_000_000) as u32;
        let headroom = sample.headroom() as f32;
        let parts = (headroom * PARTS) as i32;
        if let Some(last) = self.last {
            let dt = (sample.t_ns - last.t_ns) as f32 / 1e9;
            self.follow_fall(headroom, dt);
            self.follow_rates(sample, &last, dt);
        } else {
            (self.peak, self.lowest) = (headroom, headroom);
        }
        self.remember(milliseconds, parts);
        self.last = Some(*sample);
        self.values = self.compute(headroom, parts);
        true
    }

    /// The numbers after the last update.
    pub fn values(&self) -> &[f32; FEATURES] {
        &self.values
    }

    /// Change of the headroom (a share of the memory) per second over the last 3 s, and its standard error.
    pub fn line(&self) -> (f32, f32) {
        let slope = self.line.slope * (1000.0 / PARTS);
        // Ten points a second, of which neighbours are alike: about one independent point in three.
        let freedom = (self.line.points as f32 / 3.0 - 2.0).max(1.0);
        let unexplained = (1.0 / self.line.straightness.max(1e-3) - 1.0).max(0.0);
        (slope, slope.abs() * libm::sqrtf(unexplained / freedom))
    }

    fn point(&self, number: u32) -> (u32, i32) {
        self.points[number as usize % RING]
    }

    /// The point into the ring, the windows, the lags and the seconds.
    fn remember(&mut self, now: u32, parts: i32) {
        let number = self.count;
        let dt = if number == 0 { 0 } else { i64::from(now.wrapping_sub(self.point(number - 1).0)) };
        for i in 0..self.windows.len() {
            self.windows[i].pass(dt);
            loop {
                let window = &self.windows[i];
                let oldest = window.oldest;
                let (t, y) = self.point(oldest);
                let age = i64::from(now.wrapping_sub(t));
                // At least the point before stays; and what the ring loses now, every window does.
                let over = window.is_over(age) && number - oldest >= 2;
                if number == oldest || !(over || number - oldest >= RING as u32) {
                    break;
                }
                self.windows[i].leave(age, y.into());
            }
            self.windows[i].enter(parts.into());
        }
        self.points[number as usize % RING] = (now, parts);
        self.count += 1;
        for (lag, at) in LAGS.iter().zip(&mut self.lagging) {
            for (back, at) in [lag.0, lag.1].iter().zip(at) {
                *at = (*at).max(self.count.saturating_sub(RING as u32));
                let old_enough =
                    |number: u32| now.wrapping_sub(self.points[number as usize % RING].0) + 51 >= *back;
                while *at < number && old_enough(*at + 1) {
                    *at += 1;
                }
            }
        }
        let second = now / 1000;
        if number == 0 {
            self.second = second;
        }
        while self.second != second {
            self.second = self.second.wrapping_add(1);
            self.extremes[self.second as usize % SECONDS] = (i32::MIN, i32::MAX);
        }
        let (high, low) = &mut self.extremes[second as usize % SECONDS];
        *high = (*high).max(parts);
        *low = (*low).min(parts);
    }

    fn follow_fall(&mut self, headroom: f32, dt: f32) {
        self.recovery *= fade(dt, 20.0);
        self.recovery = self.recovery.max(headroom - self.lowest);
        self.survived += (headroom - self.survived).max(0.0) * (1.0 - fade(dt, 120.0));
        if headroom > self.lowest + TURN {
            if self.peak - self.lowest > NOISE {
                self.survived = self.survived.min(self.lowest);
            }
            (self.peak, self.lowest) = (headroom, headroom);
        }
        self.peak = self.peak.max(headroom);
        self.lowest = self.lowest.min(headroom);
    }

    fn follow_rates(&mut self, now: &Sample, last: &Sample, dt: f32) {
        let keep = fade(dt, 3.0);
        let stalled = now.stall_some_ns.saturating_sub(last.stall_some_ns) as f32 / 1e9;
        self.stall = (self.stall * keep + stalled).min(3.0);
        let failed = now.failures.saturating_sub(last.failures) as f32;
        self.failures = (self.failures * keep + failed).min(50.0);
    }

    fn compute(&mut self, headroom: f32, parts: i32) -> [f32; FEATURES] {
        let newest = self.count - 1;
        let now = self.point(newest).0;
        let lines = self.windows.map(|window| {
            let span = now.wrapping_sub(self.point(window.oldest).0);
            window.line(span.into())
        });
        self.line = lines[PACE];
        let left = |line: &Line| {
            let pace = -line.slope * (1000.0 / PARTS);
            if pace > STILL { (headroom / pace).min(FAR_S) } else { FAR_S }
        };
        let straight = |line: &Line| if line.slope < 0.0 { line.straightness.min(1.0) } else { 0.0 };
        let scatter = |line: &Line| (line.scatter / (PARTS * PARTS)).max(0.0);
        let (high, low) = self.extremes.iter().fold((parts, parts), |(h, l), e| (h.max(e.0), l.min(e.1)));
        let [half, one, two, three, four, eight] = &lines;
        let [pace_3, pace_4] = core::array::from_fn(|i| {
            let [then, before] = self.lagging[i].map(|number| self.point(number).1);
            let still = STILL * LAGS[i].0 as f32 / 1000.0 * PARTS;
            let (new, old) = ((then - parts) as f32, (before - then) as f32);
            if new <= still {
                0.0
            } else if old <= still {
                1.5
            } else {
                (new / old).min(1.5)
            }
        });
        [
            left(half),
            left(one),
            left(two),
            straight(two),
            left(three),
            straight(three),
            left(four),
            straight(four),
            scatter(four),
            left(eight),
            straight(eight),
            scatter(eight),
            headroom,
            high as f32 / PARTS,
            (parts - low) as f32 / PARTS,
            self.survived - headroom,
            self.recovery,
            self.stall,
            self.failures,
            pace_3,
            pace_4,
        ]
    }
}

/// What is left after `dt` of something that fades over `seconds`: the first two terms of the exponential will do.
fn fade(dt: f32, seconds: f32) -> f32 {
    (1.0 - dt / seconds).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(levels: impl Iterator<Item = u64>) -> Features {
        let mut features = Features::new();
        for (tick, free) in levels.enumerate() {
            assert!(features.update(&Sample::quiet(tick as u64 * 100_000_000, 100_000, free)));
        }
        features
    }

    #[test]
    fn a_straight_fall_has_the_same_pace_at_every_length() {
        // 1 % of the memory a second: after 40 s 59 % is left, less the reserve.
        let features = run((0..=400).map(|tick| 99_000 - tick * 100));
        let v = features.values();
        let left = (0.59 - 0.00632) / 0.01;
        for i in [0, 1, 2, 4, 6, 9] {
            assert!((v[i] - left).abs() < 0.5, "{}: {} {left}", NAMES[i], v[i]);
        }
        for i in [3, 5, 7, 10] {
            assert!(v[i] > 0.999, "{}: {}", NAMES[i], v[i]);
        }
        assert!((v[19] - 1.0).abs() < 0.02 && (v[20] - 1.0).abs() < 0.02, "{v:?}");
        let (slope, error) = features.line();
        assert!((slope + 0.01).abs() < 1e-4 && error < 1e-3, "{slope} {error}");
    }

    #[test]
    fn what_has_just_begun_is_near_only_at_short_lengths() {
        let features = run((0..=100).map(|tick: u64| 90_000 - tick.saturating_sub(90) * 4000));
        let v = features.values();
        assert!(v[0] < 3.0 && v[9] > 3.0 * v[0], "{v:?}");
        assert!(v[10] < 0.8, "{v:?}");
    }

    #[test]
    fn a_fall_that_slows_down_is_seen_to() {
        let features =
            run((0..=120).map(|tick| 90_000 - (60_000.0 * (1.0 - (-(tick as f64) / 30.0).exp())) as u64));
        assert!(features.values()[19] < 0.5, "{:?}", features.values());
    }

    #[test]
    fn sampled_faster_than_meant_the_long_windows_are_not_full_and_say_later() {
        let mut features = Features::new();
        for tick in 0..5000u64 {
            features.update(&Sample::quiet(tick * 10_000_000, 100_000, 99_000 - tick * 10));
        }
        let v = features.values();
        assert!((v[0] - 48.4).abs() < 0.1 && v[9] > v[0], "{v:?}");
    }

    #[test]
    fn a_gap_starts_anew() {
        let mut features = run((0..=100).map(|tick| 90_000 - tick * 500));
        features.update(&Sample::quiet(60_000_000_000, 100_000, 30_000));
        assert_eq!(features.values()[..3], [FAR_S; 3]);
    }
}
