//! What came of a simulation, and the figures that policies are compared by.

use alloc::vec::Vec;

use crate::{Nanos, Nice, TaskId};

/// A burst that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Whose.
    pub task: TaskId,
    /// Its nice value.
    pub nice: Nice,
    /// When it could have begun.
    pub release: Nanos,
    /// What it computed.
    pub size: Nanos,
    /// When it ended.
    pub finish: Nanos,
}

impl Burst {
    /// From release to finish.
    #[must_use]
    pub fn response(&self) -> Nanos {
        self.finish.saturating_sub(self.release)
    }

    /// Response time over size: 1 on an idle CPU.
    #[must_use]
    pub fn slowdown(&self) -> f64 {
        self.response() as f64 / self.size.max(1) as f64
    }
}

/// All that came of a simulation.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The bursts, in the order in which they ended.
    pub bursts: Vec<Burst>,
    /// Switches from one task to another.
    pub switches: u64,
    /// Time in which nobody wanted the CPU.
    pub idle: Nanos,
    /// When it ended.
    pub elapsed: Nanos,
    /// Calls that the policy refused; 0 unless something is wrong.
    pub refused: u64,
}

/// The figures of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Bursts.
    pub bursts: usize,
    /// Mean response time, in nanoseconds.
    pub mean: f64,
    /// 99th percentile of the response times, in nanoseconds.
    pub p99: f64,
    /// Mean slowdown.
    pub slowdown: f64,
    /// Switches.
    pub switches: u64,
    /// Jain's index over the bursts' rates (size over response time): 1 when all were slowed down alike.
    pub fairness: f64,
    /// Share of the time that the CPU was busy.
    pub utilisation: f64,
}

impl Outcome {
    /// The figures.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let count = self.bursts.len();
        if count == 0 {
            return Summary::default();
        }
        let n = count as f64;
        let mut responses: Vec<Nanos> = self.bursts.iter().map(Burst::response).collect();
        responses.sort_unstable();
        let rates = || self.bursts.iter().map(|burst| 1.0 / burst.slowdown().max(1.0));
        let (sum, squares) =
            rates().fold((0.0, 0.0), |(sum, squares), rate| (sum + rate, squares + rate * rate));
        Summary {
            bursts: count,
            mean: responses.iter().map(|&time| time as f64).sum::<f64>() / n,
            p99: responses[(count * 99 / 100).min(count - 1)] as f64,
            slowdown: self.bursts.iter().map(Burst::slowdown).sum::<f64>() / n,
            switches: self.switches,
            fairness: sum * sum / (n * squares).max(f64::MIN_POSITIVE),
            utilisation: 1.0 - self.idle as f64 / self.elapsed.max(1) as f64,
        }
    }
}

/// What ideal processor sharing (infinitely short slices, free switches) would have made of the same releases and sizes: a yardstick
/// for open workloads. All weights equal.
#[must_use]
pub fn ideal_sharing(bursts: &[Burst]) -> Summary {
    let mut by_release: Vec<Burst> = bursts.to_vec();
    by_release.sort_unstable_by_key(|burst| burst.release);
    // In virtual time, which passes at 1 / (number of jobs), a job of size s that comes at v ends at v + s.
    let mut active: alloc::collections::BTreeMap<(u64, usize), ()> = alloc::collections::BTreeMap::new();
    let (mut now, mut passed) = (0_f64, 0_f64);
    let mut done: Vec<Burst> = Vec::with_capacity(by_release.len());
    let mut next = 0;
    while next < by_release.len() || !active.is_empty() {
        let release = by_release.get(next).map(|burst| burst.release as f64);
        let jobs = active.len() as f64;
        let end = active
            .first_key_value()
            .map(|((due, index), ())| (now + (*due as f64 - passed).max(0.0) * jobs, *index));
        match (release, end) {
            (Some(at), None) => {
                now = now.max(at);
            }
            (Some(at), Some((end, _))) if at < end => {
                passed += (at - now) / jobs;
                now = at;
            }
            (_, Some((end, index))) => {
                if let Some(((due, _), ())) = active.pop_first() {
                    passed = passed.max(due as f64);
                }
                now = end;
                done.push(Burst { finish: end as u64, ..by_release[index] });
                continue;
            }
            (None, None) => break,
        }
        active.insert(((passed + by_release[next].size as f64) as u64, next), ());
        next += 1;
    }
    Outcome { bursts: done, ..Outcome::default() }.summary()
}
