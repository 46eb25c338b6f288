//! A policy that can still be looked into after a simulation has used it up.

use sched::{Enqueue, Entity, Nanos, Pick, Policy, QueueError, RegisterError, TaskId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One of two handles to a policy.
pub(super) struct Shared<P>(Arc<Mutex<P>>);

impl<P> Clone for Shared<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> Shared<P> {
    pub(super) fn new(policy: P) -> Self {
        Self(Arc::new(Mutex::new(policy)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, P> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Policy> Policy for Shared<P> {
    fn name(&self) -> &'static str {
        self.lock().name()
    }

    fn register(&mut self, entity: &Entity, now: Nanos) -> Result<(), RegisterError> {
        self.lock().register(entity, now)
    }

    fn unregister(&mut self, task: TaskId) -> bool {
        self.lock().unregister(task)
    }

    fn enqueue(&mut self, entity: &Entity, why: Enqueue, now: Nanos) -> Result<(), QueueError> {
        self.lock().enqueue(entity, why, now)
    }

    fn dequeue(&mut self, task: TaskId) -> bool {
        self.lock().dequeue(task)
    }

    fn pick(&mut self, now: Nanos) -> Option<Pick> {
        self.lock().pick(now)
    }

    fn take(&mut self, task: TaskId, now: Nanos) -> Option<Nanos> {
        self.lock().take(task, now)
    }

    fn charge(&mut self, task: TaskId, ran: Nanos, now: Nanos) {
        self.lock().charge(task, ran, now);
    }

    fn preempts(&self, woken: TaskId, current: TaskId, now: Nanos) -> bool {
        self.lock().preempts(woken, current, now)
    }

    fn next_event(&self) -> Option<Nanos> {
        self.lock().next_event()
    }

    fn maintain(&mut self, now: Nanos) -> bool {
        self.lock().maintain(now)
    }

    fn knows(&self, task: TaskId) -> bool {
        self.lock().knows(task)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn for_each(&self, visit: &mut dyn FnMut(TaskId)) {
        self.lock().for_each(visit);
    }
}
