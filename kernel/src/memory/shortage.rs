//! What happens when memory is short: reclaim in the background below the low mark; and for an allocation that would
//! fail, reclaim, compaction, and at last the end of a task that agreed to be ended.
//!
//! Only threads may wait for memory, through [`alloc()`]. What the kernel itself cannot do without (its heap, page tables,
//! stacks) comes from the emergency reserve, at once or not at all.

use super::{OutOfMemory, compaction, frames, heap, stack};
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks::{self, SpawnError, Task, WaitQueue};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use mm::compact::Goal;
use mm::oom::{self, Candidate};
use mm::reclaim::{ReclaimStats, Reclaimed, Registry, Shrinker};
use mm::stall::{Stall, StallStats};
use mm::{Block, FRAME_SIZE, MigrateType, Pressure};

/// Caches that can give memory back.
pub const SHRINKERS: usize = 8;
/// The background thread looks at the marks this often.
const PERIOD_NANOS: u64 = 50_000_000;
/// Reclaim frees at least this much when it is called at all.
const LEAST: u64 = 64 * FRAME_SIZE;
/// How long the end of a task may take before another one is chosen.
const PATIENCE_NANOS: u64 = 5_000_000_000;

static REGISTRY: spin::RwLock<Registry<'static, SHRINKERS>> = spin::RwLock::new(Registry::new());
static STALL: IrqMutex<Stall> = IrqMutex::new(Stall::new(0));
/// Threads that wait for memory.
static WAITING: AtomicU32 = AtomicU32::new(0);
static WAKE: WaitQueue = WaitQueue::new();
static WANTED: AtomicBool = AtomicBool::new(false);
static CHOOSING: AtomicBool = AtomicBool::new(false);
static OOMS: AtomicU64 = AtomicU64::new(0);
static KILLS: AtomicU64 = AtomicU64::new(0);
/// When memory ran out last.
static LAST_OOM: AtomicU64 = AtomicU64::new(0);

/// Stacks of threads that have ended, kept mapped for the next ones.
struct SpareStacks;

impl Shrinker for SpareStacks {
    fn name(&self) -> &'static str {
        "spare stacks"
    }

    fn count(&self) -> u64 {
        stack::spare_bytes()
    }

    fn shrink(&self, bytes: u64) -> u64 {
        stack::free_spare(bytes)
    }
}

/// Starts the background thread. Once, with threads running.
pub fn start() -> Result<(), SpawnError> {
    register(&SpareStacks);
    crate::log::register_shrinker();
    heap::keep_reserve();
    tasks::spawn("reclaim", tasks::Options::default(), || {
        loop {
            WAKE.wait_until_deadline(uptime_nanos() + PERIOD_NANOS, || WANTED.swap(false, Ordering::AcqRel));
            if frames::pressure() >= Pressure::Low {
                let missing = frames::with_zones(|zones| zones.shortage()).unwrap_or(0);
                reclaim((missing * FRAME_SIZE).max(LEAST));
            } else {
                heap::keep_reserve();
                crate::log::keep_spares();
            }
        }
    })?;
    Ok(())
}

/// Adds a cache. During boot.
pub fn register(shrinker: &'static dyn Shrinker) {
    if let Err(error) = REGISTRY.write().register(shrinker) {
        log::error!("MM: {}: {error}", shrinker.name());
    }
}

/// Has the caches free about `bytes`, at most what they hold. In a thread, without locks.
pub fn reclaim(bytes: u64) -> Reclaimed<SHRINKERS> {
    let registry = REGISTRY.read();
    registry.reclaim(bytes.min(registry.count()))
}

/// Bytes that the caches could free.
#[cfg(feature = "ai-ops")]
pub fn reclaimable() -> u64 {
    REGISTRY.read().count()
}

/// What each cache could free.
pub fn caches() -> heapless::Vec<(&'static str, u64), SHRINKERS> {
    REGISTRY.read().counts().collect()
}

/// Totals of reclaim since boot.
pub fn reclaim_stats() -> ReclaimStats {
    REGISTRY.read().stats()
}

/// Time lost in waiting for memory.
pub fn stall_stats() -> StallStats {
    STALL.lock().stats(uptime_nanos())
}

