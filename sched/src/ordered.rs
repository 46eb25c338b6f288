//! Queued tasks in order of a key: a virtual time, a deadline, or the time at which they came.

use alloc::vec::Vec;

use crate::{RegisterError, TaskId};

/// A sorted array. Adding and removing is a binary search and a shift of 16 bytes per task behind it: for the hundreds of tasks of one
/// CPU's queue that beats a tree, and never allocates once [`reserve`](Self::reserve) has made room. Who is queued now is mostly
/// due late, near the end; and to shift all, when the first goes, is a copy towards the front, which is quick.
pub(crate) struct Ordered {
    /// Ascending by (key, task).
    tasks: Vec<(u64, TaskId)>,
}

impl Ordered {
    pub(crate) const fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    /// Makes room for `tasks` tasks in all; `task` is named in the error.
    pub(crate) fn reserve(&mut self, tasks: usize, task: TaskId) -> Result<(), RegisterError> {
        let more = tasks.saturating_sub(self.tasks.len());
        self.tasks.try_reserve(more).map_err(|_| RegisterError::NoMemory { task })
    }

    /// Adds a task that is not queued; equal keys are served in order of id.
    pub(crate) fn insert(&mut self, key: u64, task: TaskId) {
        if self.tasks.last().is_none_or(|last| *last < (key, task)) {
            self.tasks.push((key, task));
        } else if let Err(at) = self.tasks.binary_search(&(key, task)) {
            self.tasks.insert(at, (key, task));
        }
    }

    pub(crate) fn remove(&mut self, key: u64, task: TaskId) -> bool {
        if self.first() == Some((key, task)) {
            self.tasks.remove(0);
            return true;
        }
        let found = self.tasks.binary_search(&(key, task));
        if let Ok(at) = found {
            self.tasks.remove(at);
        }
        found.is_ok()
    }

    /// Smallest key and its task.
    pub(crate) fn first(&self) -> Option<(u64, TaskId)> {
        self.tasks.first().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The tasks, smallest key first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().map(|queued| queued.1)
    }
}
