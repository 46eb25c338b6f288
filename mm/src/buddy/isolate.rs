//! Blocks by name rather than by size: what compaction and diagnosis need.

use super::{Buddy, PAGEBLOCK_FRAMES};
use crate::{Block, FreeError, Holder, MigrateType, PAGEBLOCK_ORDER};

/// What lies in one pageblock, in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageblockContents {
    /// Free.
    pub free: u64,
    /// Allocated, per migrate type of the request, in the order of [`MigrateType::ALL`].
    pub allocated: [u64; 3],
    /// Not memory of this allocator.
    pub reserved: u64,
    /// Order of its largest free block; of the block that it is part of, where that is larger than a pageblock.
    pub largest_free: Option<usize>,
}

impl Buddy<'_> {
    /// The blocks that lie in the frames `start..end`, in ascending order, with what an allocated block was asked
    /// for. The first and the last may reach out of the range. A reserved frame is yielded as [`Holder::Reserved`].
    /// Frames without metadata here are left out.
    pub fn blocks(&self, start: u64, end: u64) -> impl Iterator<Item = (Holder, MigrateType)> {
        let (mut at, end) = (start.max(self.first_pfn), end.min(self.end_pfn()));
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let frame = &self.frames[self.index(at) as usize];
            let holder = match (frame.is_free_head(), frame.is_head()) {
                (true, _) => Holder::Free(Block { pfn: at, order: frame.order() }),
                (_, true) => Holder::Allocated(Block { pfn: at, order: frame.order() }),
                // Only the first frame of a walk can lie inside a block.
                _ if at == start => self.holder(at),
                _ => Holder::Reserved,
            };
            let (next, head) = match holder {
                Holder::Reserved => (at + 1, at),
                Holder::Free(block) | Holder::Allocated(block) => (block.pfn + block.frames(), block.pfn),
            };
            at = next;
            Some((holder, self.frames[self.index(head) as usize].owner()))
        })
    }

    /// What the pageblock that holds `pfn` contains. Takes up to 512 steps.
    #[must_use]
    pub fn pageblock_contents(&self, pfn: u64) -> PageblockContents {
        let start = pfn & !(PAGEBLOCK_FRAMES - 1);
        let mut contents = PageblockContents::default();
        for (holder, owner) in self.blocks_of_pageblock(pfn) {
            match holder {
                Holder::Reserved => contents.reserved += 1,
                Holder::Free(block) => {
                    contents.free += block.frames().min(PAGEBLOCK_FRAMES);
                    contents.largest_free = contents.largest_free.max(Some(block.order));
                }
                Holder::Allocated(block) => {
                    let inside = (block.pfn + block.frames()).min(start + PAGEBLOCK_FRAMES);
                    contents.allocated[owner as usize] += inside - block.pfn.max(start);
                }
            }
        }
        contents
    }

    /// What the allocated block that starts at `pfn` was asked for; `None` where none starts.
    #[must_use]
    pub fn owner(&self, pfn: u64) -> Option<MigrateType> {
        let frame = self.has(pfn).then(|| &self.frames[self.index(pfn) as usize])?;
        frame.is_allocated_head().then(|| frame.owner())
    }

    /// Takes the frame `pfn` out of the free block that holds it, as an allocated block of order 0 for `kind`. What is left of
    /// the free block stays free, in halves. False when the frame is not free. The allocation counters don't change: this
    /// is one half of a move, and [`give_back`](Self::give_back) of the other frame is the other.
    ///
    /// A typeless pageblock takes the type `kind`.
    pub fn take(&mut self, pfn: u64, kind: MigrateType) -> bool {
        let Holder::Free(block) = self.holder(pfn) else { return false };
        let (head, group) = (self.index(block.pfn), self.group(block.pfn, block.order));
        self.lists.unlink(self.frames, head, group);
        if block.order >= PAGEBLOCK_ORDER {
            let pageblock = self.pageblock_index(pfn);
            self.frames[pageblock].set_pageblock_type(kind);
        }
        let mut start = block.pfn;
        for half in (0..block.order).rev() {
            let upper = start + (1 << half);
            let free = if pfn >= upper { start } else { upper };
            start = if pfn >= upper { upper } else { start };
            let (index, group) = (self.index(free), self.group(free, half));
            self.lists.push(self.frames, index, half, group);
        }
        let index = self.index(pfn) as usize;
        self.frames[index].mark_allocated(0, kind);
        self.free -= 1;
        true
    }

    /// Frees a frame without counting it: undoes [`take`](Self::take), or ends a move.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn give_back(&mut self, pfn: u64) -> Result<(), FreeError> {
        self.check_free(pfn, 0)?;
        self.release(pfn, 0);
        Ok(())
    }
}
