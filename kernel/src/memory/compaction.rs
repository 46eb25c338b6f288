//! Compaction: the kernel's side of [`mm::compact`]. Movable memory is what it moves.

use super::shortage::Freeing;
use super::{frames, vmalloc};
use crate::tasks;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::compact::{Compactor, Goal, Mover, Pinned, Progress, Report};

/// Blocks looked at under the lock of the zones before it is let go.
const BUDGET: usize = 256;

static RUNNING: AtomicBool = AtomicBool::new(false);
static RUNS: AtomicU64 = AtomicU64::new(0);
static MOVED: AtomicU64 = AtomicU64::new(0);

struct Movables;

impl Mover for Movables {
    fn is_movable(&self, pfn: u64) -> bool {
        vmalloc::is_movable(pfn)
    }

    fn migrate(&mut self, from: u64, to: u64) -> Result<(), Pinned> {
        vmalloc::migrate(from, to).map_err(|_| Pinned)
    }
}

/// Compacts until `goal` is reached. In a thread, without locks; others that ask meanwhile wait their turn.
pub fn run(goal: Goal) -> Report {
    // Waiting for memory would be waiting for itself.
    let _freeing = Freeing::begin();
    while RUNNING.swap(true, Ordering::Acquire) {
        tasks::sleep_nanos(1_000_000);
    }
    frames::drain_caches();
    let report = frames::with_zones(|zones| Compactor::new(zones, goal)).map(|mut compactor| {
        while round(&mut compactor) == Progress::More {}
        compactor.report()
    });
    let report = report.unwrap_or_default();
    RUNS.fetch_add(1, Ordering::Relaxed);
    MOVED.fetch_add(report.moved, Ordering::Relaxed);
    RUNNING.store(false, Ordering::Release);
    report
}

fn round(compactor: &mut Compactor) -> Progress {
    let plan = frames::with_zones(|zones| compactor.plan(zones, &Movables, BUDGET));
    let Some(mut plan) = plan else { return Progress::Complete };
    plan.migrate(&mut Movables);
    frames::with_zones(|zones| compactor.settle(zones, plan)).unwrap_or(Progress::Complete)
}

/// Compactions, and pages moved, since boot.
pub fn counts() -> (u64, u64) {
    (RUNS.load(Ordering::Relaxed), MOVED.load(Ordering::Relaxed))
}
