//! Holding growth back, as Linux's `memory.high` does: while a hold is in force, what killable tasks ask for through
//! [`shortage::alloc`], and the stacks of the threads that they start, is paced. Together they get at
//! most 1/60 of the memory that is available *now* in a second, so that the less there is, the slower it goes.
//!
//! Who has to wait sleeps, and can be ended meanwhile. The kernel's own threads never wait here, nor does a request that
//! cannot wait, and nobody is kept from freeing. A hold is no stall in the sense of PSI: nobody looks for memory, there is
//! some. When memory is back, or its time is over and nobody renews it by a new [`hold`], it lets go step by step
//! (programs that come and go give memory back all the time, and would be at full speed again after a moment): a program that grows on does so faster and faster, but slowly enough to be foreseen again, and one that had nearly all
//! it wanted is no longer kept from it.

use super::{frames, shortage};
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use mm::FRAME_SIZE;

/// In a second this part of what is available may be taken.
const PART: u64 = 60;
/// After its time a hold allows twice as much with each of these steps, until it would allow more than `LOOSEST`.
const EASE_NANOS: u64 = 3_000_000_000;
const LOOSEST: u64 = 4;
/// A hold begins to let go when this part of all memory has come back.
const RECOVERED_PART: u64 = 50;
/// What is available is looked at this often.
const LOOK_NANOS: u64 = 20_000_000;
const SECOND: u64 = 1_000_000_000;

/// Looked at by every allocation.
static IN_FORCE: AtomicBool = AtomicBool::new(false);
static HOLD: IrqMutex<Hold> = IrqMutex::new(Hold { until: 0, enough: 0, looked: 0, allowed: 0 });
static HOLDS: AtomicU64 = AtomicU64::new(0);
static HELD_NANOS: AtomicU64 = AtomicU64::new(0);
static WAITING: AtomicU32 = AtomicU32::new(0);

struct Hold {
    /// When it begins to let go.
    until: u64,
    /// Pages available at which it begins to let go.
    enough: u64,
    /// When `allowed` was last filled.
    looked: u64,
    /// Millionths of pages that may still be taken; below 0 after a large request, which the next ones wait for.
    allowed: i64,
}

/// What holding back has done.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Whether a hold is in force; one that lets go is not.
    pub in_force: bool,
    /// Tasks that wait now.
    pub waiting: u32,
    /// Holds begun since boot; renewals are not counted.
    pub holds: u64,
    /// Time that tasks waited, added up.
    pub time: Duration,
}

/// Begins a hold, or renews the one in force, for this long, after which it lets go. Returns whether it began.
pub fn hold(duration: Duration) -> bool {
    let now = uptime_nanos();
    let available = available();
    let mut hold = HOLD.lock();
    // One that lets go already, or whose end nobody has noticed for lack of requests, begins anew.
    let began = !IN_FORCE.swap(true, Ordering::AcqRel) || !hold.is_tight(now);
    hold.until = now.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    if began {
        hold.enough = available + frames::stats().total_frames / RECOVERED_PART;
        (hold.looked, hold.allowed) = (now, 0);
        HOLDS.fetch_add(1, Ordering::Relaxed);
    }
    began
}

/// Ends the hold, if there is one.
pub fn release() {
    IN_FORCE.store(false, Ordering::Release);
}

/// The state and the totals.
pub fn state() -> Held {
    Held {
        in_force: IN_FORCE.load(Ordering::Acquire) && HOLD.lock().is_tight(uptime_nanos()),
        waiting: WAITING.load(Ordering::Relaxed),
        holds: HOLDS.load(Ordering::Relaxed),
        time: Duration::from_nanos(HELD_NANOS.load(Ordering::Relaxed)),
    }
}

/// Called before a thread takes `pages` for itself: has it wait while a hold is in force and the pace does not allow them.
/// Returns at once for all but killable tasks, and for one that has been asked to end.
pub fn pace(pages: u64) {
    if !IN_FORCE.load(Ordering::Acquire) {
        return;
    }
    let task = tasks::current();
    if !task.killable {
        return;
    }
    let start = uptime_nanos();
    WAITING.fetch_add(1, Ordering::Relaxed);
    while !task.is_killed() && !may_take(pages) {
        // Where many wait they look less often, lest looking be all that the CPUs do.
        let others = u64::from(WAITING.load(Ordering::Relaxed)) / 8;
        tasks::sleep_nanos(LOOK_NANOS * (1 + others.min(20)));
    }
    WAITING.fetch_sub(1, Ordering::Relaxed);
    HELD_NANOS.fetch_add(uptime_nanos().saturating_sub(start), Ordering::Relaxed);
}

fn may_take(pages: u64) -> bool {
    let now = uptime_nanos();
    let due = now.saturating_sub(HOLD.lock().looked) >= LOOK_NANOS;
    // Counted without the lock: it asks every cache.
    let available = due.then(available);
    let mut hold = HOLD.lock();
    if !IN_FORCE.load(Ordering::Acquire) {
        return true;
    }
    if available.is_some_and(|available| available >= hold.enough) {
        hold.until = hold.until.min(now);
    }
    let Some(part) = hold.part(now) else {
        IN_FORCE.store(false, Ordering::Release);
        return true;
    };
    if let Some(available) = available {
        hold.fill(now, available / part);
    }
    let allowed = hold.allowed > 0;
    if allowed {
        hold.allowed = hold.allowed.saturating_sub_unsigned(pages.saturating_mul(1_000_000));
    }
    allowed
}

impl Hold {
    /// In force, and not letting go.
    fn is_tight(&self, now: u64) -> bool {
        now < self.until
    }

    /// In a second this part of what is available may be taken now; `None` when the hold is over.
    fn part(&self, now: u64) -> Option<u64> {
        let steps = match now.checked_sub(self.until) {
            Some(late) => late / EASE_NANOS + 1,
            None => 0,
        };
        PART.checked_shr(u32::try_from(steps).unwrap_or(u32::MAX)).filter(|&part| part >= LOOSEST)
    }

    /// Allows what has become due of `pages` a second; at most a quarter of a second's worth is saved up.
    fn fill(&mut self, now: u64, pages: u64) {
        let a_second = pages.saturating_mul(1_000_000);
        let passed = now.saturating_sub(self.looked).min(SECOND / 4);
        let due = u128::from(a_second) * u128::from(passed) / u128::from(SECOND);
        let most = i64::try_from(a_second / 4).unwrap_or(i64::MAX);
        self.allowed = self.allowed.saturating_add(i64::try_from(due).unwrap_or(i64::MAX)).min(most);
        self.looked = now;
    }
}

fn available() -> u64 {
    frames::stats().free_frames + shortage::reclaimable() / FRAME_SIZE
}
