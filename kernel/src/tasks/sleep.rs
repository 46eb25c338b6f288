//! Threads that wait for a time, one list per CPU, looked at by its timer interrupt.

use super::task::{State, Task};
use super::{current, wake};
use crate::arch::percpu::{MAX_CPUS, this_cpu};
use crate::arch::time::uptime_nanos;
use crate::arch::traps;
use crate::sync::IrqMutex;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use sched::TaskId;
use x86_64::instructions::interrupts::without_interrupts;

type Sleepers = BTreeMap<(u64, TaskId), Arc<Task>>;

static SLEEPERS: [IrqMutex<Sleepers>; MAX_CPUS] = [const { IrqMutex::new(BTreeMap::new()) }; MAX_CPUS];

/// Sleeps for at least `nanos`.
pub fn sleep_nanos(nanos: u64) {
    let deadline = uptime_nanos().saturating_add(nanos);
    let task = current();
    while uptime_nanos() < deadline {
        without_interrupts(|| {
            task.set_state(State::Blocking);
            insert(deadline, task.clone());
            traps::yield_cpu();
            remove(deadline, &task);
        });
    }
}

/// Has `task` woken at `deadline` by its CPU, which runs this. Interrupts are off.
pub(super) fn insert(deadline: u64, task: Arc<Task>) {
    SLEEPERS[task.cpu].lock().insert((deadline, task.id), task);
}

/// Takes back what [`insert`] did, if it has not come true yet.
pub(super) fn remove(deadline: u64, task: &Task) {
    SLEEPERS[task.cpu].lock().remove(&(deadline, task.id));
}

/// Wakes what is due on this CPU. In the timer interrupt.
pub(super) fn wake_due(now: u64) {
    let sleepers = &SLEEPERS[this_cpu().index];
    loop {
        let due = {
            let mut sleepers = sleepers.lock();
            match sleepers.first_key_value() {
                Some((&(deadline, _), _)) if deadline <= now => sleepers.pop_first(),
                _ => None,
            }
        };
        match due {
            Some((_, task)) => wake(&task),
            None => return,
        };
    }
}

/// When the next sleeper of this CPU is due.
pub(super) fn next_deadline() -> Option<u64> {
    SLEEPERS[this_cpu().index].lock().first_key_value().map(|(&(deadline, _), _)| deadline)
}
