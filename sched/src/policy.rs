//! The contract of a scheduling policy.

use core::any::Any;

use crate::{Entity, Nanos, QueueError, RegisterError, Standing, TaskId};

/// Why a task is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueue {
    /// It has just been made.
    New,
    /// It was queued on another CPU, and brings what the policy there knew of it ([`Entity::luggage`](crate::Entity::luggage)).
    Moved,
    /// It was blocked.
    Wakeup,
    /// It was running and the CPU was taken from it.
    Preempted,
    /// It was running and gave the CPU away: another queued task is to go first.
    Yielded,
}

/// What a task takes along to another CPU with the same policy, so that it is treated there as it would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Luggage {
    /// What it is owed, in virtual nanoseconds ([`Eevdf`](crate::Eevdf)).
    pub lag: i64,
    /// Where it stands among the levels ([`Mlfq`](crate::Mlfq)).
    pub standing: Standing,
}

/// The answer to "who runs next".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The task. It is no longer queued.
    pub task: TaskId,
    /// How long it may run before the policy wants to be asked again; at least 1.
    pub slice: Nanos,
}

/// Decides the order in which the runnable tasks of one class on one CPU run.
///
/// # Who calls it
/// A [`RunQueue`](crate::RunQueue), on behalf of the kernel, under that CPU's run queue lock, with interrupts off; all but
/// `register` and `unregister` also from interrupt handlers. So these must not block, allocate, panic or print, and must
/// take time bounded by the number of registered tasks. `register` may allocate: the kernel calls it from a task.
///
/// # A task's life
/// `register` → (`enqueue` → `pick` → `charge`*)* → `unregister`. A picked task is *running* until it is queued again, another task
/// is picked, or it is unregistered; a task that blocks is just not queued again. `charge` comes before the `enqueue`
/// that follows it.
///
/// # What may go wrong
/// Calls that name an unknown task, or do not fit its state, return the documented value and change nothing. `now` that goes
/// back is treated as standing still.
///
/// It is [`Any`] too, so that its owner can get at a guard's settings again behind a run queue's `dyn Policy`.
pub trait Policy: Any + Send {
    /// A short lower-case word for tables and commands.
    fn name(&self) -> &'static str;

    /// Makes room for a task, so that nothing after it needs memory.
    ///
    /// # Errors
    /// The id is taken, there is no memory, or the policy does not admit the task. Nothing has changed then.
    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError>;

    /// Forgets a task, queued or not. `false` when it was not registered.
    fn unregister(&mut self, task: TaskId) -> bool;

    /// What a queued task takes along when it moves to another CPU: to be asked before it is unregistered.
    fn luggage(&self, _task: TaskId) -> Luggage {
        Luggage::default()
    }

    /// The task is runnable and not running. The policy takes over its weight as it is now.
    ///
    /// # Errors
    /// It is not registered, or queued already.
    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError>;

    /// Takes a task out of the queue without running it. `false` when it was not queued.
    fn dequeue(&mut self, task: TaskId) -> bool;

    /// Takes the task that is to run next out of the queue; `None` when none may run now.
    fn pick(&mut self, now: Nanos) -> Option<Pick>;

    /// Another policy decided that `task` runs next: takes it out of the queue as [`pick`](Self::pick) would, and says for how long
    /// it may run. `None` when it is not queued here, or may not run now; nothing has changed then.
    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos>;

    /// The task has run for `ran` more nanoseconds, up to `now`. Unknown tasks are ignored.
    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos);

    /// Whether `woken`, just queued, should take the CPU from `current`, which has been charged up to `now`.
    /// `false` when one of them is unknown.
    fn preempts(&self, woken: TaskId, current: TaskId, now: Nanos) -> bool;

    /// When a task becomes eligible to run without anybody queueing it; `None` when that is not going to happen.
    fn next_event(&self) -> Option<Nanos> {
        None
    }

    /// One bounded step of work that no decision waits for (learning, scoring). Says whether there was any. To be called from a
    /// task, under the queue's lock, every few decisions; never from an interrupt handler.
    fn maintain(&mut self, _now: Nanos) -> bool {
        false
    }

    /// Whether the task is registered here.
    fn knows(&self, task: TaskId) -> bool;

    /// Number of queued tasks, those included that may not run now.
    fn len(&self) -> usize;

    /// Whether no task is queued.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with every queued task, in the order in which they would run if nothing changed.
    fn for_each(&self, visit: &mut dyn FnMut(TaskId));
}
