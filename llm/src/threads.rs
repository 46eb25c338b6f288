//! Std threads as [`Parallel`], for host programs: workers that spin briefly for the next job, then park. No lock is taken
//! on the way of a job: its address is published by a counter.
#![allow(unsafe_code)]

use crate::parallel::Parallel;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::vec::Vec;

type Job = &'static (dyn Fn(usize, usize) + Sync);

/// Loops of waiting before a worker parks: about a millisecond, longer than anything between two jobs of one token.
const SPINS: u32 = 20_000;

struct Shared {
    /// The job of the current round; `None` tells the workers to end. Written between rounds only.
    job: UnsafeCell<Option<Job>>,
    /// Counts rounds; a change is the signal to work.
    round: AtomicU64,
    /// Workers that have not finished the current round.
    busy: AtomicUsize,
    /// A worker's part of the current round panicked.
    panicked: AtomicBool,
    /// For each worker: it has parked, or is about to.
    parked: Vec<AtomicBool>,
}

// SAFETY: `job` is written by the owner of `Threads::taken` while `busy` is 0, that is, while no worker reads it; the
// workers read it after they saw `round` change, which is stored after the job (release), and before they count
// themselves out of `busy` (release, acquired by the next writer).
unsafe impl Sync for Shared {}

/// A pool of worker threads; the caller of `run` does part 0 itself.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// A job is under way: who comes meanwhile does a job alone.
    taken: AtomicBool,
}

impl Threads {
    /// A pool that makes `threads` parts of a job (at least 1), by `threads - 1` workers and the caller.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            round: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            parked: (1..threads).map(|_| AtomicBool::new(false)).collect(),
        });
        let workers = (1..threads)
            .map(|part| {
                let shared = shared.clone();
                std::thread::spawn(move || worker(&shared, part, threads))
            })
            .collect();
        Self { shared, workers, taken: AtomicBool::new(false) }
    }

    /// Begins a round; the caller owns `taken`, and the round before has ended.
    fn start(&self, job: Option<Job>) {
        self.wait();
        // SAFETY: no worker is busy, so none reads the job; see `Shared`.
        unsafe { *self.shared.job.get() = job };
        self.shared.busy.store(self.workers.len(), Ordering::Relaxed);
        // Sequentially consistent, as the worker's two steps are: either it sees the round, or it is seen parked.
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        for (parked, worker) in self.shared.parked.iter().zip(&self.workers) {
            if parked.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }

    fn wait(&self) {
        let mut spins = 0;
        while self.shared.busy.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS { core::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

fn worker(shared: &Shared, part: usize, threads: usize) {
    let mut seen = 0;
    loop {
        await_round(shared, part, seen);
        seen = shared.round.load(Ordering::Acquire);
        // SAFETY: a round is under way of which this worker has not finished its part; see `Shared`.
        let job = unsafe { *shared.job.get() };
        let Some(job) = job else { return };
        // A panicking job must neither leave `run` waiting for ever nor end this thread: `run` panics instead.
        if catch_unwind(AssertUnwindSafe(|| job(part, threads))).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        shared.busy.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until the round is another than `seen`.
fn await_round(shared: &Shared, part: usize, seen: u64) {
    for _ in 0..SPINS {
        if shared.round.load(Ordering::Acquire) != seen {
            return;
        }
        core::hint::spin_loop();
    }
    let parked = &shared.parked[part - 1];
    parked.store(true, Ordering::SeqCst);
    while shared.round.load(Ordering::SeqCst) == seen {
        std::thread::park();
    }
    parked.store(false, Ordering::Relaxed);
}

struct WaitOnDrop<'a>(&'a Threads);

impl Drop for WaitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.wait();
        self.0.taken.store(false, Ordering::Release);
    }
}

impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, job: &(dyn Fn(usize, usize) + Sync)) {
        let threads = self.threads();
        if threads == 1 || self.taken.swap(true, Ordering::Acquire) {
            return (0..threads).for_each(|part| job(part, threads));
        }
        // SAFETY: the lifetime is erased only for the duration of this call: `WaitOnDrop` returns (also
        // when `job` panics here) after every worker has finished the round, and no worker reads the
        // slot again before the next round replaces the job.
        let erased: Job = unsafe { core::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Job>(job) };
        self.start(Some(erased));
        let wait = WaitOnDrop(self);
        job(0, threads);
        drop(wait);
        assert!(!self.shared.panicked.swap(false, Ordering::Relaxed), "a part of the job panicked");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_every_round_runs_once() {
        let pool = Threads::new(3);
        let runs = AtomicUsize::new(0);
        for round in 0..2000 {
            if round % 500 == 0 {
                // Long enough for the workers to park.
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let before = runs.load(Ordering::SeqCst);
            pool.run(&|_, parts| {
                assert_eq!(parts, 3);
                runs.fetch_add(1, Ordering::SeqCst);
            });
            assert_eq!(runs.load(Ordering::SeqCst), before + 3);
        }
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_ends_nothing() {
        let pool = Threads::new(2);
        let run = |fail: bool| {
            catch_unwind(AssertUnwindSafe(|| pool.run(&|part, _| assert!(!(fail && part == 1)))))
        };
        assert!(run(true).is_err());
        assert!(run(false).is_ok());
    }
}
