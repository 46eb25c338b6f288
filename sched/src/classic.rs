//! Classic policies to compare with: first come first served, round robin, and multilevel feedback queues.

use crate::line::{Line, Rule};
use crate::{Enqueue, Luggage, Nanos};

const MS: Nanos = 1_000_000;

/// First come, first served: a task keeps the CPU until it blocks or yields.
pub type Fcfs = Line<FcfsRule>;
/// Round robin with a quantum of 4 ms: a task that has used it up goes to the end of the line. Weights do not count.
pub type RoundRobin = Line<RoundRobinRule>;
/// Multilevel feedback queues after Corbató (1962) and Arpaci-Dusseau (*OSTEP*, chapter 8): four levels with quanta of 4, 8, 16 and
/// 32 ms; who uses up a quantum, at once or in pieces, goes down a level; every second all go back to the top.
pub type Mlfq = Line<MlfqRule>;

/// The rule of [`Fcfs`].
#[derive(Debug, Default)]
pub struct FcfsRule;

impl Fcfs {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_rule(FcfsRule)
    }
}

impl Default for Fcfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Rule for FcfsRule {
    /// The turn at which the task came.
    type Memory = u64;
    const NAME: &'static str = "fcfs";

    fn place(&mut self, came: &mut u64, why: Enqueue, turn: u64, _now: Nanos) -> u64 {
        if why != Enqueue::Preempted || *came == 0 {
            *came = turn;
        }
        *came
    }

    fn slice(&self, _: &u64) -> Nanos {
        Nanos::MAX
    }
}

/// The rule of [`RoundRobin`].
#[derive(Debug, Default)]
pub struct RoundRobinRule;

impl RoundRobin {
    /// How long a task runs at a time.
    pub const QUANTUM: Nanos = 4 * MS;

    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_rule(RoundRobinRule)
    }
}

impl Default for RoundRobin {
    fn default() -> Self {
        Self::new()
    }
}

impl Rule for RoundRobinRule {
    type Memory = ();
    const NAME: &'static str = "rr";

    fn place(&mut self, (): &mut (), _why: Enqueue, turn: u64, _now: Nanos) -> u64 {
        turn
    }

    fn slice(&self, (): &()) -> Nanos {
        RoundRobin::QUANTUM
    }
}

/// The rule of [`Mlfq`].
#[derive(Debug, Default)]
pub struct MlfqRule {
    /// Counts the times that all went back to the top.
    epoch: u64,
}

/// Where a task is among the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    level: u32,
    /// What it has used of its level's quantum.
    used: Nanos,
    epoch: u64,
}

impl MlfqRule {
    const LEVELS: u32 = 4;
    const BOOST_EVERY: Nanos = 1000 * MS;

    fn quantum(level: u32) -> Nanos {
        (4 * MS) << level
    }
}

impl Mlfq {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_rule(MlfqRule { epoch: 0 })
    }
}

impl Default for Mlfq {
    fn default() -> Self {
        Self::new()
    }
}

impl Rule for MlfqRule {
    type Memory = Standing;
    const NAME: &'static str = "mlfq";

    fn place(&mut self, standing: &mut Standing, why: Enqueue, turn: u64, now: Nanos) -> u64 {
        self.epoch = self.epoch.max(now / Self::BOOST_EVERY);
        // One that has moved brings its standing, with the epoch, which is the same everywhere: a time.
        if why == Enqueue::New || standing.epoch < self.epoch {
            *standing = Standing { level: 0, used: 0, epoch: self.epoch };
        }
        // Those of an earlier epoch go first: they are the ones that would have been taken to the top.
        (standing.epoch << 2 | u64::from(standing.level)).min((1 << 24) - 1) << 40 | (turn & ((1 << 40) - 1))
    }

    fn slice(&self, standing: &Standing) -> Nanos {
        Self::quantum(standing.level).saturating_sub(standing.used).max(1)
    }

    fn ran(&mut self, standing: &mut Standing, ran: Nanos) {
        standing.used += ran;
        if standing.used >= Self::quantum(standing.level) {
            standing.level = (standing.level + 1).min(Self::LEVELS - 1);
            standing.used = 0;
        }
    }

    fn pack(&self, standing: &Standing) -> Luggage {
        Luggage { standing: *standing, ..Luggage::default() }
    }

    fn unpack(&self, standing: &mut Standing, luggage: &Luggage) {
        *standing = luggage.standing;
    }

    fn preempts(&self, woken: &Standing, current: &Standing) -> bool {
        woken.level < current.level
    }
}
