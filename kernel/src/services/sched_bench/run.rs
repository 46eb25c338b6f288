//! One run of a workload: its threads, their bursts, and when it is over.

use super::figures::Burst;
use super::spin::Spin;
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks::{self, Options, WaitQueue};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Bursts that a run has room for, for each CPU; those after them are not recorded, which is an error.
const ROOM: usize = 25_000;

/// What the threads of a run share.
pub struct Run {
    /// When it began; times of a workload count from here.
    pub start: u64,
    /// From here on nothing new begins: threads that wait end, and jobs that have come are finished.
    pub end: u64,
    /// Share of the CPUs that it asks for, 0 to 1.
    pub load: f64,
    spin: Spin,
    stop: AtomicBool,
    /// What sleeping threads wait for, besides their time.
    over: WaitQueue,
    /// Threads that have not ended.
    open: AtomicUsize,
    bursts: IrqMutex<Vec<Burst>>,
    lost: AtomicU64,
    /// When the last job ended.
    last_end: AtomicU64,
    /// Work done, in iterations, and CPU time that it took.
    iterations: AtomicU64,
    computed: AtomicU64,
    /// CPU time that bursts took too much, and others have not made up for yet.
    excess: AtomicU64,
    /// Why a thread could not be started.
    failure: IrqMutex<Option<String>>,
}

/// Counts a thread out, however it ends.
struct Open<'a>(&'a Run);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Run {
    /// A run that begins now.
    pub fn new(spin: Spin, length: u64, load: f64) -> Result<Arc<Self>, String> {
        let mut bursts = Vec::new();
        bursts
            .try_reserve_exact(ROOM * percpu::count())
            .map_err(|_| String::from("there is no memory for the record of its bursts"))?;
        let start = uptime_nanos();
        Ok(Arc::new(Self {
            start,
            end: start.saturating_add(length),
            load,
            spin,
            stop: AtomicBool::new(false),
            over: WaitQueue::new(),
            open: AtomicUsize::new(0),
            bursts: IrqMutex::new(bursts),
            lost: AtomicU64::new(0),
            last_end: AtomicU64::new(start),
            iterations: AtomicU64::new(0),
            computed: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            failure: IrqMutex::new(None),
        }))
    }

    /// Starts a thread of it. Its name says which program it is: all threads of that name are alike to a policy that learns.
    pub fn spawn(
        self: &Arc<Self>,
        name: &str,
        options: Options,
        body: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> Result<(), String> {
        self.open.fetch_add(1, Ordering::AcqRel);
        let run = self.clone();
        let thread = tasks::spawn(name, options, move || {
            let _open = Open(&run);
            body(&run);
        });
        match thread {
            // Nobody joins it: an ended thread is freed at once.
            Ok(_) => Ok(()),
            Err(error) => {
                self.open.fetch_sub(1, Ordering::AcqRel);
                Err(format!("thread `{name}`: {error}"))
            }
        }
    }

    /// As [`spawn`](Self::spawn), from a thread of the run, which cannot return an error.
    pub fn spawn_or_fail(
        self: &Arc<Self>,
        name: &str,
        options: Options,
        body: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) {
        if let Err(failure) = self.spawn(name, options, body) {
            self.failure.lock().get_or_insert(failure);
            self.stop();
        }
    }

    /// Sleeps until `at`. `false`: the run is over.
    pub fn sleep_until(&self, at: u64) -> bool {
        let stopped = || self.stop.load(Ordering::Acquire);
        self.over.wait_until_deadline(at.min(self.end), stopped);
        !stopped() && uptime_nanos() < self.end
    }

    /// Computes for about `size` nanoseconds of CPU time: for how long, or `None` if the run was stopped in the middle of it.
    ///
    /// A CPU that its host takes away in the middle of a burst makes it too long, by milliseconds: that is held against the
    /// bursts that follow, up to half of each, so that all together ask for the load that was meant.
    pub fn compute(&self, size: u64) -> Option<u64> {
        let before = tasks::run_nanos();
        let wanted = size
            - self
                .excess
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |excess| {
                    Some(excess.saturating_sub(size / 2))
                })
                .unwrap_or_default()
                .min(size / 2);
        let (mut ran, mut iterations) = (0, 0);
        while ran < wanted {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            iterations += self.spin.compute(wanted - ran);
            ran = tasks::run_nanos().saturating_sub(before);
        }
        self.excess.fetch_add(ran - wanted, Ordering::Relaxed);
        self.iterations.fetch_add(iterations, Ordering::Relaxed);
        self.computed.fetch_add(ran, Ordering::Relaxed);
        Some(ran)
    }

    /// Computes as [`compute`](Self::compute) does, and records that as a burst that could have begun at `release`. `false`: the run was
    /// stopped in the middle of it.
    pub fn burst(&self, release: u64, size: u64, job: bool) -> bool {
        let Some(ran) = self.compute(size) else { return false };
        let finish = uptime_nanos();
        if job {
            self.last_end.fetch_max(finish, Ordering::Relaxed);
        }
        self.record(Burst { release, size: ran, finish, job });
        true
    }

    /// Notes a burst; nothing is allocated here.
    fn record(&self, burst: Burst) {
        let mut bursts = self.bursts.lock();
        if bursts.len() < bursts.capacity() {
            bursts.push(burst);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes the end of something that consists of many bursts: a job, released at the run's start, that computed for `size` in all.
    pub fn job_done(&self, size: u64) {
        let finish = uptime_nanos();
        self.last_end.fetch_max(finish, Ordering::Relaxed);
        self.record(Burst { release: self.start, size, finish, job: true });
    }

    /// Ends it at once, bursts included.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.over.wake_all();
    }

    /// Whether it goes on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && uptime_nanos() < self.end
    }

    /// Whether all its threads have ended.
    pub fn is_done(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// What came of it, once it is done.
    pub fn take_record(&self) -> Result<Record, String> {
        if let Some(failure) = self.failure.lock().take() {
            return Err(failure);
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            return Err(format!("{lost} bursts more than there is room for: measure for fewer seconds"));
        }
        Ok(Record {
            bursts: core::mem::take(&mut *self.bursts.lock()),
            makespan: self.last_end.load(Ordering::Relaxed) - self.start,
            iterations: self.iterations.load(Ordering::Relaxed),
            computed: self.computed.load(Ordering::Relaxed),
        })
    }
}

/// What came of a run.
pub struct Record {
    /// Its bursts, in the order in which they ended.
    pub bursts: Vec<Burst>,
    /// From its start to the end of its last job.
    pub makespan: u64,
    /// Iterations of the spin loop, and the CPU time that they took.
    pub iterations: u64,
    /// See `iterations`.
    pub computed: u64,
}
