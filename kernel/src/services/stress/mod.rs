//! Workloads that use up memory on purpose: `memctl stress`, and the third leg of the crash predictor's evaluation.
//!
//! Each runs in a thread that may be ended when memory runs out, and gives everything back when it ends. Sizes are shares
//! of the memory that is free at the start, so that a run takes as long on a small machine as on a large one.

mod cache;
mod forks;
mod fragments;
mod level;

use super::selftests::random::Random;
use crate::arch::time::uptime_nanos;
use crate::memory::{OutOfMemory, frames, shortage};
use crate::tasks::{self, Options};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use shell::{Flow, StressEnd, StressError, StressOutcome, StressState};

/// What every workload has.
struct Run {
    stop: AtomicBool,
    start: u64,
    end: u64,
    /// Bytes free at the start.
    room: u64,
    held: AtomicU64,
    peak: AtomicU64,
    failures: AtomicU64,
    ooms_before: u64,
}

/// A workload, until it is told to stop; an error when memory ran out under it.
type Body = fn(&Arc<Run>, Random) -> Result<(), OutOfMemory>;

const FAMILIES: &[(&str, &str, Body)] = &[
    ("leak", "Takes memory at a steady pace and never gives it back.", level::leak),
    ("forks", "Starts threads that hold memory, ever faster.", forks::forks),
    ("cache", "Fills a cache that reclaim can shrink.", cache::cache),
    ("fragments", "Scatters unmovable blocks, then asks for large ones.", fragments::fragments),
    ("burst", "Batch jobs of random size, some of which do not fit.", level::burst),
    ("sawtooth", "Grows to two thirds and gives everything back, again and again.", level::sawtooth),
    ("plateau", "Grows to seven eighths and stays there.", level::plateau),
];

/// Names and summaries, for the shell.
pub const LIST: &[(&str, &str)] = &{
    let mut list = [("", ""); FAMILIES.len()];
    let mut at = 0;
    while at < list.len() {
        list[at] = (FAMILIES[at].0, FAMILIES[at].1);
        at += 1;
    }
    list
};

/// Time between two steps of a workload.
const STEP_NANOS: u64 = 50_000_000;

/// Registers what reclaim may shrink here.
pub fn init() {
    cache::register();
}

impl Run {
    /// Whether to go on.
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && uptime_nanos() < self.end && !tasks::current().is_killed()
    }

    /// Seconds since the start.
    fn seconds(&self) -> f64 {
        uptime_nanos().saturating_sub(self.start) as f64 / 1e9
    }

    fn holds(&self, bytes: u64) {
        self.held.store(bytes, Ordering::Relaxed);
        self.peak.fetch_max(bytes, Ordering::Relaxed);
    }

    fn refused(&self, error: OutOfMemory) -> OutOfMemory {
        self.failures.fetch_add(1, Ordering::Relaxed);
        error
    }

    fn ooms(&self) -> u64 {
        shortage::oom_counts().0 - self.ooms_before
    }
}

/// Runs a family; see [`shell::System::memory_stress`].
pub fn run(
    family: &str,
    duration: Duration,
    watch: &mut dyn FnMut(&StressState) -> Flow,
) -> Result<StressOutcome, StressError> {
    let unknown = || StressError::Unknown(String::from(family));
    let &(_, _, body) = FAMILIES.iter().find(|(name, ..)| *name == family).ok_or_else(unknown)?;
    let start = uptime_nanos();
    let run = Arc::new(Run {
        stop: AtomicBool::new(false),
        start,
        end: start.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        room: frames::stats().free_bytes(),
        held: AtomicU64::new(0),
        peak: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        ooms_before: shortage::oom_counts().0,
    });
    let shared = run.clone();
    let options = Options { killable: true, ..Options::default() };
    let work = move || (body(&shared, Random::new(start)), tasks::current().is_killed());
    let worker = tasks::spawn("stress", options, work).map_err(|e| StressError::NotStarted(e.to_string()))?;
    let mut interrupted = false;
    let mut ticks = 0u64;
    while !worker.is_finished() {
        tasks::sleep_nanos(2 * STEP_NANOS);
        ticks += 1;
        let state = StressState {
            elapsed: Duration::from_nanos(uptime_nanos() - start),
            held: run.held.load(Ordering::Relaxed),
            free: frames::stats().free_bytes(),
        };
        if !interrupted && ticks.is_multiple_of(10) && watch(&state) == Flow::Stop {
            interrupted = true;
            run.stop.store(true, Ordering::Release);
        }
    }
    let (result, killed) = worker.join();
    Ok(StressOutcome {
        end: match result {
            _ if interrupted => StressEnd::Interrupted,
            _ if killed => StressEnd::Killed,
            Err(_) => StressEnd::Refused,
            Ok(()) if run.ooms() > 0 => StressEnd::Killed,
            Ok(()) => StressEnd::Time,
        },
        duration: Duration::from_nanos(uptime_nanos() - start),
        peak: run.peak.load(Ordering::Relaxed),
        failures: run.failures.load(Ordering::Relaxed),
        ooms: run.ooms(),
    })
}
