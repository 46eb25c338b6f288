//! From samples to the numbers that the model weighs: how long until the end at the pace of the last half second to the last eight,
//! how straight the way there is, whether it slows down, at which level as much is given back as is taken, and what this machine has
//! survived before.
//!
//! Falls that end by themselves are short and falls that end in an OOM are long and straight, on every machine that was
//! recorded (`mem_oom`: 154 of the first kind last 0.7 s in the middle and 2.2 s at the 95th percentile; 15 of the second kind
//! 7.6 s in the middle). So the same question is asked at several lengths: at all of them the end must be near.
//! What holds memory for a while and gives it back settles where as much comes as goes (Little's law, 1961): that level can be told long
//! before it is reached.
//!
//! All in integers. An update comes ten times a second, between which a machine does other things: what counts is how
//! much code and data it touches, and an emulator's floats are much code.

use super::RING;
use super::sample::{Sample, WHOLE};
use super::window::{Line, STRAIGHT, Window};

/// Number of features.
pub const FEATURES: usize = 18;

/// The features of a moment: times in milliseconds, shares of the memory in [`WHOLE`] parts, other shares in [`STRAIGHT`] parts.
pub type Values = [i32; FEATURES];

/// What each feature is called, in the order of [`Features::values`].
pub const NAMES: [&str; FEATURES] = [
    "time left at the 0.5 s pace",
    "time left at the 2 s pace",
    "straightness of 2 s",
    "time left at the 4 s pace",
    "straightness of 4 s",
    "scatter of 4 s",
    "time left at the 8 s pace",
    "straightness of 8 s",
    "scatter of 8 s",
    "headroom",
    "highest headroom of 8 s",
    "lower than what was survived",
    "recent recovery",
    "stall",
    "refused allocations",
    "pace of 3 s against the 3 s before",
    "headroom at which as much is given back as taken",
    "given back of what was taken",
];

/// +1 where more of a feature can only mean more danger, −1 where it can only mean less, 0 where it may mean either.
pub const SIGN: [i8; FEATURES] = [-1, -1, 1, -1, 1, 0, -1, 1, 0, -1, -1, 1, -1, 1, 1, 1, -1, -1];

/// What the features are on a machine where nothing happens; factors are told by the difference to it.
pub const CALM: Values =
    [FAR, FAR, 0, FAR, 0, 0, FAR, 0, 0, MUCH, MUCH, 0, 0, 0, 0, 0, CALM_BALANCE.0, CALM_BALANCE.1];

/// The last two of them.
const CALM_BALANCE: (i32, i32) = (MUCH, STRAIGHT);

/// Nine tenths of the memory.
const MUCH: i32 = WHOLE / 10 * 9;
/// A time to exhaustion beyond this many milliseconds is as good as never.
const FAR: i32 = 60_000;
/// Lengths of the windows in milliseconds.
const LENGTHS: [i64; 4] = [500, 2000, 4000, 8000];
/// Which of them tells the time to the end.
const PACE: usize = 2;
/// Paces are compared with those of the time before: now, this long ago, and twice as long ago (milliseconds).
const LAG: [u32; 2] = [3000, 6000];
/// A fall slower than this share of the memory in a second, 1/2000, is none.
const STILL: i32 = WHOLE / 2000;
/// How much faster a pace may be than the one before, in 4096ths.
const FASTEST: i32 = 6144;
/// A balance lower than this is none.
const LOWEST: i32 = -2 * WHOLE;
/// A rise of a fiftieth of the memory over the lowest point ends a fall.
const TURN: i32 = WHOLE / 50;
/// Falls less deep than this are noise.
const NOISE: i32 = WHOLE / 33;
/// What fades is kept in so many parts more.
const FINE: i32 = 256;
/// Seconds of which the highest headroom is kept.
const SECONDS: usize = 9;

/// An alarm can wait while this many milliseconds are left, at the faster of the paces of the last 2 s and of the last 4 s.
const SOON: i32 = 9000;

/// Whether the end, if there is one, is so far off that there will be time to tell. To wait costs nothing of the 5 s of warning that are
/// asked for where the pace stays; a fall that becomes faster is called later. Most of what begins like a disaster ends before.
pub fn can_wait(values: &Values) -> bool {
    let [_, by_2_s, _, by_4_s, ..] = *values;
    by_2_s.min(by_4_s) >= SOON
}

/// A sample as it is kept.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Milliseconds.
    t: u32,
    headroom: i32,
    /// Pages allocated since boot.
    taken: u32,
}

/// What was taken and given back between two points, in parts of the memory, and the milliseconds between them.
#[derive(Debug, Clone, Copy)]
struct Span {
    ms: i64,
    taken: i64,
    given: i64,
}

