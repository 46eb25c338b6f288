//! From samples to the numbers that the model weighs: how fast, for how long, how steadily, and how much is left.

use super::sample::Sample;
use super::trend::{Line, Trend};

/// Number of features.
pub const FEATURES: usize = 22;

/// What each feature is called, in the order of [`Features::values`].
pub const NAMES: [&str; FEATURES] = [
    "end is near at this pace",
    "end is far at this pace",
    "end is near at the 10 s pace",
    "fall is too young",
    "fall is older than any before",
    "straightness of the fall",
    "growth without frees",
    "little left",
    "depth of the fall",
    "recent recovery",
    "slowing down",
    "stall",
    "refused allocations",
    "fruitless reclaim",
    "large blocks run out",
    "fragmentation",
    "falls survived",
    "within what was survived",
    "lower than ever survived",
    "deeper than any fall survived",
    "faster than any fall survived",
    "steady course to a near end",
];

/// A time to exhaustion beyond this is as good as never.
const FAR_S: f64 = 120.0;
/// An end nearer than this is near.
const NEAR_S: f64 = 12.0;
/// A rise of this share of the memory over the lowest point ends a fall.
const TURN: f64 = 0.02;
/// How slowly a recovery, and how long the falls before it lasted, is forgotten.
const RECOVERY_S: f64 = 20.0;
/// Falls shorter than this are habit on any machine.
const HABIT_S: f64 = 1.0;
/// What the machine survived is forgotten over this time.
const SURVIVED_S: f64 = 120.0;
/// Falls less deep than this are noise.
const NOISE: f64 = 0.03;

