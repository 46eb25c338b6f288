//! What happens when a migrate type has nothing left: it claims a pageblock of another type, or borrows one block.
//!
//! Linux's rule (`steal_suitable_fallback` in `mm/page_alloc.c`): mixing types inside a pageblock is what makes
//! fragmentation permanent, so a type that must go elsewhere takes a whole pageblock where that is mostly free or
//! already used in a compatible way.

use super::{Buddy, PAGEBLOCK_FRAMES};
use crate::free_lists::Group;
use crate::{Holder, MigrateType, PAGEBLOCK_ORDER};

impl Buddy<'_> {
    /// A block of at least `order` from a pageblock of another type. Takes a step per block of one pageblock at most.
    pub(super) fn find_elsewhere(&mut self, order: usize, kind: MigrateType) -> Option<(u32, usize, Group)> {
        let (other, (index, found)) = kind
            .fallbacks()
            .into_iter()
            .find_map(|other| Some((other, self.lists.largest(order, Group::Typed(other))?)))?;
        self.fallbacks += 1;
        let pfn = self.first_pfn + u64::from(index);
        if self.is_worth_claiming(pfn, kind, other) {
            self.claim(pfn, kind);
            self.claimed += 1;
            return Some((index, found, Group::Typed(kind)));
        }
        // What can move borrows the smallest block: it harms nobody for long. What can't takes the largest, so that
        // the next of its kind finds the rest beside it.
        let group = Group::Typed(other);
        let (index, found) = match kind {
            MigrateType::Movable => self.lists.smallest(order, group)?,
            _ => (index, found),
        };
        Some((index, found, group))
    }

    /// Whether the pageblock of `pfn`, of type `other`, should become `kind`: at least half of it is free or used alike.
    fn is_worth_claiming(&self, pfn: u64, kind: MigrateType, other: MigrateType) -> bool {
        // A pageblock that is only partly memory stays as it is: it can never become whole, and so typeless, again.
        if u64::from(self.frames[self.pageblock_index(pfn)].pageblock_managed) < PAGEBLOCK_FRAMES {
            return false;
        }
        let (mut free, mut movable) = (0, 0);
        for (holder, owner) in self.blocks_of_pageblock(pfn) {
            match holder {
                Holder::Free(block) => free += block.frames(),
                Holder::Allocated(block) if owner == MigrateType::Movable => movable += block.frames(),
                _ => {}
            }
        }
        let alike = match (kind, other) {
            (MigrateType::Movable, _) => movable,
            // Of what is not movable here, nothing tells unmovable from reclaimable apart: both stay.
            (_, MigrateType::Movable) => PAGEBLOCK_FRAMES - free - movable,
            _ => 0,
        };
        free + alike >= PAGEBLOCK_FRAMES / 2
    }

    /// Gives the pageblock of `pfn` the type `kind`: its free blocks change lists.
    fn claim(&mut self, pfn: u64, kind: MigrateType) {
        let start = pfn & !(PAGEBLOCK_FRAMES - 1);
        let old = Group::Typed(self.frames[self.pageblock_index(pfn)].pageblock_type());
        let mut at = start;
        while at < start + PAGEBLOCK_FRAMES {
            let index = self.index(at);
            let frame = self.frames[index as usize];
            if frame.is_free_head() {
                self.lists.unlink(self.frames, index, old);
                self.lists.push(self.frames, index, frame.order(), Group::Typed(kind));
            }
            at += if frame.is_head() { 1 << frame.order() } else { 1 };
        }
        let pageblock = self.pageblock_index(pfn);
        self.frames[pageblock].set_pageblock_type(kind);
    }

    /// The blocks of the pageblock that holds `pfn`, in ascending order, with what they were allocated for; a block
    /// that is larger than a pageblock is yielded whole.
    pub(crate) fn blocks_of_pageblock(&self, pfn: u64) -> impl Iterator<Item = (Holder, MigrateType)> {
        let start = (pfn & !(PAGEBLOCK_FRAMES - 1)).max(self.first_pfn);
        let end = ((pfn | (PAGEBLOCK_FRAMES - 1)) + 1).min(self.end_pfn());
        self.blocks(start, end)
    }
}

const _: () = assert!(PAGEBLOCK_ORDER > 0, "half a pageblock is at least a frame");