/// Running state behind the features; every update takes constant time.
#[derive(Debug, Clone)]
pub struct Features {
    /// The last sample: its time, and what only grows.
    last: Option<Sample>,
    /// Pages that an ordinary request must leave.
    reserve: u64,
    /// Samples so far, and the last [`RING`] of them.
    count: u32,
    points: [Point; RING],
    windows: [Window; LENGTHS.len()],
    /// Numbers of the samples that are [`LAG`] old.
    lagging: [u32; 2],
    line: Line,
    /// Highest headroom of each of the last seconds, and which second is the newest.
    highest: [i32; SECONDS],
    second: u32,
    /// Where memory stood before what goes on now; forgotten over minutes. In [`FINE`] parts.
    ceiling: i32,
    /// The present fall: where it began, and its lowest point.
    peak: i32,
    lowest: i32,
    /// In [`FINE`] parts.
    recovery: i32,
    /// Lowest headroom that falls turned at; forgotten over two minutes. In [`FINE`] parts.
    survived: i32,
    /// Fading sums over 3 s: microseconds, and 1024ths of a refusal.
    stall: i32,
    failures: i32,
    /// What the model weighs now.
    values: Values,
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
            reserve: 0,
            count: 0,
            points: [Point { t: 0, headroom: 0, taken: 0 }; RING],
            windows,
            lagging: [0; 2],
            line: Line::FLAT,
            highest: [i32::MIN; SECONDS],
            second: 0,
            ceiling: 0,
            peak: 0,
            lowest: 0,
            recovery: 0,
            survived: WHOLE * FINE,
            stall: 0,
            failures: 0,
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
        if self.last.is_none() {
            self.reserve = sample.reserve_pages();
        }
        let now = Point {
            t: (sample.t_ns / 1_000_000) as u32,
            headroom: sample.headroom_beyond(self.reserve),
            taken: sample.allocated_pages as u32,
        };
        if let Some(last) = self.last {
            let ms = now.t.wrapping_sub((last.t_ns / 1_000_000) as u32) as i32;
            self.ceiling = fade(self.ceiling, ms, 200_000);
            self.follow_fall(now.headroom, ms);
            self.follow_rates(sample, &last, ms);
        } else {
            (self.peak, self.lowest) = (now.headroom, now.headroom);
        }
        self.ceiling = self.ceiling.max(now.headroom * FINE);
        self.remember(now, (sample.t_ns / 1_000_000_000) as u32);
        self.last = Some(*sample);
        self.values = self.compute(&now, sample.total_pages);
        true
    }

    /// The numbers after the last update.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Seconds until the headroom is lost by the straight line over the last 4 s, and the standard error of its slope as a share of
    /// the slope; `None` while it is no line that falls, or in more than ten minutes.
    pub fn line_left(&self) -> Option<(f32, f32)> {
        const TEN_MINUTES: i32 = 600_000;
        let left = self.line.left(self.point(self.count.checked_sub(1)?).headroom, TEN_MINUTES + 1);
        if left > TEN_MINUTES {
            return None;
        }
        // Ten points a second, of which neighbours are alike: about one independent point in three.
        let freedom = (self.line.points as f32 / 3.0 - 2.0).max(1.0);
        let unexplained = STRAIGHT as f32 / self.line.straightness.max(1) as f32 - 1.0;
        let error = libm::sqrtf(unexplained / freedom);
        (error < 1.0).then_some((left as f32 / 1000.0, error))
    }

    fn point(&self, number: u32) -> Point {
        self.points[number as usize % RING]
    }

    /// The point into the ring, the windows, the lags and the seconds.
    fn remember(&mut self, now: Point, second: u32) {
        let number = self.count;
        let dt = if number == 0 { 0 } else { i64::from(now.t.wrapping_sub(self.point(number - 1).t)) };
        for i in 0..self.windows.len() {
            self.windows[i].pass(dt);
            loop {
                let window = &self.windows[i];
                let oldest = window.oldest;
                let point = self.point(oldest);
                let age = i64::from(now.t.wrapping_sub(point.t));
                // At least the point before stays; and what the ring loses now, every window does.
                let over = window.is_over(age) && number - oldest >= 2;
                if number == oldest || !(over || number - oldest >= RING as u32) {
                    break;
                }
                self.windows[i].leave(age, point.headroom.into());
            }
            self.windows[i].enter(now.headroom.into());
        }
        self.points[number as usize % RING] = now;
        self.count += 1;
        for (back, at) in LAG.iter().zip(&mut self.lagging) {
            *at = (*at).max(self.count.saturating_sub(RING as u32));
            let old_enough =
                |number: u32| now.t.wrapping_sub(self.points[number as usize % RING].t) + 51 >= *back;
            while *at < number && old_enough(*at + 1) {
                *at += 1;
            }
        }
        if number == 0 {
            self.second = second;
        }
        while self.second != second {
            self.second = self.second.wrapping_add(1);
            self.highest[self.second as usize % SECONDS] = i32::MIN;
        }
        let high = &mut self.highest[second as usize % SECONDS];
        *high = (*high).max(now.headroom);
    }

    fn follow_fall(&mut self, headroom: i32, ms: i32) {
        self.recovery = fade(self.recovery, ms, 20_000).max((headroom - self.lowest) * FINE);
        let above = headroom * FINE - self.survived;
        if above > 0 {
            self.survived += above - fade(above, ms, 120_000);
        }
        if headroom > self.lowest + TURN {
            if self.peak - self.lowest > NOISE {
                self.survived = self.survived.min(self.lowest * FINE);
            }
            (self.peak, self.lowest) = (headroom, headroom);
        }
        self.peak = self.peak.max(headroom);
        self.lowest = self.lowest.min(headroom);
    }

    fn follow_rates(&mut self, now: &Sample, last: &Sample, ms: i32) {
        let stalled = (now.stall_some_ns.saturating_sub(last.stall_some_ns) / 1000).min(3_000_000) as i32;
        self.stall = (fade(self.stall, ms, 3000) + stalled).min(3_000_000);
        let refused = now.failures.saturating_sub(last.failures).min(50) as i32 * 1024;
        self.failures = (fade(self.failures, ms, 3000) + refused).min(50 * 1024);
    }

    fn compute(&mut self, now: &Point, total_pages: u64) -> Values {
        let mut left = [FAR; LENGTHS.len()];
        let mut straight = [0; LENGTHS.len()];
        let mut scatter = [0; LENGTHS.len()];
        for (i, window) in self.windows.iter().enumerate() {
            let line = window.line(now.t.wrapping_sub(self.point(window.oldest).t).into());
            left[i] = line.left(now.headroom, FAR);
            straight[i] = if line.rise < 0 { line.straightness } else { 0 };
            scatter[i] = line.scatter;
            if i == PACE {
                self.line = line;
            }
        }
        let highest = self.highest.iter().fold(now.headroom, |high, second| high.max(*second));
        let [then, before] = self.lagging.map(|number| self.point(number).headroom);
        let still = STILL * (LAG[0] / 1000) as i32;
        let (new, old) = (then - now.headroom, before - then);
        let pace = if new <= still {
            0
        } else if old <= still {
            FASTEST
        } else {
            (i64::from(new) * i64::from(STRAIGHT) / i64::from(old)).min(FASTEST.into()) as i32
        };
        let (balance, turnover) = self.balance(now, total_pages);
        [
            left[0],
            left[1],
            straight[1],
            left[2],
            straight[2],
            scatter[2],
            left[3],
            straight[3],
            scatter[3],
            now.headroom,
            highest,
            self.survived / FINE - now.headroom,
            self.recovery / FINE,
            self.stall,
            self.failures,
            pace,
            balance,
            turnover,
        ]
    }

    /// The headroom at which as much is given back as taken, and the share given back of what was taken in the last 4 s.
    fn balance(&self, now: &Point, total_pages: u64) -> (i32, i32) {
        let total = (total_pages.clamp(1, 1 << 46)) as i64;
        let since = |from: &Point| {
            let lost = i64::from(from.headroom - now.headroom);
            let taken = i64::from(now.taken.wrapping_sub(from.taken)) * i64::from(WHOLE) / total;
            // More than all of memory a thousand times over is noise.
            let taken = taken.min(1000 * i64::from(WHOLE));
            Span { ms: now.t.wrapping_sub(from.t).into(), taken, given: (taken - lost).max(0) }
        };
        let [four, eight] = [2, 3].map(|window: usize| &self.windows[window]);
        let (recent, half, all) = (
            since(&self.point(self.lagging[0])),
            since(&self.point(four.oldest)),
            since(&self.point(eight.oldest)),
        );
        if recent.ms < 500 || all.ms < 2000 {
            return CALM_BALANCE;
        }
        // Little's law: what is held is what comes in a second times how long it stays; and how long, what was held and what went of it tell.
        let ceiling = i64::from(self.ceiling / FINE);
        let held = (ceiling - eight.mean()).max(0);
        let balance = if all.given <= 0 {
            LOWEST
        } else {
            let level = ceiling - recent.taken * (held * all.ms) / all.given / recent.ms;
            level.clamp(LOWEST.into(), WHOLE.into()) as i32
        };
        let turnover =
            if half.taken > 0 { half.given * i64::from(STRAIGHT) / half.taken } else { STRAIGHT.into() };
        (balance, turnover.min(STRAIGHT.into()) as i32)
    }
}

