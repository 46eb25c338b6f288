//! Worker threads that share the model's matrix products.
//!
//! A job is cut into parts; caller and workers take parts from one counter until none is left, so a worker that gets
//! no CPU costs nothing but its help. Workers are pinned, one to each CPU but the first, where the caller is
//! pinned ([`CALLER_CPU`]). Between jobs a worker spins for a moment (the next product of the same token
//! comes within microseconds), then blocks.

use crate::arch::{percpu, time};

use crate::tasks::{self, SpawnError, WaitQueue};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use llm::parallel::Parallel;

/// CPU of the thread that calls [`Workers::run`]; it has no worker.
pub const CALLER_CPU: usize = 0;

/// What the names of the workers' threads begin with.
pub const WORKER_THREADS: &str = "worker/";

/// How long an idle worker spins before it blocks: longer than anything between two products of one token.
const SPIN_NANOS: u64 = 200_000;
/// Looks at the clock are this many spins apart.
const SPINS_PER_LOOK: u32 = 64;

/// A job is cut into this many parts for each thread: when the host or another thread takes a CPU away, the others do
/// more of the rest.
const PARTS_PER_THREAD: usize = 2;

/// A job's address; valid while the job has unfinished parts.
type Job = *const (dyn Fn(usize, usize) + Sync);

/// The workers of this machine. One job at a time.
pub struct Workers {
    /// Threads that take part, caller included.
    threads: AtomicUsize,
    /// A job is running.
    busy: AtomicBool,
    /// Written by the owner of `busy`, before `next` is reset; read by whoever took a part.
    job: UnsafeCell<Option<Job>>,
    /// Parts of the job.
    parts: AtomicUsize,
    /// The next part to take; none is left at `parts` and above.
    next: AtomicUsize,
    /// Parts that have been finished.
    finished: AtomicUsize,
    /// Jobs begun ever.
    jobs: AtomicU64,
    /// CPU time that callers have spent waiting for parts that workers had taken, in nanoseconds.
    waited: AtomicU64,
    /// Workers that have blocked.
    blocked: AtomicUsize,
    idle: WaitQueue,
}

// SAFETY: `job` is written only by the thread that set `busy`, while no part can be taken (`next` is at or above
// `parts`), and read only by threads that own an unfinished part.
unsafe impl Sync for Workers {}

/// The workers of this machine.
pub static WORKERS: Workers = Workers {
    threads: AtomicUsize::new(1),
    busy: AtomicBool::new(false),
    job: UnsafeCell::new(None),
    parts: AtomicUsize::new(0),
    next: AtomicUsize::new(usize::MAX / 2),
    finished: AtomicUsize::new(0),
    jobs: AtomicU64::new(0),
    waited: AtomicU64::new(0),
    blocked: AtomicUsize::new(0),
    idle: WaitQueue::new(),
};

/// Starts a worker on every CPU but the caller's. Called once, when all CPUs run.
pub fn start() -> Result<(), SpawnError> {
    for cpu in percpu::all().filter(|cpu| cpu.index != CALLER_CPU) {
        let options = tasks::Options::on_cpu(cpu.index);
        tasks::spawn(&alloc::format!("{WORKER_THREADS}{}", cpu.index), options, || WORKERS.serve())?;
        WORKERS.threads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

impl Workers {
    /// How many CPUs share the work.
    pub fn cpus(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    /// CPU time that callers have spent waiting for workers, in nanoseconds since boot.
    pub fn waited_nanos(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Waits until so many parts are finished.
    fn wait_for(&self, parts: usize) {
        let mut spins = 0u32;
        while self.finished.load(Ordering::Acquire) < parts {
            core::hint::spin_loop();
            spins += 1;
            // The worker may be waiting for this very CPU.
            if spins.is_multiple_of(64 * SPINS_PER_LOOK) {
                tasks::yield_now();
            }
        }
    }

    /// Takes parts until none is left.
    fn help(&self) {
        loop {
            let part = self.next.fetch_add(1, Ordering::AcqRel);
            let parts = self.parts.load(Ordering::Acquire);
            if part >= parts {
                return;
            }
            // SAFETY: this thread owns an unfinished part, so `run` has not returned: the job is in place and alive.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                // SAFETY: as above.
                unsafe { (*job)(part, parts) };
            }
            self.finished.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A worker's life.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            if !self.spin_for_job(seen) {
                // Counted before the condition is checked, so that `run` sees either the count or its job taken.
                self.blocked.fetch_add(1, Ordering::SeqCst);
                self.idle.wait_until(|| self.jobs.load(Ordering::SeqCst) != seen);
                self.blocked.fetch_sub(1, Ordering::SeqCst);
            }
            seen = self.jobs.load(Ordering::Acquire);
            self.help();
        }
    }

    /// Whether a job after number `seen` began within the time that a worker spins.
    fn spin_for_job(&self, seen: u64) -> bool {
        let end = time::uptime_nanos() + SPIN_NANOS;
        while time::uptime_nanos() < end {
            for _ in 0..SPINS_PER_LOOK {
                if self.jobs.load(Ordering::Acquire) != seen {
                    return true;
                }
                core::hint::spin_loop();
            }
        }
        false
    }
}

impl Parallel for Workers {
    /// How many parts a job has.
    fn threads(&self) -> usize {
        match self.cpus() {
            1 => 1,
            cpus => cpus * PARTS_PER_THREAD,
        }
    }

    fn run(&self, job: &(dyn Fn(usize, usize) + Sync)) {
        let parts = self.threads();
        if parts == 1 || self.busy.swap(true, Ordering::Acquire) {
            // Alone, or the workers serve somebody else.
            return (0..parts).for_each(|part| job(part, parts));
        }
        // SAFETY: the lifetime is erased only: nobody uses the job after its last part, and `run` waits for that.
        let erased = unsafe { core::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Job>(job) };
        // SAFETY: `busy` is ours, and no part of the last job is left: nobody reads the cell.
        unsafe { *self.job.get() = Some(erased) };
        self.finished.store(0, Ordering::Relaxed);
        self.parts.store(parts, Ordering::Relaxed);
        self.next.store(0, Ordering::Release);
        self.jobs.fetch_add(1, Ordering::SeqCst);
        if self.blocked.load(Ordering::SeqCst) > 0 {
            self.idle.wake_all();
        }
        self.help();
        if self.finished.load(Ordering::Acquire) < parts {
            let began = tasks::run_nanos();
            self.wait_for(parts);
            self.waited.fetch_add(tasks::run_nanos().saturating_sub(began), Ordering::Relaxed);
        }
        self.busy.store(false, Ordering::Release);
    }
}
