//! From bursts to the figures of a row: those of `cargo xtask eval sched`, by real clocks.

use alloc::vec::Vec;

/// A burst that has ended. Times in nanoseconds.
#[derive(Clone, Copy)]
pub struct Burst {
    /// When it could have begun.
    pub release: u64,
    /// CPU time that it took.
    pub size: u64,
    /// When it ended.
    pub finish: u64,
    /// Whether it is something that somebody waits for the end of.
    pub job: bool,
}

impl Burst {
    fn response(&self) -> u64 {
        self.finish.saturating_sub(self.release)
    }

    /// Response time over size; at least 1, for the two are read from the clock one after the other.
    fn slowdown(&self) -> f64 {
        (self.response() as f64 / self.size.max(1) as f64).max(1.0)
    }
}

/// Figures of all bursts of a policy's runs. Times in nanoseconds.
pub struct Figures {
    /// Mean response time.
    pub mean: f64,
    /// 99th percentile of the response times.
    pub p99: u64,
    /// Mean slowdown.
    pub slowdown: f64,
    /// Jain's index over the bursts' rates.
    pub jain: f64,
    /// Mean response time of the jobs, if there are any.
    pub completion: Option<f64>,
}

/// The figures; `None` when no burst has ended.
pub fn figures(bursts: &[Burst]) -> Option<Figures> {
    let mut responses: Vec<u64> = bursts.iter().map(Burst::response).collect();
    responses.sort_unstable();
    let n = responses.len();
    let p99 = *responses.get((n * 99 / 100).min(n.checked_sub(1)?))?;
    let rates = || bursts.iter().map(|burst| 1.0 / burst.slowdown());
    let (sum, squares) = rates().fold((0.0, 0.0), |(sum, squares), rate| (sum + rate, squares + rate * rate));
    let jobs = || bursts.iter().filter(|burst| burst.job).map(|burst| burst.response() as f64);
    let count = jobs().count();
    let n = n as f64;
    Some(Figures {
        mean: responses.iter().map(|&time| time as f64).sum::<f64>() / n,
        p99,
        slowdown: bursts.iter().map(Burst::slowdown).sum::<f64>() / n,
        jain: sum * sum / (n * squares),
        completion: (count > 0).then(|| jobs().sum::<f64>() / count as f64),
    })
}
