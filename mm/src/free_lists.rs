//! The free lists: one per order and group, doubly linked through the first frames of the free blocks.

use crate::frame::{Frame, NIL};
use crate::{MAX_ORDER, MigrateType, ORDERS};

/// Which lists a free block is on: those of its pageblock's type, or those of the blocks that are at least one
/// whole pageblock. A wholly free pageblock has no type: it takes that of whoever breaks it.
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

/// Invariants: every linked frame is the head of a free block of the list's order; `counts` are the lengths;
/// `first` and `last` are `NIL` together;
/// bit `o` of `present[g]` is set exactly when list `o` of group `g` is not empty.
pub(crate) struct FreeLists {
    first: [[u32; ORDERS]; GROUPS],
    last: [[u32; ORDERS]; GROUPS],
    counts: [[u32; ORDERS]; GROUPS],
    present: [u32; GROUPS],
}

impl FreeLists {
    pub(crate) const fn new() -> Self {
        Self {
            first: [[NIL; ORDERS]; GROUPS],
            last: [[NIL; ORDERS]; GROUPS],
            counts: [[0; ORDERS]; GROUPS],
            present: [0; GROUPS],
        }
    }

    /// Puts the block whose first frame is `index` at the front of its list, to be allocated next, and marks it free.
    #[inline]
    pub(crate) fn push(&mut self, frames: &mut [Frame], index: u32, order: usize, group: Group) {
        let g = group.index();
        let next = self.first[g][order];
        match next {
            NIL => self.last[g][order] = index,
            next => frames[next as usize].prev = index,
        }
        self.first[g][order] = index;
        self.link(frames, index, order, g, (NIL, next));
    }

    /// As [`push`](Self::push), but at the back, to be allocated last.
    #[inline]
    pub(crate) fn push_back(&mut self, frames: &mut [Frame], index: u32, order: usize, group: Group) {
        let g = group.index();
        let prev = self.last[g][order];
        match prev {
            NIL => self.first[g][order] = index,
            prev => frames[prev as usize].next = index,
        }
        self.last[g][order] = index;
        self.link(frames, index, order, g, (prev, NIL));
    }

    fn link(&mut self, frames: &mut [Frame], index: u32, order: usize, g: usize, (prev, next): (u32, u32)) {
        let frame = &mut frames[index as usize];
        (frame.prev, frame.next) = (prev, next);
        frame.mark_free(order);
        self.counts[g][order] += 1;
        self.present[g] |= 1 << order;
    }

    /// Takes the free block whose first frame is `index` off its list; its mark is cleared.
    pub(crate) fn unlink(&mut self, frames: &mut [Frame], index: u32, group: Group) {
        let g = group.index();
        let Frame { next, prev, .. } = frames[index as usize];
        let order = frames[index as usize].order();
        match next {
            NIL => self.last[g][order] = prev,
            next => frames[next as usize].prev = prev,
        }
        match prev {
            NIL => self.first[g][order] = next,
            prev => frames[prev as usize].next = next,
        }
        frames[index as usize].clear_head();
        self.counts[g][order] -= 1;
        if self.counts[g][order] == 0 {
            self.present[g] &= !(1 << order);
        }
    }

    /// First block of the smallest order that is at least `order`.
    pub(crate) fn smallest(&self, order: usize, group: Group) -> Option<(u32, usize)> {
        let found = self.present[group.index()] & (u32::MAX << order);
        (found != 0).then(|| self.first_of(group, found.trailing_zeros() as usize))
    }

    /// First block of the largest order, if that is at least `order`.
    pub(crate) fn largest(&self, order: usize, group: Group) -> Option<(u32, usize)> {
        let found = self.present[group.index()] & (u32::MAX << order);
        (found != 0).then(|| self.first_of(group, found.ilog2() as usize))
    }

    /// First frame of the block that is allocated next from this list; `u32::MAX` when it is empty.
    pub(crate) fn front(&self, order: usize, group: Group) -> u32 {
        self.first[group.index()][order]
    }

    fn first_of(&self, group: Group, order: usize) -> (u32, usize) {
        (self.first[group.index()][order], order)
    }

    /// The largest order with a free block, over all groups.
    pub(crate) fn largest_order(&self) -> Option<usize> {
        let any = self.present.iter().fold(0, |all, bits| all | bits);
        (any != 0).then(|| any.ilog2() as usize)
    }

    /// Free blocks per order, over all groups.
    pub(crate) fn blocks_per_order(&self) -> [u64; ORDERS] {
        core::array::from_fn(|order| self.counts.iter().map(|group| u64::from(group[order])).sum())
    }

    /// Free blocks per order of one migrate type's pageblocks.
    pub(crate) fn typed_blocks(&self, kind: MigrateType) -> [u64; ORDERS] {
        core::array::from_fn(|order| u64::from(self.counts[kind as usize][order]))
    }
}

const _: () = assert!(MAX_ORDER < 32, "orders are bits of a u32");
