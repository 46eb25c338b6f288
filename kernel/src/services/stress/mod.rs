//! Workloads that use up memory on purpose: `memctl stress`, and the third leg of the crash predictor's evaluation.
//!
//! Each runs in a thread that may be ended when memory runs out, and gives everything back when it ends. Sizes are shares
//! of the memory that is available at the start, so that a run takes as long on a small machine as on a large one.
//!
//! With a seed every parameter is drawn from it, family by family from the distributions of the simulated machines of
//! `cargo xtask eval crash` (the host's, `xtask/src/crash/host/families`): the same seed is the same workload, whoever acts
//! on memory meanwhile. Whether memory runs out is what the machine makes of it. Without a seed a family has its typical course.

mod burst;
mod cache;
mod forks;
mod fragments;
mod leak;
mod level;
mod plateau;
mod random;
mod sawtooth;

use crate::arch::time::uptime_nanos;
use crate::memory::{OutOfMemory, frames, shortage};
use crate::sync::IrqMutex;
use crate::tasks::{self, Options, Task};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use mm::FRAME_SIZE;
use random::Random;
use shell::{Flow, StressEnd, StressError, StressOutcome, StressRequest, StressState};

const MIB: f64 = 1_048_576.0;
/// Time between two steps of a workload.
const STEP_NANOS: u64 = 50_000_000;
/// A step that took longer than this waited for memory: the workload has got no further meanwhile.
const LONGEST_STEP_NANOS: u64 = 1_000_000_000;
/// A workload that still waits for memory this long after its end is asked to give up.
const OVERTIME_NANOS: u64 = 500_000_000;

/// What every workload has.
struct Run {
    stop: AtomicBool,
    end: u64,
    /// Bytes available at the start: free and reclaimable.
    room: u64,
    held: AtomicU64,
    peak: AtomicU64,
    failures: AtomicU64,
    ooms_before: u64,
    /// The thread that does it.
    worker: IrqMutex<Option<Arc<Task>>>,
}

/// A workload, until it is told to stop; an error when memory ran out under it.
type Body = fn(&Arc<Run>, Option<Random>) -> Result<(), OutOfMemory>;

