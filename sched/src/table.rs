//! Records by task id: a sorted array, so that a look-up needs no memory and no hashing.

use alloc::vec::Vec;
use core::cell::Cell;

use crate::{RegisterError, TaskId};

/// Ids whose rows are remembered, by their lowest bits.
const HINTS: usize = 64;

pub(crate) struct Table<T> {
    /// Sorted by id, each id once.
    rows: Vec<(TaskId, T)>,
    /// Where ids were found last. Whether they still are there is looked at each time.
    hints: [Cell<u16>; HINTS],
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { rows: Vec::new(), hints: [const { Cell::new(0) }; HINTS] }
    }

    /// Where the record is, until one comes or goes.
    pub(crate) fn position(&self, task: TaskId) -> Result<usize, usize> {
        let hint = &self.hints[task as usize % HINTS];
        let at = usize::from(hint.get());
        if self.rows.get(at).is_some_and(|row| row.0 == task) {
            return Ok(at);
        }
        let found = self.rows.binary_search_by_key(&task, |row| row.0)?;
        hint.set(found as u16);
        Ok(found)
    }

    /// Adds a record. The only call here that allocates.
    pub(crate) fn insert(&mut self, task: TaskId, record: T) -> Result<(), RegisterError> {
        match self.position(task) {
            Ok(_) => Err(RegisterError::Duplicate { task }),
            Err(at) => {
                self.rows.try_reserve(1).map_err(|_| RegisterError::NoMemory { task })?;
                self.rows.insert(at, (task, record));
                Ok(())
            }
        }
    }

    pub(crate) fn remove(&mut self, task: TaskId) -> Option<T> {
        self.position(task).ok().map(|at| self.rows.remove(at).1)
    }

    pub(crate) fn get(&self, task: TaskId) -> Option<&T> {
        self.position(task).ok().map(|at| &self.rows[at].1)
    }

    pub(crate) fn get_mut(&mut self, task: TaskId) -> Option<&mut T> {
        self.position(task).ok().map(|at| &mut self.rows[at].1)
    }

    /// The record at a position.
    pub(crate) fn at_mut(&mut self, position: usize) -> Option<&mut T> {
        self.rows.get_mut(position).map(|row| &mut row.1)
    }

    /// The record at a position, and whose it is.
    pub(crate) fn at(&self, position: usize) -> Option<(TaskId, &T)> {
        self.rows.get(position).map(|row| (row.0, &row.1))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &T)> {
        self.rows.iter().map(|(task, record)| (*task, record))
    }
}
