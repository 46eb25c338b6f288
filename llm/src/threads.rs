//! Std threads as [`Parallel`], for host programs: workers that spin briefly for the next job, then park.
#![allow(unsafe_code)]

use crate::parallel::Parallel;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::vec::Vec;

type Job = &'static (dyn Fn(usize, usize) + Sync);

/// Loops of waiting before a worker parks: some tens of microseconds, the time between two jobs of one token.
const SPINS: u32 = 20_000;

struct Shared {
    /// The job of the current round; `None` tells the workers to end.
    job: Mutex<Option<Job>>,
    /// Counts rounds; a change is the signal to work.
    round: AtomicU64,
    /// Workers that have not finished the current round.
    busy: AtomicUsize,
    woken: Condvar,
}

/// A pool of worker threads; the caller of `run` does part 0 itself.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// `run` from two threads at once takes turns.
    turn: Mutex<()>,
}

impl Threads {
    /// A pool that makes `threads` parts of a job (at least 1), by `threads - 1` workers and the caller.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            job: Mutex::new(None),
            round: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            woken: Condvar::new(),
        });
        let workers = (1..threads)
            .map(|part| {
                let shared = shared.clone();
                std::thread::spawn(move || worker(&shared, part, threads))
            })
            .collect();
        Self { shared, workers, turn: Mutex::new(()) }
    }

    fn start(&self, job: Option<Job>) {
        let mut slot = lock(&self.shared.job);
        *slot = job;
        self.shared.busy.store(self.workers.len(), Ordering::Relaxed);
        self.shared.round.fetch_add(1, Ordering::Release);
        self.shared.woken.notify_all();
    }

    fn wait(&self) {
        let mut spins = 0;
        while self.shared.busy.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS { core::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn worker(shared: &Shared, part: usize, threads: usize) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.round.load(Ordering::Acquire) == seen && spins < SPINS {
            spins += 1;
            core::hint::spin_loop();
        }
        let mut slot = lock(&shared.job);
        while shared.round.load(Ordering::Acquire) == seen {
            slot = shared.woken.wait(slot).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        seen = shared.round.load(Ordering::Acquire);
        let job = *slot;
        drop(slot);
        let Some(job) = job else { return };
        // A panicking job must not leave `run` waiting for ever.
        let _finished = Finished(shared);
        job(part, threads);
    }
}

struct Finished<'a>(&'a Shared);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

struct WaitOnDrop<'a>(&'a Threads);

impl Drop for WaitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, job: &(dyn Fn(usize, usize) + Sync)) {
        let threads = self.threads();
        if threads == 1 {
            return job(0, 1);
        }
        let _turn = lock(&self.turn);
        // SAFETY: the lifetime is erased only for the duration of this call: `WaitOnDrop` returns (also
        // when `job` panics here) after every worker has finished the round, and no worker reads the
        // slot again before the next round replaces the job.
        let erased: Job = unsafe { core::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Job>(job) };
        self.start(Some(erased));
        let _wait = WaitOnDrop(self);
        job(0, threads);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.start(None);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}