/// Times that memory ran out for good, and tasks that were ended for it.
pub fn oom_counts() -> (u64, u64) {
    (OOMS.load(Ordering::Relaxed), KILLS.load(Ordering::Relaxed))
}

/// When memory ran out last, in nanoseconds after boot.
#[cfg(feature = "ai-ops")]
pub fn last_oom() -> u64 {
    LAST_OOM.load(Ordering::Relaxed)
}

/// A block for a thread that can wait: frees memory where there is none. Fails when nothing can be freed, or when the
/// calling task has been chosen to end, which it then should do.
pub fn alloc(order: usize, kind: MigrateType) -> Result<Block, OutOfMemory> {
    let refused = OutOfMemory { bytes: FRAME_SIZE << order };
    let task = tasks::current();
    #[cfg(feature = "ai-ops")]
    super::hold_back::pace(1 << order);
    for _ in 0..64 {
        if task.is_killed() {
            return Err(refused);
        }
        if let Ok(block) = frames::alloc(order, kind) {
            return Ok(block);
        }
        WANTED.store(true, Ordering::Release);
        WAKE.wake_one();
        let progress = stalled(|| {
            let freed = reclaim(LEAST.max(refused.bytes)).freed;
            let moved = if order > 0 { compaction::run(Goal::Order(order)).moved } else { 0 };
            freed + moved + frames::drain_caches() > 0
        });
        if let Ok(block) = frames::alloc(order, kind) {
            return Ok(block);
        }
        if !progress && !stalled(|| end_a_task(order)) {
            break;
        }
    }
    Err(refused)
}

/// Runs `wait`, counted as time lost in waiting for memory.
fn stalled<R>(wait: impl FnOnce() -> R) -> R {
    let account = |change: fn(&mut Stall, u64)| {
        // Those who wait are runnable too, as long as they look for memory.
        let runnable = tasks::runnable();
        let mut stall = STALL.lock();
        let now = uptime_nanos();
        change(&mut stall, now);
        stall.set_working(now, runnable.saturating_sub(WAITING.load(Ordering::Relaxed)));
    };
    WAITING.fetch_add(1, Ordering::Relaxed);
    account(Stall::begin);
    let result = wait();
    WAITING.fetch_sub(1, Ordering::Relaxed);
    account(Stall::end);
    result
}

/// Memory has run out: ends the task whose end frees most, and waits for it. Says whether it is worth trying again.
fn end_a_task(order: usize) -> bool {
    if CHOOSING.swap(true, Ordering::AcqRel) {
        // Somebody is at it.
        tasks::sleep_nanos(5_000_000);
        return true;
    }
    let again = choose_and_end(order);
    CHOOSING.store(false, Ordering::Release);
    again
}

fn choose_and_end(order: usize) -> bool {
    LAST_OOM.store(uptime_nanos(), Ordering::Relaxed);
    OOMS.fetch_add(1, Ordering::Relaxed);
    let stats = frames::stats();
    let all = tasks::all();
    let candidates = all.iter().filter(|task| !task.is_killed()).map(|task| candidate(task));
    let chosen = oom::pick(candidates, stats.total_bytes());
    let Some(victim) = chosen.and_then(|one| all.iter().find(|task| u64::from(task.id) == one.id)) else {
        log::warn!(
            "MM: out of memory for order {order}: {} of {} KiB free, nothing to reclaim, no task to end",
            stats.free_bytes() >> 10,
            stats.total_bytes() >> 10
        );
        return false;
    };
    KILLS.fetch_add(1, Ordering::Relaxed);
    log::warn!(
        "MM: out of memory for order {order}: {} of {} KiB free; ending task {} \"{}\", which holds {} KiB",
        stats.free_bytes() >> 10,
        stats.total_bytes() >> 10,
        victim.id,
        victim.name,
        victim.held_bytes() >> 10
    );
    victim.kill();
    if Arc::ptr_eq(victim, &tasks::current()) {
        return false;
    }
    victim
        .joiners
        .wait_until_deadline(uptime_nanos() + PATIENCE_NANOS, || victim.exited.load(Ordering::Acquire));
    true
}

fn candidate(task: &Task) -> Candidate {
    Candidate { id: task.id.into(), bytes: task.held_bytes(), killable: task.killable, adjust: 0 }
}
