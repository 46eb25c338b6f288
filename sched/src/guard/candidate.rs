//! The contract of a guarded policy.

use crate::{Nanos, Pick, Policy, TaskId};

/// A policy that can be guarded.
pub trait Candidate: Policy {
    /// Whom it would pick. Its queue stays as it is: the guard says with [`Policy::take`] whom it did.
    fn prefer(&mut self, now: Nanos) -> Option<Pick>;

    /// What it expects the burst that a task has just begun to take, in all.
    fn expected(&self, task: TaskId) -> Option<Nanos>;

    /// Whether all its numbers are finite.
    fn healthy(&self) -> bool;

    /// What it learns from next, taken away from the queue, and what came of that.
    type Lesson;

    /// What to learn from next; `None` when there is nothing. Short: what takes long is left to [`learn`](Self::learn).
    fn lesson(&mut self) -> Option<Self::Lesson>;

    /// Learns from it. Takes a while, and needs nothing but the lesson: so nobody's queue is locked meanwhile.
    fn learn(lesson: &mut Self::Lesson);

    /// A lesson comes back, learned.
    fn learned(&mut self, lesson: &Self::Lesson);

    /// Its numbers are not: back to the beginning, with the tasks that it has.
    fn restart(&mut self);
}
