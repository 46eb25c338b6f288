//! What happens when memory is short: reclaim in the background below the low mark; and for an allocation that would
//! fail, reclaim, compaction, and at last the end of a task that agreed to be ended.
//!
//! Only threads may wait for memory: for page blocks through [`alloc()`], and for the heap, where they wait unless they
//! hold a lock ([`wait_for_heap`]). What frees memory for others ([`Freeing`]) never waits, and takes from the reserves.
//! Page tables and stacks come from the emergency frames, at once or not at all.

use super::heap::{self, Depth};
use super::{OutOfMemory, compaction, frames, stack};
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
use sched::TaskId;

/// Caches that can give memory back.
pub const SHRINKERS: usize = 8;
/// The background thread looks at the marks this often.
const PERIOD_NANOS: u64 = 50_000_000;
/// Reclaim frees at least this much when it is called at all.
const LEAST: u64 = 64 * FRAME_SIZE;
/// How long the end of a task may take before another one is chosen.
const PATIENCE_NANOS: u64 = 5_000_000_000;
/// Reclaims in a row that free something and still do not help; then a task is ended (Linux: MAX_RECLAIM_RETRIES).
const MOST_RECLAIMS: u32 = 16;
/// Blocks are refused at last, after so many ends of tasks.
const MOST_ENDS: u32 = 16;
/// The heap refuses only requests above this size, of threads that report it, and those of threads that can start again.
const SMALL: usize = 64 << 10;
/// Where nothing can be freed, the heap looks again after this time...
const PAUSE_NANOS: u64 = 10_000_000;
/// ...looks for a task to end again after this time...
const CHOICE_NANOS: u64 = 1_000_000_000;
/// ...and refuses what it may refuse after this time.
const HEAP_PATIENCE_NANOS: u64 = 3_000_000_000;

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

/// The heap's idle memory.
struct IdleHeap;

impl Shrinker for IdleHeap {
    fn name(&self) -> &'static str {
        "idle heap"
    }

    fn count(&self) -> u64 {
        heap::idle_bytes()
    }

    fn shrink(&self, _bytes: u64) -> u64 {
        heap::trim()
    }
}

/// While it lives, the calling thread frees memory for others: it does not wait for memory, and may use the reserves.
pub(super) struct Freeing(Arc<Task>);

impl Freeing {
    /// From here on.
    pub(super) fn begin() -> Self {
        let task = tasks::current();
        task.freeing.fetch_add(1, Ordering::Relaxed);
        Self(task)
    }
}