/// What is left after `ms` of something that fades over `over`: the first two terms of the exponential will do.
fn fade(value: i32, ms: i32, over: i32) -> i32 {
    value - (i64::from(value) * i64::from(ms.min(over)) / i64::from(over)) as i32
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
        let left = 58_370;
        for i in [0, 1, 3, 6] {
            assert!((v[i] - left).abs() < 500, "{}: {} {left}", NAMES[i], v[i]);
        }
        for i in [2, 4, 7] {
            assert!(v[i] > STRAIGHT - 10, "{}: {}", NAMES[i], v[i]);
        }
        assert!((v[15] - STRAIGHT).abs() < 80, "{v:?}");
        let (seconds, error) = features.line_left().expect("it falls");
        assert!((seconds - 58.37).abs() < 0.5 && error < 0.03, "{seconds} {error}");
    }

    #[test]
    fn what_has_just_begun_is_near_only_at_short_lengths() {
        let features = run((0..=100).map(|tick: u64| 90_000 - tick.saturating_sub(90) * 4000));
        let v = features.values();
        assert!(v[0] < 3000 && v[6] > 3 * v[0], "{v:?}");
        assert!(v[7] < STRAIGHT / 10 * 8, "{v:?}");
    }

    #[test]
    fn a_fall_that_slows_down_is_seen_to() {
        let features =
            run((0..=120).map(|tick| 90_000 - (60_000.0 * (1.0 - (-(tick as f64) / 30.0).exp())) as u64));
        assert!(features.values()[15] < STRAIGHT / 2, "{:?}", features.values());
    }

    /// What comes at a steady rate and stays 8 s in the mean, would fill four fifths: after 10 s it is less than three fifths.
    #[test]
    fn where_a_population_settles_is_known_before_it_settles() {
        let mut features = Features::new();
        for tick in 0..=130u64 {
            let age = tick.saturating_sub(30) as f64 / 10.0;
            let taken = (age * 10_000.0) as u64;
            let held = (80_000.0 * (1.0 - (-age / 8.0).exp())) as u64;
            let sample = Sample {
                allocated_pages: taken,
                freed_pages: taken - held,
                ..Sample::quiet(tick * 100_000_000, 100_000, 99_000 - held)
            };
            features.update(&sample);
        }
        let v = features.values();
        let settled = (99_000 - 80_000 - 632) * WHOLE / 100_000;
        assert!(v[9] > 2 * settled, "{v:?}");
        assert!((v[16] - settled).abs() < WHOLE / 20, "{} {settled}", v[16]);
        assert!((1000..3000).contains(&v[17]), "{v:?}");
    }

    #[test]
    fn what_is_only_taken_settles_nowhere() {
        let mut features = Features::new();
        for tick in 0..=200u64 {
            let taken = tick * 200;
            let sample = Sample {
                allocated_pages: taken,
                ..Sample::quiet(tick * 100_000_000, 100_000, 99_000 - taken)
            };
            features.update(&sample);
        }
        assert_eq!(features.values()[16..], [LOWEST, 0]);
    }

    #[test]
    fn sampled_faster_than_meant_the_long_windows_are_not_full_and_say_later() {
        let mut features = Features::new();
        for tick in 0..5000u64 {
            features.update(&Sample::quiet(tick * 10_000_000, 100_000, 99_000 - tick * 10));
        }
        let v = features.values();
        assert!((v[0] - 48_400).abs() < 100 && v[6] > v[0], "{v:?}");
    }

    #[test]
    fn milliseconds_that_begin_anew_after_seven_weeks_are_like_any_others() {
        let mut features = Features::new();
        let start = (4_294_967 - 20) * 1_000_000_000;
        for tick in 0..=400u64 {
            features.update(&Sample::quiet(start + tick * 100_000_000, 100_000, 99_000 - tick * 100));
        }
        let same = run((0..=400).map(|tick| 99_000 - tick * 100));
        assert_eq!(features.values(), same.values());
    }

    #[test]
    fn samples_a_millisecond_apart_do_not_say_that_the_end_is_here() {
        let mut features = Features::new();
        for tick in 0..20u64 {
            features.update(&Sample::quiet(tick * 1_000_000, 65_536, 60_000 - tick * 30));
        }
        // 570 pages of 60,000 in 19 ms, which count as if the half second before had been still.
        let v = features.values();
        assert!((30_000..60_000).contains(&v[0]), "{v:?}");
        assert_eq!(v[6], FAR);
    }

    #[test]
    fn a_gap_starts_anew() {
        let mut features = run((0..=100).map(|tick| 90_000 - tick * 500));
        features.update(&Sample::quiet(60_000_000_000, 100_000, 30_000));
        assert_eq!(features.values()[..2], [FAR; 2]);
    }
}
