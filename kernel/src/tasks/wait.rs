//! Waiting for a condition that another thread or an interrupt brings about.

use super::task::{State, Task};
use super::{current, sleep, wake};
use crate::arch::time::uptime_nanos;
use crate::arch::traps::yield_cpu;
use crate::sync::IrqMutex;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use x86_64::instructions::interrupts::without_interrupts;

/// Threads waiting, first come first served.
pub struct WaitQueue {
    waiting: IrqMutex<VecDeque<Arc<Task>>>,
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { waiting: IrqMutex::new(VecDeque::new()) }
    }

    /// Blocks until `condition` holds. It is checked with interrupts off, before the first block too, and after
    /// every wake-up; whoever makes it true calls a `wake` *afterwards*.
    pub fn wait_until(&self, condition: impl FnMut() -> bool) {
        self.wait(None, condition);
    }

    /// As [`wait_until`](Self::wait_until), but gives up at `deadline` (nanoseconds since reset). Says whether the
    /// condition held.
    pub fn wait_until_deadline(&self, deadline: u64, condition: impl FnMut() -> bool) -> bool {
        self.wait(Some(deadline), condition)
    }

    fn wait(&self, deadline: Option<u64>, mut condition: impl FnMut() -> bool) -> bool {
        let task = current();
        loop {
            let done = without_interrupts(|| {
                // In this order: whoever finds the thread in the queue, and takes it out, finds it `Blocking` too and
                // keeps it from blocking. And whoever came too early to find it made its change before the queue's
                // lock was taken here, so that the condition sees it.
                task.set_state(State::Blocking);
                self.waiting.lock().push_back(task.clone());
                let holds = condition();
                let late = deadline.is_some_and(|deadline| uptime_nanos() >= deadline);
                if holds || late {
                    task.set_state(State::Running);
                } else {
                    if let Some(deadline) = deadline {
                        sleep::insert(deadline, task.clone());
                    }
                    yield_cpu();
                    if let Some(deadline) = deadline {
                        sleep::remove(deadline, &task);
                    }
                }
                self.waiting.lock().retain(|waiting| waiting.id != task.id);
                (holds || late).then_some(holds)
            });
            if let Some(held) = done {
                return held;
            }
        }
    }

    /// Wakes the thread that waits longest. Says whether there was one.
    pub fn wake_one(&self) -> bool {
        // The lock is let go first: waking takes the run queue's.
        let first = self.waiting.lock().pop_front();
        first.is_some_and(|task| wake(&task))
    }

    /// Wakes all that wait now.
    pub fn wake_all(&self) {
        let mut waiting = core::mem::take(&mut *self.waiting.lock());
        waiting.drain(..).for_each(|task| {
            wake(&task);
        });
    }
}
