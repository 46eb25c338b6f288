//! What a frame belongs to, and what there is: for checks, compaction and diagnosis.

use super::{Buddy, pageblocks};
use crate::pageblock::{MANAGED, PAGEBLOCK_FRAMES};
use crate::{Block, Holder, MAX_ORDER, MigrateType, ORDERS, PAGEBLOCK_ORDER, Stats};

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
    /// The block that starts at this frame, which has metadata.
    fn starting_at(&self, pfn: u64) -> Option<Holder> {
        let index = self.index(pfn);
        let frame = &self.frames[index as usize];
        match frame.is_head() {
            true if frame.is_free_head() => Some(Holder::Free(Block { pfn, order: frame.order() })),
            true => Some(Holder::Allocated(Block { pfn, order: frame.order() })),
            false => {
                let order = self.pageblocks.free_order(self.frames, index)?;
                Some(Holder::Free(Block { pfn, order }))
            }
        }
    }

    /// Which block holds this frame, if any. Takes O([`MAX_ORDER`]²) steps.
    #[must_use]
    pub fn holder(&self, pfn: u64) -> Holder {
        // The block of order `o` that could hold the frame starts at the frame number with the low `o` bits cleared.
        for order in 0..=MAX_ORDER {
            let head = pfn & !((1 << order) - 1);
            if !self.has(head) || !self.has(pfn) {
                break;
            }
            if let Some(holder @ (Holder::Free(block) | Holder::Allocated(block))) = self.starting_at(head) {
                return if pfn - head < block.frames() { holder } else { Holder::Reserved };
            }
        }
        Holder::Reserved
    }

    /// The blocks that lie in the frames `start..end`, in ascending order, with what an allocated block was asked
    /// for. The first and the last may reach out of the range. A reserved frame is yielded as [`Holder::Reserved`].
    /// Frames without metadata here are left out.
    pub fn blocks(&self, start: u64, end: u64) -> impl Iterator<Item = (Holder, MigrateType)> {
        let (mut at, end) = (start.max(self.first_pfn), end.min(self.end_pfn()));
        core::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let holder = match self.starting_at(at) {
                Some(holder) => holder,
                // Only the first frame of a walk can lie inside a block.
                None if at == start => self.holder(at),
                None => Holder::Reserved,
            };
            let (next, head) = match holder {
                Holder::Reserved => (at + 1, at),
                Holder::Free(block) | Holder::Allocated(block) => (block.pfn + block.frames(), block.pfn),
            };
            at = next;
            Some((holder, self.frames[self.index(head) as usize].owner()))
        })
    }

    /// The blocks of the pageblock that holds `pfn`, in ascending order, with what they were allocated for; a block
    /// that is larger than a pageblock is yielded whole.
    fn blocks_of_pageblock(&self, pfn: u64) -> impl Iterator<Item = (Holder, MigrateType)> {
        let start = (pfn & !(PAGEBLOCK_FRAMES - 1)).max(self.first_pfn);
        let end = ((pfn | (PAGEBLOCK_FRAMES - 1)) + 1).min(self.end_pfn());
        self.blocks(start, end)
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

    /// A frame of `start..end` that is managed already, if any.
    pub(super) fn first_managed(&self, start: u64, end: u64) -> Option<u64> {
        for (start, end) in pageblocks(start, end) {
            let summary = self.frames[self.pageblocks.descriptor(self.pageblock(start))].pageblock_summary;
            if summary & MANAGED == 0 {
                continue;
            }
            // Only blocks that start in the range, or the one that holds its start, can reach into it.
            if self.holder(start) != Holder::Reserved {
                return Some(start);
            }
            if let Some(pfn) = (start..end).find(|&pfn| self.starting_at(pfn).is_some()) {
                return Some(pfn);
            }
        }
        None
    }

    /// Migrate type of the pageblock that holds this frame: of meaning while the pageblock is partly used.
    /// `None` for a frame without metadata here.
    #[must_use]
    pub fn pageblock_type(&self, pfn: u64) -> Option<MigrateType> {
        self.has(pfn).then(|| self.type_of(self.pageblock(pfn)))
    }

    /// Free blocks per order in the partly used pageblocks of one type (a row of Linux's `/proc/pagetypeinfo`).
    #[must_use]
    pub fn free_blocks_of(&self, kind: MigrateType) -> [u64; ORDERS] {
        let counts = &self.in_maps[kind as usize];
        core::array::from_fn(|order| counts.get(order).map_or(0, |&count| u64::from(count)))
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let in_maps = MigrateType::ALL.map(|kind| self.free_blocks_of(kind));
        let free_blocks = core::array::from_fn(|order| {
            u64::from(self.whole[order]) + in_maps.iter().map(|of| of[order]).sum::<u64>()
        });
        Stats {
            total_frames: self.total,
            free_frames: self.free,
            free_blocks,
            largest_free_order: self.lists.largest_order(),
            allocs: self.allocs,
            frees: self.frees,
            failures: self.failures,
            fallbacks: self.fallbacks,
            claimed: self.claimed,
            allocated_frames: self.allocated_frames,
            freed_frames: self.freed_frames,
        }
    }

    /// Frames that are free now.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.free
    }

    /// Frames that the allocator was given.
    #[must_use]
    pub fn total_frames(&self) -> u64 {
        self.total
    }

    /// Order of the largest free block; `None` when nothing is free.
    #[must_use]
    pub fn largest_free_order(&self) -> Option<usize> {
        self.lists.largest_order()
    }

    /// Whether `floor` frames stay free without a block of `order`.
    #[inline]
    pub(crate) fn has_above(&self, order: usize, floor: u64) -> bool {
        self.free >= floor.saturating_add(1 << order.min(MAX_ORDER))
    }

    /// The frames that this allocator has metadata for, managed or reserved.
    #[must_use]
    pub fn span(&self) -> core::ops::Range<u64> {
        self.first_pfn..self.end_pfn()
    }
}

const _: () = assert!(PAGEBLOCK_ORDER <= MAX_ORDER);
