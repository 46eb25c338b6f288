//! Lines entered before.

use alloc::collections::VecDeque;
use alloc::string::String;

/// A bounded list of lines, oldest first, each at most once.
#[derive(Clone, Debug)]
pub struct History {
    lines: VecDeque<String>,
    capacity: usize,
}

impl History {
    /// Room for `capacity` lines.
    pub fn new(capacity: usize) -> Self {
        Self { lines: VecDeque::new(), capacity }
    }

    /// Adds the newest line. The same line further back is forgotten, so is the oldest when full. Blank
    /// lines are not kept.
    pub fn add(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || self.capacity == 0 {
            return;
        }
        self.lines.retain(|old| old != line);
        if self.lines.len() == self.capacity {
            self.lines.pop_front();
        }
        self.lines.push_back(String::from(line));
    }

    /// Lines kept.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Line `index`, 0 = oldest.
    pub fn get(&self, index: usize) -> Option<&str> {
        self.lines.get(index).map(String::as_str)
    }

    /// All lines, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Newest line before index `before` that contains `text`.
    pub fn search(&self, text: &str, before: usize) -> Option<usize> {
        (0..before.min(self.len())).rev().find(|&i| self.get(i).is_some_and(|line| line.contains(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn bounded_and_without_duplicates() {
        let mut history = History::new(3);
        for line in ["ps", "free", " ps ", "", "   ", "lspci", "uptime"] {
            history.add(line);
        }
        assert_eq!(history.iter().collect::<Vec<_>>(), ["ps", "lspci", "uptime"]);
        assert_eq!(history.search("s", 3), Some(1));
        assert_eq!(history.search("s", 1), Some(0));
        assert_eq!(history.search("free", 99), None);
    }
}
