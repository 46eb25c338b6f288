//! Shortest remaining processing time: what a policy could do that knew the future.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::ordered::Ordered;
use crate::table::Table;
use crate::{Enqueue, Entity, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};

/// What is left of every task's burst: written by the simulator, read by the oracle.
#[derive(Debug, Clone)]
pub struct Remaining(Arc<[AtomicU64]>);

impl Remaining {
    pub(super) fn new(tasks: usize) -> Self {
        Self((0..tasks).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().into())
    }

    pub(super) fn set(&self, task: TaskId, time: Nanos) {
        if let Some(slot) = self.0.get(task as usize) {
            slot.store(time, Relaxed);
        }
    }

    pub(super) fn spend(&self, task: TaskId, time: Nanos) {
        self.set(task, self.of(task).saturating_sub(time));
    }

    /// What is left of a task's burst.
    #[must_use]
    pub fn of(&self, task: TaskId) -> Nanos {
        self.0.get(task as usize).map_or(0, |slot| slot.load(Relaxed))
    }
}

/// The oracle. Weights do not count.
pub struct Srpt {
    remaining: Remaining,
    /// The key in the queue of every registered task, while it is queued.
    keys: Table<Option<Nanos>>,
    queue: Ordered,
}

impl Srpt {
    /// An empty queue.
    #[must_use]
    pub fn new(remaining: &Remaining) -> Self {
        Self { remaining: remaining.clone(), keys: Table::new(), queue: Ordered::new() }
    }
}

impl Policy for Srpt {
    fn name(&self) -> &'static str {
        "srpt oracle"
    }

    fn register(&mut self, entity: &Entity, _now: Nanos) -> Result<(), RegisterError> {
        let task = entity.id();
        self.queue.reserve(self.keys.len() + 1, task)?;
        self.keys.insert(task, None)
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.dequeue(task);
        self.keys.remove(task).is_some()
    }

    fn enqueue(&mut self, entity: &Entity, _why: Enqueue, _now: Nanos) -> Result<(), QueueError> {
        let task = entity.id();
        let key = self.keys.get_mut(task).ok_or(QueueError::Unknown { task })?;
        if key.is_some() {
            return Err(QueueError::AlreadyQueued { task });
        }
        let left = self.remaining.of(task);
        *key = Some(left);
        self.queue.insert(left, task);
        Ok(())
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        let key = self.keys.get_mut(task).and_then(Option::take);
        key.is_some_and(|key| self.queue.remove(key, task))
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        let (_, task) = self.queue.first()?;
        Some(Pick { task, slice: self.take(task, now)? })
    }

    fn take(&mut self, task: TaskId, _now: Nanos) -> Option<Nanos> {
        self.dequeue(task).then_some(Nanos::MAX)
    }

    fn charge(&mut self, _task: TaskId, _ran: Nanos, _now: Nanos) {}

    fn preempts(&self, woken: TaskId, current: TaskId, _now: Nanos) -> bool {
        self.remaining.of(woken) < self.remaining.of(current)
    }

    fn knows(&self, task: TaskId) -> bool {
        self.keys.get(task).is_some()
    }

    fn len(&self) -> usize {
        self.queue.len()
    }

    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.queue.iter().for_each(visit);
    }
}
