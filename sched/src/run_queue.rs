//! One CPU's run queue: the classes, asked in order.

use alloc::boxed::Box;

#[cfg(feature = "reservations")]
use crate::Reservations;
use crate::{Class, Enqueue, Entity, Luggage, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

/// The runnable tasks of one CPU: reservations first, then the fair class; when both have nothing the CPU idles.
///
/// How the kernel uses it, under the lock of this queue:
/// - a task comes to this CPU: [`register`](Self::register), then [`enqueue`](Self::enqueue) with [`Enqueue::New`] or [`Enqueue::Moved`];
/// - a task wakes: `charge` the running task, `enqueue` the woken one with [`Enqueue::Wakeup`], then ask
///   [`should_preempt`](Self::should_preempt); when that says no, see that it picks anew at
///   [`next_event`](Self::next_event) at the latest (the woken task may be throttled until then);
/// - the running task leaves the CPU: [`charge`](Self::charge) it, `enqueue` it if it is still runnable, and
///   [`pick`](Self::pick) the next;
/// - after each pick, arm the timer for its slice; when nobody was picked, for `next_event` if that is `Some`;
/// - a task ends or moves to another CPU: [`unregister`](Self::unregister).
pub struct RunQueue {
    #[cfg(feature = "reservations")]
    reservations: Reservations,
    fair: Box<dyn Policy>,
}

impl RunQueue {
    /// An empty run queue whose fair class is scheduled by `fair`.
    #[must_use]
    pub fn new(fair: Box<dyn Policy>) -> Self {
        Self {
            #[cfg(feature = "reservations")]
            reservations: Reservations::new(),
            fair,
        }
    }

    /// Gives a task of the fair class away to a CPU that has nothing to do: of those queued here that `may_move` (its affinity allows
    /// it), the one that would run last, with what it takes along. It is not registered here any more; [pack](Entity::pack) its luggage,
    /// register it there, and queue it as [`Enqueue::Moved`].
    pub fn give_away(&mut self, mut may_move: impl FnMut(TaskId) -> bool) -> Option<(TaskId, Luggage)> {
        let mut last = None;
        self.fair.for_each(&mut |task| {
            if may_move(task) {
                last = Some(task);
            }
        });
        let task = last?;
        let luggage = self.fair.luggage(task);
        self.fair.unregister(task).then_some((task, luggage))
    }

    /// Another policy for the fair class: it is told of every task, and which of them are queued, before it takes over. `tasks` are the
    /// entities of all tasks registered here; those of other classes and unknown ones are passed over. `running` is who has the CPU.
    /// Returns the old policy, which knows none of them any more.
    ///
    /// # Errors
    /// The new policy does not take one of the tasks; it is given back, knowing none. The old one stays, with nothing changed.
    pub fn set_policy(
        &mut self,
        mut fair: Box<dyn Policy>,
        tasks: &[Entity],
        running: Option<TaskId>,
        now: Nanos,
    ) -> Result<Box<dyn Policy>, (RegisterError, Box<dyn Policy>)> {
        let mine = || tasks.iter().filter(|entity| self.fair.knows(entity.id()));
        for entity in mine() {
            if let Err(error) = fair.register(entity, now) {
                mine().take_while(|other| other.id() != entity.id()).for_each(|other| {
                    fair.unregister(other.id());
                });
                return Err((error, fair));
            }
        }
        // The running task first: it is queued and taken, so that the new policy knows that it runs.
        if let Some(entity) = mine().find(|entity| Some(entity.id()) == running)
            && fair.enqueue(entity, Enqueue::New, now).is_ok()
        {
            fair.take(entity.id(), now);
        }
        self.fair.for_each(&mut |queued| {
            if let Some(entity) = tasks.iter().find(|entity| entity.id() == queued) {
                // It was registered just now, and is queued once.
                let _ = fair.enqueue(entity, Enqueue::New, now);
            }
        });
        let mut old = core::mem::replace(&mut self.fair, fair);
        tasks.iter().for_each(|entity| {
            old.unregister(entity.id());
        });
        Ok(old)
    }

    /// The fair class's policy.
    #[must_use]
    pub fn fair(&self) -> &dyn Policy {
        self.fair.as_ref()
    }

    /// The fair class's policy, for its settings; not for scheduling calls.
    pub fn fair_mut(&mut self) -> &mut dyn Policy {
        self.fair.as_mut()
    }

    /// Makes a task known to the class that its entity names; a reservation is admitted or refused here. May allocate: to be called
    /// from a task, not from an interrupt handler.
    ///
    /// # Errors
    /// The id is taken, there is no memory, or the reservation does not fit. Nothing has changed then.
    pub fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        if self.knows(entity.id()) {
            return Err(RegisterError::Duplicate { task: entity.id() });
        }
        match entity.class() {
            #[cfg(feature = "reservations")]
            Class::Reserved(_) => self.reservations.register(entity, now),
            Class::Fair => self.fair.register(entity, now),
        }
    }

    /// Forgets a task, whether it is queued, running or blocked. `false` when it was not registered.
    pub fn unregister(&mut self, task: TaskId) -> bool {
        self.class_of(task).unregister(task)
    }

    /// Moves a registered task to another class, or gives it another reservation; it stays queued, running or blocked as it is. Charge
    /// it up to `now` first if it is running. May allocate, as [`register`](Self::register).
    ///
    /// # Errors
    /// The reservation does not fit, or there is no memory: the task is in its old class then, and counts as new there.
    pub fn set_class(
        &mut self,
        entity: &mut Entity,
        class: Class,
        running: bool,
        now: Nanos,
    ) -> Result<(), RegisterError> {
        let (task, old) = (entity.id(), entity.class());
        let queued = self.dequeue(task);
        self.unregister(task);
        entity.set_class(class);
        let result = self.register(entity, now);
        if result.is_err() {
            entity.set_class(old);
            // Its place there is free still.
            self.register(entity, now)?;
        }
        if queued || running {
            let placed = self.enqueue(entity, Enqueue::New, now).is_ok();
            if placed && running {
                self.class_of(task).take(task, now);
            }
        }
        result
    }

    /// Queues a task that is runnable and not running.
    ///
    /// # Errors
    /// It is not registered here, or queued already. Nothing has changed then.
    pub fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        self.class_of(entity.id()).enqueue(entity, why, now)
    }

    /// Takes a task out of the queue without running it. `false` when it was not queued.
    pub fn dequeue(&mut self, task: TaskId) -> bool {
        self.class_of(task).dequeue(task)
    }

    /// Takes the task that runs next out of the queue, with the time after which to ask again. `None`: the CPU idles.
    ///
    /// The slice ends at [`next_event`](Self::next_event) at the latest, so that one timer is enough.
    pub fn pick(&mut self, now: Nanos) -> Option<Pick> {
        #[cfg(feature = "reservations")]
        let reserved = self.reservations.pick(now);
        #[cfg(not(feature = "reservations"))]
        let reserved: Option<Pick> = None;
        let Pick { task, slice } = match reserved {
            Some(pick) => pick,
            None => self.fair.pick(now)?,
        };
        let until_event = self.next_event().map_or(Nanos::MAX, |at| at.saturating_sub(now));
        Some(Pick { task, slice: slice.min(until_event).max(1) })
    }

    /// The task has run for `ran` more nanoseconds, up to `now`: call it whenever the task leaves the CPU (before it is queued
    /// again), and at any time between. Unknown tasks are ignored.
    pub fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.class_of(task).charge(task, ran, now);
    }

    /// Whether `woken`, just queued, should take the CPU from `current` (`None`: the CPU idles). Charge `current` up to `now` first.
    #[must_use]
    pub fn should_preempt(&self, woken: TaskId, current: Option<TaskId>, now: Nanos) -> bool {
        #[cfg(feature = "reservations")]
        if self.reservations.knows(woken) {
            let eligible = self.reservations.eligible(woken);
            return match current {
                Some(current) if self.reservations.knows(current) => {
                    self.reservations.preempts(woken, current, now)
                }
                _ => eligible,
            };
        }
        match current {
            None => self.fair.knows(woken),
            Some(current) => self.fair.preempts(woken, current, now),
        }
    }

    /// When a throttled reservation gets its next budget: somebody must pick then, even on an idle CPU.
    #[must_use]
    pub fn next_event(&self) -> Option<Nanos> {
        #[cfg(feature = "reservations")]
        let reserved = self.reservations.next_event();
        #[cfg(not(feature = "reservations"))]
        let reserved: Option<Nanos> = None;
        reserved.into_iter().chain(self.fair.next_event()).min()
    }

    /// One bounded step of the policy's work that no decision waits for; see [`Policy::maintain`].
    pub fn maintain(&mut self, now: Nanos) -> bool {
        self.fair.maintain(now)
    }

    /// Whether the task is registered here.
    #[must_use]
    pub fn knows(&self, task: TaskId) -> bool {
        #[cfg(feature = "reservations")]
        if self.reservations.knows(task) {
            return true;
        }
        self.fair.knows(task)
    }

    /// Number of queued tasks, throttled ones included; the running task is not queued.
    #[must_use]
    pub fn len(&self) -> usize {
        #[cfg(feature = "reservations")]
        let reserved = self.reservations.len();
        #[cfg(not(feature = "reservations"))]
        let reserved = 0;
        reserved + self.fair.len()
    }

    /// Whether no task is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with every queued task, in the order in which they would run if nothing changed.
    pub fn for_each(&self, mut visit: impl FnMut(TaskId)) {
        #[cfg(feature = "reservations")]
        self.reservations.for_each(&mut visit);
        self.fair.for_each(&mut visit);
    }

    /// Name of the fair class's policy.
    #[must_use]
    pub fn policy_name(&self) -> &'static str {
        self.fair.name()
    }

    /// The servers of this CPU, for tables.
    #[cfg(feature = "reservations")]
    #[must_use]
    pub fn reservations(&self) -> &Reservations {
        &self.reservations
    }

    /// The policy that knows the task; the fair one for a task that nobody knows, which then says so.
    fn class_of(&mut self, task: TaskId) -> &mut dyn Policy {
        #[cfg(feature = "reservations")]
        if self.reservations.knows(task) {
            return &mut self.reservations;
        }
        #[cfg(not(feature = "reservations"))]
        let _ = task;
        self.fair.as_mut()
    }
}
