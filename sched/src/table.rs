//! Records by task id: a sorted array of where they are, so that a look-up needs no memory and no hashing, and no record ever moves.

use alloc::vec::Vec;
use core::cell::Cell;

use crate::{RegisterError, TaskId};

/// Ids whose places are remembered, by their lowest bits.
const HINTS: usize = 64;

pub(crate) struct Table<T> {
    /// Ids and their places, sorted by id, each id once.
    index: Vec<(TaskId, u32)>,
    rows: Vec<Option<(TaskId, T)>>,
    /// Places without a record.
    free: Vec<u32>,
    /// Where ids were found last. Whether they still are there is looked at each time.
    hints: [Cell<u32>; HINTS],
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        let hints = [const { Cell::new(0) }; HINTS];
        Self { index: Vec::new(), rows: Vec::new(), free: Vec::new(), hints }
    }

    /// Where the record is, as long as it exists.
    pub(crate) fn position(&self, task: TaskId) -> Option<usize> {
        let hint = &self.hints[task as usize % HINTS];
        let at = hint.get() as usize;
        if self.at(at).is_some_and(|row| row.0 == task) {
            return Some(at);
        }
        let found = self.index.binary_search_by_key(&task, |entry| entry.0).ok()?;
        let at = self.index[found].1;
        hint.set(at);
        Some(at as usize)
    }

    /// Adds a record. The only call here that allocates.
    pub(crate) fn insert(&mut self, task: TaskId, record: T) -> Result<(), RegisterError> {
        let no_memory = |_| RegisterError::NoMemory { task };
        let Err(before) = self.index.binary_search_by_key(&task, |entry| entry.0) else {
            return Err(RegisterError::Duplicate { task });
        };
        self.index.try_reserve(1).map_err(no_memory)?;
        let at = match self.free.pop() {
            Some(at) => {
                self.rows[at as usize] = Some((task, record));
                at
            }
            None => {
                self.rows.try_reserve(1).map_err(no_memory)?;
                // Room for every place to become free.
                self.free.try_reserve(self.rows.len() + 1).map_err(no_memory)?;
                self.rows.push(Some((task, record)));
                self.rows.len() as u32 - 1
            }
        };
        self.index.insert(before, (task, at));
        Ok(())
    }

    pub(crate) fn remove(&mut self, task: TaskId) -> Option<T> {
        let found = self.index.binary_search_by_key(&task, |entry| entry.0).ok()?;
        let (_, at) = self.index.remove(found);
        // There is room: `insert` saw to it.
        self.free.push(at);
        self.rows[at as usize].take().map(|row| row.1)
    }

    pub(crate) fn get(&self, task: TaskId) -> Option<&T> {
        self.at(self.position(task)?).map(|row| row.1)
    }

    pub(crate) fn get_mut(&mut self, task: TaskId) -> Option<&mut T> {
        self.at_mut(self.position(task)?)
    }

    /// The record at a position.
    pub(crate) fn at_mut(&mut self, position: usize) -> Option<&mut T> {
        self.rows.get_mut(position)?.as_mut().map(|row| &mut row.1)
    }

    /// The record at a position, and whose it is.
    pub(crate) fn at(&self, position: usize) -> Option<(TaskId, &T)> {
        self.rows.get(position)?.as_ref().map(|row| (row.0, &row.1))
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &T)> {
        self.index.iter().filter_map(|entry| self.at(entry.1 as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_map_would() {
        let (mut table, mut map, mut state) = (Table::new(), alloc::collections::BTreeMap::new(), 1_u32);
        for round in 0..20_000_u32 {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let task = (state >> 16) % 200;
            match state >> 30 {
                0 => {
                    let new = !map.contains_key(&task);
                    assert_eq!(table.insert(task, round).is_ok(), new);
                    map.entry(task).or_insert(round);
                }
                1 => assert_eq!(table.remove(task), map.remove(&task)),
                _ => assert_eq!(table.get(task), map.get(&task)),
            }
        }
        assert_eq!(table.len(), map.len());
        assert!(table.iter().eq(map.iter().map(|(task, record)| (*task, record))));
    }
}
