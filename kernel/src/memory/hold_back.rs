//! Holding growth back, as Linux's `memory.high` does: while a hold is in force, what killable tasks ask for through
//! [`shortage::alloc`], and the stacks of the threads that they start, goes at a [`Pace`], which all of them share.
//!
//! Who has to wait sleeps, and can be ended meanwhile. The kernel's own threads never wait here, nor does a request that cannot
//! wait, and nobody is kept from freeing. A hold is no stall in the sense of PSI: nobody looks for memory, there is some. When
//! memory is back, or its time is over and nobody renews it by a new [`hold`], it lets go step by step.

use super::{frames, shortage};
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use mm::{FRAME_SIZE, Pace};

/// What is available is looked at this often.
const LOOK_NANOS: u64 = 20_000_000;

/// Whether there is a hold: what every allocation looks at, without the lock. Changed under it.
static IN_FORCE: AtomicBool = AtomicBool::new(false);
static HOLD: IrqMutex<Option<Hold>> = IrqMutex::new(None);
static HOLDS: AtomicU64 = AtomicU64::new(0);
static HELD_NANOS: AtomicU64 = AtomicU64::new(0);
static WAITING: AtomicU32 = AtomicU32::new(0);

struct Hold {
    pace: Pace,
    /// When what is available was last looked at.
    looked: u64,
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
    let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let available = available();
    let mut hold = HOLD.lock();
    match &mut *hold {
        Some(hold) if hold.pace.is_tight(now) => {
            hold.pace.renew(now, duration);
            false
        }
        // One that lets go already, or whose end nobody has noticed for lack of requests, begins anew.
        hold => {
            let pace = Pace::begin(now, duration, available, frames::stats().total_frames);
            *hold = Some(Hold { pace, looked: now });
            IN_FORCE.store(true, Ordering::Release);
            HOLDS.fetch_add(1, Ordering::Relaxed);
            true
        }
    }
}

/// Ends the hold, if there is one.
pub fn release() {
    end(&mut HOLD.lock());
}

fn end(hold: &mut Option<Hold>) {
    *hold = None;
    IN_FORCE.store(false, Ordering::Release);
}

/// The state and the totals.
pub fn state() -> Held {
    Held {
        in_force: HOLD.lock().as_ref().is_some_and(|hold| hold.pace.is_tight(uptime_nanos())),
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
    let is_due = |hold: &Hold| now.saturating_sub(hold.looked) >= LOOK_NANOS;
    let due = HOLD.lock().as_ref().is_some_and(is_due);
    // Counted without the lock: it asks every cache.
    let available = due.then(available);
    let mut guard = HOLD.lock();
    let Some(hold) = &mut *guard else { return true };
    // Somebody else may have looked meanwhile.
    if let Some(available) = available
        && is_due(hold)
    {
        hold.pace.look(now, now.saturating_sub(hold.looked), available);
        hold.looked = now;
    }
    if hold.pace.is_over(now) {
        end(&mut guard);
        return true;
    }
    let allowed = hold.pace.allows();
    if allowed {
        hold.pace.take(pages);
    }
    allowed
}

fn available() -> u64 {
    frames::stats().free_frames + shortage::reclaimable() / FRAME_SIZE
}
