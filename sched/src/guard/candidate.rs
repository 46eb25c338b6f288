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

    /// Its numbers are not: back to the beginning, with the tasks that it has.
    fn restart(&mut self);
}