/// Running state behind the features; every update takes constant time.
#[derive(Debug, Clone)]
pub struct Features {
    last: Option<Sample>,
    short: Trend,
    medium: Trend,
    long: Trend,
    /// Order of the largest free block.
    blocks: Trend,
    /// The present fall: where it began, and its lowest point.
    fall_s: f64,
    peak: f64,
    lowest: f64,
    recovery: f64,
    /// How long falls last here before they turn.
    habit_s: f64,
    /// Falls that ended by themselves: how many, the deepest, the fastest (per second) and the lowest headroom, all fading.
    survived: f64,
    deepest: f64,
    fastest: f64,
    lowest_survived: f64,
    /// Steepest fall over about 1 s since the last turn.
    pace: f64,
    /// Fading sums over a few seconds.
    allocated: f64,
    freed: f64,
    cached: f64,
    reclaim_asked: f64,
    reclaim_got: f64,
    failures: f64,
    stall: f64,
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
        Features {
            last: None,
            short: Trend::new(1.0),
            medium: Trend::new(3.0),
            long: Trend::new(10.0),
            blocks: Trend::new(5.0),
            fall_s: 0.0,
            peak: 0.0,
            lowest: 0.0,
            recovery: 0.0,
            habit_s: 0.0,
            survived: 0.0,
            deepest: 0.0,
            fastest: 0.0,
            lowest_survived: 1.0,
            pace: 0.0,
            allocated: 0.0,
            freed: 0.0,
            cached: 0.0,
            reclaim_asked: 0.0,
            reclaim_got: 0.0,
            failures: 0.0,
            stall: 0.0,
            values: [0.0; FEATURES],
        }
    }

    /// Takes a sample. One that is not later than the last is refused (`false`); after a gap of more than 5 s
    /// everything starts anew, for what lay between is unknown.
    pub fn update(&mut self, sample: &Sample) -> bool {
        let Some(last) = self.last else {
            self.start(sample);
            return true;
        };
        if sample.t_ns <= last.t_ns {
            return false;
        }
        let dt = (sample.t_ns - last.t_ns) as f64 / 1e9;
        if dt > 5.0 || sample.total_pages != last.total_pages {
            *self = Features::new();
            self.start(sample);
            return true;
        }
        let headroom = sample.headroom();
        self.short.add(headroom, dt);
        self.medium.add(headroom, dt);
        self.long.add(headroom, dt);
        self.blocks.add(large_blocks(sample), dt);
        self.follow_fall(headroom, dt);
        self.follow_rates(sample, &last, dt);
        self.last = Some(*sample);
        self.values = self.compute(sample, headroom);
        true
    }

    /// The numbers after the last update, each roughly between −3 and 3.
    pub fn values(&self) -> &[f32; FEATURES] {
        &self.values
    }

    /// The line over about 3 s through the headroom (a share of the memory).
    pub fn line(&self) -> Line {
        self.medium.line()
    }

    fn start(&mut self, sample: &Sample) {
        let headroom = sample.headroom();
        self.peak = headroom;
        self.lowest = headroom;
        self.lowest_survived = headroom;
        self.last = Some(*sample);
        for trend in [&mut self.short, &mut self.medium, &mut self.long] {
            trend.add(headroom, 0.1);
        }
        self.blocks.add(large_blocks(sample), 0.1);
        self.values = self.compute(sample, headroom);
    }

    fn follow_fall(&mut self, headroom: f64, dt: f64) {
        self.recovery *= libm::exp(-dt / RECOVERY_S);
        self.recovery = self.recovery.max(headroom - self.lowest);
        self.habit_s *= libm::exp(-dt / RECOVERY_S);
        let fade = libm::exp(-dt / SURVIVED_S);
        self.survived *= fade;
        self.deepest *= fade;
        self.fastest *= fade;
        self.lowest_survived += (headroom - self.lowest_survived).max(0.0) * (1.0 - fade);
        let turned = headroom > self.lowest + TURN;
        let flat = self.short.line().slope > -0.001;
        if turned {
            self.habit_s = self.habit_s.max(self.fall_s);
            let depth = self.peak - self.lowest;
            if depth > NOISE {
                self.survived += 1.0;
                self.deepest = self.deepest.max(depth);
                self.fastest = self.fastest.max(self.pace);
                self.lowest_survived = self.lowest_survived.min(self.lowest);
            }
            self.pace = 0.0;
            self.peak = headroom;
            self.lowest = headroom;
            self.fall_s = 0.0;
        } else if flat {
            // Standing still is not falling, and what went before counts less and less.
            self.fall_s *= libm::exp(-dt / 2.0);
            self.peak += (headroom - self.peak) * (1.0 - libm::exp(-dt / 2.0));
        } else {
            self.fall_s += dt;
            self.pace = self.pace.max(-self.short.line().slope);
        }
        self.peak = self.peak.max(headroom);
        self.lowest = self.lowest.min(headroom);
    }

    fn follow_rates(&mut self, now: &Sample, last: &Sample, dt: f64) {
        let grown = |new: u64, old: u64| new.saturating_sub(old) as f64;
        let (over_3, over_10) = (libm::exp(-dt / 3.0), libm::exp(-dt / 10.0));
        self.allocated = self.allocated * over_3 + grown(now.allocated_pages, last.allocated_pages);
        self.freed = self.freed * over_3 + grown(now.freed_pages, last.freed_pages);
        // What fills a cache can be had again: it counts as neither.
        self.cached = self.cached * over_3 + now.reclaimable_pages as f64 - last.reclaimable_pages as f64;
        self.reclaim_asked = self.reclaim_asked * over_3 + grown(now.reclaim_attempts, last.reclaim_attempts);
        self.reclaim_got = self.reclaim_got * over_3 + grown(now.reclaimed_pages, last.reclaimed_pages);
        self.failures = self.failures * over_10 + grown(now.failures, last.failures);
        let share = (grown(now.stall_some_ns, last.stall_some_ns) / 1e9 / dt).min(1.0);
        self.stall += (share - self.stall) * (1.0 - over_3);
    }

    fn compute(&self, sample: &Sample, headroom: f64) -> [f32; FEATURES] {
        let lines = [self.short.line(), self.medium.line(), self.long.line()];
        let left = lines.map(|line| time_left(headroom, line.slope));
        // How long it has been falling at least as fast as now: what fell slowly before does not count.
        let depth = (self.peak - headroom).max(0.0);
        let steepest = lines[0].slope.min(lines[1].slope);
        let age = if steepest < 0.0 { self.fall_s.min(depth / -steepest) } else { 0.0 };
        // Lindy's rule: the odds that a fall goes on grow with its age, here in units of the local habit.
        let seniority = libm::log((age + 0.05) / (3.0 * self.habit_s.max(HABIT_S)));
        let falling = lines[1].slope < 0.0;
        let churn = self.allocated + self.freed;
        let noise = 0.01 * sample.total_pages as f64 + 1.0;
        // How much is churned beside the growth differs from machine to machine: beyond a third it says no more.
        let net = ((self.allocated - self.freed - self.cached) / (churn + noise)).min(0.33);
        let slowing =
            (lines[0].slope - lines[2].slope) / (lines[0].slope.abs() + lines[2].slope.abs() + 0.005);
        let asked = self.reclaim_asked;
        let fruitless = if asked < 1.0 { 0.0 } else { 1.0 - (self.reclaim_got / asked).min(1.0) };
        let orders = large_blocks(sample);
        let orders_left = time_left((orders - 3.0).max(0.0), self.blocks.line().slope);
        // A fall within what was survived is habit, the more so the more often; a margin below counts in part.
        let margin = NOISE + 0.25 * self.deepest;
        let inside = (1.0 + (headroom - self.lowest_survived) / margin).clamp(0.0, 1.0);
        let count = libm::log(1.0 + self.survived);
        let beyond = |now: f64, before: f64| libm::log((now + NOISE) / (before + NOISE)).max(0.0);
        // All of it at once: near, lasting, straight, and beyond what was survived. The weakest decides, for three signs without
        // the fourth are what a plateau, a sawtooth or a batch job shows.
        let near = libm::log(NEAR_S / left[1].max(5.0));
        let lasting = libm::log((self.fall_s + 0.05) / 5.0);
        let straight = if falling { 5.0 * (lines[1].straightness - 0.8) } else { -4.0 };
        let outside = 1.5 - 3.0 * inside * self.survived.min(1.0);
        let course = near.min(lasting).min(straight).min(outside).max(-2.0);
        let values = [
            nearer_than(left[1], NEAR_S),
            nearer_than(NEAR_S, left[1]),
            nearer_than(left[2], 2.0 * NEAR_S),
            (-seniority).max(0.0),
            seniority.max(0.0),
            if falling { lines[1].straightness } else { -lines[1].straightness },
            net,
            -libm::log((headroom + 0.01).min(1.0)) - 1.0,
            libm::log(1.0 + 10.0 * depth),
            libm::log(1.0 + 10.0 * self.recovery.max(0.0)),
            slowing,
            self.stall,
            libm::log(1.0 + self.failures) / 2.0,
            fruitless,
            nearer_than(orders_left, 2.0 * NEAR_S),
            f64::from(sample.fragmentation.max(0)) / 1000.0,
            count,
            inside * count,
            10.0 * (self.lowest_survived - headroom).max(0.0),
            beyond(depth, self.deepest),
            beyond(-steepest, self.fastest),
            course,
        ];
        values.map(|v| if v.is_finite() { v.clamp(-10.0, 10.0) as f32 } else { 0.0 })
    }
}

/// Order of the largest free block, of orders that anyone asks for.
fn large_blocks(sample: &Sample) -> f64 {
    f64::from(sample.largest_free_order.min(10))
}

/// Seconds until `level` is gone at this slope (per second), at most [`FAR_S`].
fn time_left(level: f64, slope: f64) -> f64 {
    if slope >= 0.0 { FAR_S } else { (level / -slope).min(FAR_S) }
}

/// How many times (as a logarithm) nearer `seconds` is than `bound`; 0 when it is farther.
fn nearer_than(seconds: f64, bound: f64) -> f64 {
    libm::log(bound / seconds.clamp(0.5, FAR_S)).max(0.0)
}
