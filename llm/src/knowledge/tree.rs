//! The packed form of an ID database: a tree of three levels in read-only bytes, searched in place.
//!
//! Each level is an array of 12-byte records in the order of their parents, siblings sorted by key: key, where
//! the name begins in the text, index of the first child in the level below (little-endian `u32`s). Names and
//! children of a record end where those of the next begin; a last record ends the array. No set-up, no heap.

/// One database, as `build.rs` writes it.
pub(super) struct Tree {
    pub levels: [&'static [u8]; 3],
    pub text: &'static str,
}

/// A record found, and where: its position is what its children are found by.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub key: u32,
    pub name: &'static str,
    level: usize,
    at: usize,
}

#[derive(Clone, Copy)]
struct Record {
    key: u32,
    name: usize,
    child: usize,
}

impl Tree {
    /// All entries of the top level.
    pub fn roots(&'static self) -> impl Iterator<Item = Entry> {
        (0..self.len(0)).filter_map(|at| self.entry(0, at))
    }

    /// The top entry of `key`.
    pub fn root(&'static self, key: u32) -> Option<Entry> {
        self.search(0, 0..self.len(0), key)
    }

    /// All entries below `parent`.
    pub fn children(&'static self, parent: Entry) -> impl Iterator<Item = Entry> {
        self.range_below(parent).filter_map(move |at| self.entry(parent.level + 1, at))
    }

    /// The entry of `key` below `parent`.
    pub fn child(&'static self, parent: Entry, key: u32) -> Option<Entry> {
        self.search(parent.level + 1, self.range_below(parent), key)
    }

    fn len(&self, level: usize) -> usize {
        self.levels.get(level).map_or(0, |records| (records.len() / 12).saturating_sub(1))
    }

    fn record(&self, level: usize, at: usize) -> Option<Record> {
        let chunk = self.levels.get(level)?.as_chunks::<12>().0.get(at)?;
        let word = |i: usize| chunk.get(i..i + 4)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        Some(Record { key: word(0)?, name: word(4)? as usize, child: word(8)? as usize })
    }

    fn entry(&'static self, level: usize, at: usize) -> Option<Entry> {
        let (record, next) = (self.record(level, at)?, self.record(level, at + 1)?);
        let name = self.text.get(record.name..next.name)?;
        Some(Entry { key: record.key, name, level, at })
    }

    fn range_below(&self, parent: Entry) -> core::ops::Range<usize> {
        let child = |at| self.record(parent.level, at).map_or(0, |record| record.child);
        child(parent.at)..child(parent.at + 1)
    }

    /// Binary search among siblings.
    fn search(&'static self, level: usize, range: core::ops::Range<usize>, key: u32) -> Option<Entry> {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.record(level, middle)?.key.cmp(&key) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Equal => return self.entry(level, middle),
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// The database that `build.rs` wrote under `$name`.
macro_rules! tree {
    ($name:literal) => {
        Tree {
            levels: [
                include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".0")),
                include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".1")),
                include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".2")),
            ],
            text: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".txt")),
        }
    };
}
pub(super) use tree;
