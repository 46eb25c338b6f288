//! Threads that wait for a time, one list per CPU, looked at by its timer interrupt.
//!
//! There is room for every thread in each of them from its start on, so going to sleep needs no memory. A thread stands in one list at
//! most: that of the CPU on which it went to sleep. It may be woken early and taken to another CPU; then it takes itself out there.

use super::current;
use super::switch::wake_that_was_due;
use super::task::{State, Task};
use crate::arch::percpu::{self, MAX_CPUS, this_cpu};
use crate::arch::time::uptime_nanos;
use crate::arch::traps;
use crate::sync::IrqMutex;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use sched::TaskId;
use x86_64::instructions::interrupts::without_interrupts;

struct Sleeper {
    deadline: u64,
    task: Arc<Task>,
}

impl Sleeper {
    /// They stand in this order: who is due first comes last.
    fn key(&self) -> Reverse<(u64, TaskId)> {
        Reverse((self.deadline, self.task.id))
    }
}

static SLEEPERS: [IrqMutex<Vec<Sleeper>>; MAX_CPUS] = [const { IrqMutex::new(Vec::new()) }; MAX_CPUS];

/// Sees to it that so many threads can sleep on every CPU; `false` when there is no memory.
pub(super) fn make_room(threads: usize) -> bool {
    SLEEPERS.iter().take(percpu::count()).all(|sleepers| {
        let mut sleepers = sleepers.lock();
        let more = threads.saturating_sub(sleepers.len());
        sleepers.try_reserve(more).is_ok()
    })
}

/// Sleeps for at least `nanos`.
pub fn sleep_nanos(nanos: u64) {
    let deadline = uptime_nanos().saturating_add(nanos);
    let task = current();
    while uptime_nanos() < deadline {
        without_interrupts(|| {
            task.set_state(State::Blocking);
            let place = insert(deadline, task.clone());
            traps::yield_cpu();
            remove(place, deadline, &task);
        });
    }
}

/// Has `task` woken at `deadline` by the CPU that runs this; returns that CPU. Interrupts are off.
pub(super) fn insert(deadline: u64, task: Arc<Task>) -> usize {
    let sleeper = Sleeper { deadline, task };
    let cpu = this_cpu().index;
    let mut sleepers = SLEEPERS[cpu].lock();
    let at = sleepers.partition_point(|other| other.key() < sleeper.key());
    sleepers.insert(at, sleeper);
    cpu
}

/// Takes back what [`insert`] did on `cpu`, if it has not come true yet.
pub(super) fn remove(cpu: usize, deadline: u64, task: &Task) {
    let mut sleepers = SLEEPERS[cpu].lock();
    if let Ok(at) = sleepers.binary_search_by_key(&Reverse((deadline, task.id)), Sleeper::key) {
        sleepers.remove(at);
    }
}

/// Wakes what is due on this CPU. In the timer interrupt.
pub(super) fn wake_due(now: u64) {
    let sleepers = &SLEEPERS[this_cpu().index];
    loop {
        let due = {
            let mut sleepers = sleepers.lock();
            sleepers.pop_if(|last| last.deadline <= now)
        };
        match due {
            Some(sleeper) => wake_that_was_due(&sleeper.task, Some(sleeper.deadline)),
            None => return,
        };
    }
}

/// When the next sleeper of this CPU is due.
pub(super) fn next_deadline() -> Option<u64> {
    SLEEPERS[this_cpu().index].lock().last().map(|first| first.deadline)
}