impl Drop for Freeing {
    fn drop(&mut self) {
        self.0.freeing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Threads that live in a [`MayRefuse`].
static REFUSABLE: IrqMutex<heapless::Vec<TaskId, 16>> = IrqMutex::new(heapless::Vec::new());

/// While it lives, the heap may refuse the calling thread requests above 64 KiB, for it reports such failures. All others
/// wait for what they ask, for most of the kernel cannot report that there is none.
#[cfg_attr(not(feature = "llm"), allow(dead_code, reason = "only the model's loader reports it"))]
pub struct MayRefuse(TaskId);

#[cfg_attr(not(feature = "llm"), allow(dead_code, reason = "as above"))]
impl MayRefuse {
    /// From here on. Where too many threads are in one, this one waits as all others do.
    pub fn begin() -> Self {
        let id = tasks::current().id;
        let _ = REFUSABLE.lock().push(id);
        Self(id)
    }
}

impl Drop for MayRefuse {
    fn drop(&mut self) {
        let mut refusable = REFUSABLE.lock();
        if let Some(at) = refusable.iter().position(|&id| id == self.0) {
            refusable.swap_remove(at);
        }
    }
}

/// Starts the background thread. Once, with threads running.
pub fn start() -> Result<(), SpawnError> {
    register(&SpareStacks);
    register(&IdleHeap);
    crate::log::register_shrinker();
    heap::start_caching();
    tasks::spawn("reclaim", tasks::Options::default(), || {
        loop {
            WAKE.wait_until_deadline(uptime_nanos() + PERIOD_NANOS, || WANTED.swap(false, Ordering::AcqRel));
            if frames::pressure() >= Pressure::Low {
                heap::stop_caching();
                let missing = frames::with_zones(|zones| zones.shortage()).unwrap_or(0);
                reclaim((missing * FRAME_SIZE).max(LEAST));
            } else {
                heap::keep_in_order();
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
    let _freeing = Freeing::begin();
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
    let attempt = || frames::alloc(order, kind).ok();
    for _ in 0..MOST_ENDS {
        if task.is_killed() {
            break;
        }
        if let Some(block) = attempt().or_else(|| free_until(order, attempt)) {
            return Ok(block);
        }
        match stalled(|| end_a_task(order)) {
            Choice::Ended => {}
            Choice::Caller => break,
            Choice::Nobody => {
                ran_out(order);
                break;
            }
        }
    }
    Err(refused)
}

/// Memory for the heap, for a thread that can wait, after the ordinary way has failed. `attempt` tries to get it.
///
/// Requests wait for as long as it takes. Where there is nothing to free and nobody to end, those of a thread that can start
/// again ([`tasks::Options::restart`]) are refused after a while, and large ones of a thread that reports that ([`MayRefuse`]).
pub fn wait_for_heap<R>(bytes: usize, attempt: &mut dyn FnMut(Depth) -> Option<R>) -> Option<R> {
    let task = tasks::current();
    if task.is_killed() || task.is_freeing() {
        return attempt(Depth::Reserve);
    }
    let order = bytes.div_ceil(FRAME_SIZE as usize).next_power_of_two().ilog2() as usize;
    let reports = bytes > SMALL && REFUSABLE.lock().contains(&task.id);
    let may_refuse = reports || task.restart.is_some();
    let start = uptime_nanos();
    let mut choose_at = start;
    loop {
        let ordinary = || attempt(Depth::Ordinary);
        if let Some(found) = free_until(order, ordinary) {
            return Some(found);
        }
        let choose = uptime_nanos() >= choose_at;
        if choose && stalled(|| end_a_task(order)) == Choice::Ended {
            continue;
        }
        let found = attempt(match task.restart {
            _ if task.is_killed() => Depth::Reserve,
            Some(_) => Depth::Own,
            None => Depth::Emergency,
        });
        if found.is_some() {
            return found;
        }
        if choose {
            ran_out(order);
            choose_at = uptime_nanos() + CHOICE_NANOS;
        }
        if may_refuse && uptime_nanos() > start + HEAP_PATIENCE_NANOS {
            return None;
        }
        stalled(|| tasks::sleep_nanos(PAUSE_NANOS));
    }
}

/// Reclaims and compacts until `attempt` succeeds, or nothing is gained any more.
fn free_until<R>(order: usize, mut attempt: impl FnMut() -> Option<R>) -> Option<R> {
    WANTED.store(true, Ordering::Release);
    WAKE.wake_one();
    for _ in 0..MOST_RECLAIMS {
        let freed = stalled(|| {
            let freed = reclaim(LEAST.max(FRAME_SIZE << order.min(mm::MAX_ORDER))).freed;
            if order > 0 {
                compaction::run(Goal::Order(order));
            }
            // What the CPUs keep was free before: no progress by itself. But it may be what is wanted.
            heap::stop_caching();
            frames::drain_caches();
            freed
        });
        let found = attempt();
        if found.is_some() || freed == 0 {
            return found;
        }
    }
    None
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

/// What came of ending a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// One has ended, or is ending: it is worth trying again.
    Ended,
    /// It is the calling one, which is to end by itself.
    Caller,
    /// There is none, or no need for one.
    Nobody,
}

/// Memory has run out: ends the task whose end frees most, and waits for it.
fn end_a_task(order: usize) -> Choice {
    if CHOOSING.swap(true, Ordering::AcqRel) {
        // Somebody is at it.
        tasks::sleep_nanos(5_000_000);
        return Choice::Ended;
    }
    let choice = choose_and_end(order);
    CHOOSING.store(false, Ordering::Release);
    choice
}

/// Whether there is memory for such a request after all: it was refused for another reason (an injected failure), or
/// somebody has just freed it.
fn is_there(order: usize) -> bool {
    let there = |zones: &mut mm::Zones<'static>| {
        zones.pressure() == Pressure::None && zones.stats().largest_free_order >= Some(order)
    };
    frames::with_zones(there).unwrap_or(false)
}

fn choose_and_end(order: usize) -> Choice {
    if is_there(order) {
        return Choice::Nobody;
    }
    let _freeing = Freeing::begin();
    let all = tasks::all();
    let candidates = all.iter().filter(|task| !task.is_killed()).map(|task| candidate(task));
    let chosen = oom::pick(candidates);
    let Some(victim) = chosen.and_then(|one| all.iter().find(|task| u64::from(task.id) == one.id)) else {
        return Choice::Nobody;
    };
    count_oom();
    KILLS.fetch_add(1, Ordering::Relaxed);
    let stats = frames::stats();
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
        return Choice::Caller;
    }
    victim
        .joiners
        .wait_until_deadline(uptime_nanos() + PATIENCE_NANOS, || victim.exited.load(Ordering::Acquire));
    Choice::Ended
}

fn count_oom() {
    LAST_OOM.store(uptime_nanos(), Ordering::Relaxed);
    OOMS.fetch_add(1, Ordering::Relaxed);
}

/// A request is refused, with nobody to end: counts and reports it, unless there is memory after all.
fn ran_out(order: usize) {
    if is_there(order) {
        return;
    }
    count_oom();
    let stats = frames::stats();
    log::warn!(
        "MM: out of memory for order {order}: {} of {} KiB free, nothing to reclaim, no task to end",
        stats.free_bytes() >> 10,
        stats.total_bytes() >> 10
    );
}

fn candidate(task: &Task) -> Candidate {
    Candidate { id: task.id.into(), bytes: task.held_bytes(), killable: task.killable }
}
