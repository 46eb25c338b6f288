//! Lists of pageblocks with free memory, doubly linked through their descriptors.

use crate::pageblock::Pageblocks;
use crate::{Frame, MAX_ORDER, MigrateType, ORDERS};

/// "No pageblock" in a link.
const NIL: u32 = u32::MAX;

/// Which list a pageblock is on: that of its type and its *largest* free block, while it is partly used; or that of
/// the free block of one or more whole pageblocks that it is the first of. A wholly free pageblock has no type: it
/// takes that of whoever breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Typed(MigrateType),
    Whole,
}

const GROUPS: usize = MigrateType::ALL.len() + 1;

impl Group {
    fn index(self) -> usize {
        match self {
            Self::Typed(kind) => kind as usize,
            Self::Whole => GROUPS - 1,
        }
    }
}

/// Invariants: `first` and `last` are `NIL` together;
/// bit `o` of `present[g]` is set exactly when list `o` of group `g` is not empty.
pub(crate) struct FreeLists {
    first: [[u32; ORDERS]; GROUPS],
    last: [[u32; ORDERS]; GROUPS],
    present: [u32; GROUPS],
    pageblocks: Pageblocks,
}

impl FreeLists {
    pub(crate) const fn new(pageblocks: Pageblocks) -> Self {
        Self {
            first: [[NIL; ORDERS]; GROUPS],
            last: [[NIL; ORDERS]; GROUPS],
            present: [0; GROUPS],
            pageblocks,
        }
    }

    /// Puts a pageblock on a list: at the front, to be used next, if it is lower than what is there; else at the back.
    /// So lower memory is preferred as far as that costs nothing, and use stays together at one end.
    pub(crate) fn insert(&mut self, frames: &mut [Frame], number: u32, order: usize, group: Group) {
        let g = group.index();
        let (first, last) = (self.first[g][order], self.last[g][order]);
        let (prev, next) = if number < first { (NIL, first) } else { (last, NIL) };
        self.join(frames, prev, number, order, g);
        self.join(frames, number, next, order, g);
        self.present[g] |= 1 << order;
    }

    /// Takes a pageblock off the list that it is on.
    pub(crate) fn remove(&mut self, frames: &mut [Frame], number: u32, order: usize, group: Group) {
        let g = group.index();
        let (prev, next) = links(frames[self.pageblocks.descriptor(number)].word);
        self.join(frames, prev, next, order, g);
        if self.first[g][order] == NIL {
            self.present[g] &= !(1 << order);
        }
    }

    /// Makes `next` follow `prev`; `NIL` is the end of the list on that side.
    fn join(&mut self, frames: &mut [Frame], prev: u32, next: u32, order: usize, g: usize) {
        match prev {
            NIL => self.first[g][order] = next,
            prev => {
                let word = &mut frames[self.pageblocks.descriptor(prev)].word;
                *word = word_of(links(*word).0, next);
            }
        }
        match next {
            NIL => self.last[g][order] = prev,
            next => {
                let word = &mut frames[self.pageblocks.descriptor(next)].word;
                *word = word_of(prev, links(*word).1);
            }
        }
    }

    /// First pageblock of the smallest order that is at least `order`.
    pub(crate) fn smallest(&self, order: usize, group: Group) -> Option<(u32, usize)> {
        let found = self.present[group.index()] & (u32::MAX << order);
        (found != 0).then(|| {
            let order = found.trailing_zeros() as usize;
            (self.first[group.index()][order], order)
        })
    }

    /// The largest order with a free block, over all groups.
    pub(crate) fn largest_order(&self) -> Option<usize> {
        let any = self.present.iter().fold(0, |all, bits| all | bits);
        (any != 0).then(|| any.ilog2() as usize)
    }
}

/// The pageblocks before and behind, as one word.
fn word_of(prev: u32, next: u32) -> u64 {
    u64::from(prev) << 32 | u64::from(next)
}

fn links(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

const _: () = assert!(MAX_ORDER < 32, "orders are bits of a u32");
