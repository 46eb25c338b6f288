//! Open-loop traces: jobs with a time of submission and a size.

use sched::simulator::{Program, Step, Workload};
use sched::{Nanos, Nice, Origin};

/// One job, in the trace's own units.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// When it was submitted.
    pub submit: f64,
    /// The work that it did.
    pub size: f64,
    /// What was known of it at submission.
    pub origin: Origin,
}

/// A trace of jobs.
#[derive(Debug, Clone)]
pub struct OpenTrace {
    jobs: Vec<Job>,
}

/// No job is shorter than this once scaled.
const SHORTEST: f64 = 10_000.0;

impl OpenTrace {
    /// The jobs, in order of submission; those without work left out.
    pub fn new(mut jobs: Vec<Job>) -> Self {
        jobs.retain(|job| job.size > 0.0 && job.size.is_finite() && job.submit.is_finite());
        jobs.sort_by(|a, b| a.submit.total_cmp(&b.submit));
        Self { jobs }
    }

    /// The jobs, one task each, sizes scaled to a mean of `mean` and gaps to a load of `load`.
    pub fn at_load(&self, load: f64, mean: Nanos) -> Workload {
        let count = self.jobs.len().max(1) as f64;
        let unit =
            mean as f64 * count / self.jobs.iter().map(|job| job.size).sum::<f64>().max(f64::MIN_POSITIVE);
        let sizes: Vec<Nanos> =
            self.jobs.iter().map(|job| (job.size * unit).max(SHORTEST) as Nanos).collect();
        let work: f64 = sizes.iter().map(|&size| size as f64).sum();
        let first = self.jobs.first().map_or(0.0, |job| job.submit);
        let span = self.jobs.last().map_or(0.0, |job| job.submit - first).max(f64::MIN_POSITIVE);
        let stretch = work / load / span;
        let program = |(job, size): (&Job, Nanos)| Program {
            origin: job.origin,
            nice: Nice::default(),
            start: ((job.submit - first) * stretch) as Nanos,
            steps: vec![Step::Run(size)],
            rounds: 1,
        };
        Workload { programs: self.jobs.iter().zip(sizes).map(program).collect(), end: None }
    }
}