const FAMILIES: &[(&str, &str, Body)] = &[
    ("leak", "Takes memory at a steady pace and never gives it back.", leak::leak),
    ("forks", "Starts threads that hold memory, ever faster, up to a rate.", forks::forks),
    ("cache", "Fills a cache that reclaim can shrink.", cache::cache),
    ("fragments", "Scatters small blocks, and asks for large ones.", fragments::fragments),
    ("burst", "Batch jobs that arrive in bursts, more than fit or not.", burst::burst),
    ("sawtooth", "Grows to two thirds and gives everything back, again and again.", sawtooth::sawtooth),
    ("plateau", "Grows to seven eighths and stays there.", plateau::plateau),
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

/// Registers what reclaim may shrink here.
pub fn init() {
    cache::register();
}

impl Run {
    /// Whether to go on.
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && uptime_nanos() < self.end && !tasks::current().is_killed()
    }

    /// What a workload can hold without running out: the room less twice what an ordinary request must leave
    /// (Linux's 4·√(memory in KiB)), in bytes.
    fn usable(&self) -> f64 {
        let reserve = libm::sqrt(frames::stats().total_frames as f64 * 4.0) * FRAME_SIZE as f64;
        self.room as f64 - 2.0 * reserve
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

    fn pace(&self) -> Pace {
        Pace { last: uptime_nanos(), seconds: 0.0 }
    }

    /// Asks the workload to give up when it is long past its end: it waits for memory.
    fn end_overtime(&self) -> bool {
        let late = uptime_nanos() > self.end.saturating_add(OVERTIME_NANOS);
        let worker = self.worker.lock();
        if let Some(worker) = worker.as_ref().filter(|_| late) {
            worker.kill();
        }
        late && worker.is_some()
    }
}

/// A workload's own time. It stands still while the workload waits for memory: a program that was held up goes on where
/// it was, and does not catch up.
struct Pace {
    last: u64,
    seconds: f64,
}

/// One step of it.
struct Tick {
    /// Seconds since the start, and of this step.
    seconds: f64,
    step: f64,
}

impl Pace {
    fn tick(&mut self) -> Tick {
        let now = uptime_nanos();
        let step = (now - self.last).min(LONGEST_STEP_NANOS) as f64 / 1e9;
        self.last = now;
        self.seconds += step;
        Tick { seconds: self.seconds, step }
    }
}

/// Runs a family; see [`shell::System::memory_stress`].
pub fn run(
    family: &str,
    request: StressRequest,
    watch: &mut dyn FnMut(&StressState) -> Flow,
) -> Result<StressOutcome, StressError> {
    let unknown = || StressError::Unknown(String::from(family));
    let &(_, _, body) = FAMILIES.iter().find(|(name, ..)| *name == family).ok_or_else(unknown)?;
    let room = frames::stats().free_bytes() + shortage::caches().iter().map(|(_, bytes)| bytes).sum::<u64>();
    let mut random = request.seed.map(|seed| Random::new(mixed(seed, family)));
    let ready = match &mut random {
        // Most machines have read some files before.
        Some(random) => cache::fill(room as f64 * random.between(-0.1, 0.4)),
        None => Ok(()),
    };
    let outcome = match ready {
        Ok(()) => start(body, random, room, request.duration, watch),
        Err(error) => Err(StressError::NotStarted(error.to_string())),
    };
    cache::clear();
    outcome
}

/// What a workload wants at its peak, as a share of what is there: what was meant to fit leaves room, what was not does not.
fn demand(random: &mut Random) -> f64 {
    if random.chance(0.5) { random.between(0.3, 0.85) } else { random.between(1.05, 2.0) }
}

/// The family is part of the seed: two families do not draw the same numbers.
fn mixed(seed: u64, family: &str) -> u64 {
    family.bytes().fold(seed.wrapping_add(1), |h, b| h.wrapping_mul(0x0100_0000_01b3) ^ u64::from(b))
}

fn start(
    body: Body,
    random: Option<Random>,
    room: u64,
    duration: Duration,
    watch: &mut dyn FnMut(&StressState) -> Flow,
) -> Result<StressOutcome, StressError> {
    let start = uptime_nanos();
    let run = Arc::new(Run {
        stop: AtomicBool::new(false),
        end: start.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        room,
        held: AtomicU64::new(0),
        peak: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        ooms_before: shortage::oom_counts().0,
        worker: IrqMutex::new(None),
    });
    let shared = run.clone();
    let options = Options { killable: true, ..Options::default() };
    let work = move || {
        *shared.worker.lock() = Some(tasks::current());
        let result = body(&shared, random);
        *shared.worker.lock() = None;
        (result, tasks::current().is_killed())
    };
    let worker = tasks::spawn("stress", options, work).map_err(|e| StressError::NotStarted(e.to_string()))?;
    let (mut interrupted, mut overdue, mut ticks) = (false, false, 0u64);
    while !worker.is_finished() {
        tasks::sleep_nanos(2 * STEP_NANOS);
        ticks += 1;
        overdue |= run.end_overtime();
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
            _ if overdue && run.ooms() == 0 => StressEnd::Time,
            _ if killed => StressEnd::Killed,
            Err(_) => StressEnd::Refused,
            Ok(()) if run.ooms() > 0 => StressEnd::Killed,
            Ok(()) => StressEnd::Time,
        },
        start: Duration::from_nanos(start),
        duration: Duration::from_nanos(uptime_nanos() - start),
        peak: run.peak.load(Ordering::Relaxed),
        failures: run.failures.load(Ordering::Relaxed),
        ooms: run.ooms(),
    })
}
