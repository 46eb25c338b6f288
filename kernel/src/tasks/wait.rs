//! Waiting for a condition that another thread or an interrupt brings about.
//!
//! A queue is linked through the threads themselves, so waiting needs no memory. A thread is in one queue at most, once.

use super::task::{State, Task};
use super::{current, sleep, wake};
use crate::arch::time::uptime_nanos;
use crate::arch::traps::yield_cpu;
use crate::sync::IrqMutex;
use alloc::sync::Arc;
use core::ptr::{self, NonNull};
use x86_64::instructions::interrupts::without_interrupts;

/// Threads waiting, first come first served.
pub struct WaitQueue {
    waiting: IrqMutex<List>,
}

/// Threads linked by [`Task::next_waiting`], which only the list's owner touches.
struct List {
    first: Option<Arc<Task>>,
    /// In the list.
    last: Option<NonNull<Task>>,
}

// SAFETY: `last` points to a task that the list keeps alive, and tasks are `Sync`.
unsafe impl Send for List {}

impl List {
    fn push(&mut self, task: Arc<Task>) {
        let new = NonNull::from(&*task);
        match self.last {
            // SAFETY: in the list, so alive, and its link is the list's.
            Some(last) => unsafe { *last.as_ref().next_waiting.get() = Some(task) },
            None => self.first = Some(task),
        }
        self.last = Some(new);
    }

    fn pop(&mut self) -> Option<Arc<Task>> {
        let first = self.first.take()?;
        // SAFETY: in the list until here, so its link is the list's.
        self.first = unsafe { (*first.next_waiting.get()).take() };
        if self.first.is_none() {
            self.last = None;
        }
        Some(first)
    }

    /// Takes a thread out, if it is in.
    fn remove(&mut self, task: &Task) {
        let (mut link, mut before): (*mut Option<Arc<Task>>, _) = (&raw mut self.first, None);
        // SAFETY: the links of threads in the list are the list's, and nobody else changes it now.
        unsafe {
            while let Some(one) = &*link {
                let here = NonNull::from(&**one);
                if ptr::eq(here.as_ptr(), task) {
                    *link = (*task.next_waiting.get()).take();
                    if self.last == Some(here) {
                        self.last = before;
                    }
                    return;
                }
                before = Some(here);
                link = one.next_waiting.get();
            }
        }
    }

    fn len(&self) -> usize {
        let (mut count, mut link) = (0, &self.first);
        while let Some(one) = link {
            count += 1;
            // SAFETY: as in `remove`.
            link = unsafe { &*one.next_waiting.get() };
        }
        count
    }
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> Self {
        Self { waiting: IrqMutex::new(List { first: None, last: None }) }
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
                self.waiting.lock().push(task.clone());
                let holds = condition();
                let late = deadline.is_some_and(|deadline| uptime_nanos() >= deadline);
                if holds || late {
                    task.set_state(State::Running);
                } else {
                    let place = deadline.map(|deadline| (sleep::insert(deadline, task.clone()), deadline));
                    yield_cpu();
                    if let Some((cpu, deadline)) = place {
                        sleep::remove(cpu, deadline, &task);
                    }
                }
                self.waiting.lock().remove(&task);
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
        let first = self.waiting.lock().pop();
        first.is_some_and(|task| wake(&task))
    }

    /// Wakes all that wait now.
    pub fn wake_all(&self) {
        let count = self.waiting.lock().len();
        // One by one: a thread that is in no queue any more may enter the next one at once.
        for _ in 0..count {
            let first = self.waiting.lock().pop();
            let Some(task) = first else { return };
            wake(&task);
        }
    }
}
