//! The buddy allocator (Knowlton 1965; Knuth, TAOCP vol. 1, 2.5): blocks of `2^order` frames, halved to serve a
//! smaller request, joined again with their buddy as soon as both are free.

mod choice;
mod cut;
mod free;
mod isolate;
mod lookup;

pub use lookup::PageblockContents;

use crate::free_lists::{FreeLists, Group};
use crate::pageblock::{LEAST_FRAMES, MANAGED, PAGEBLOCK_FRAMES, Pageblocks};
use crate::{AddError, AllocError, Block, Frame, MAX_ORDER, MigrateType, ORDERS, PAGEBLOCK_ORDER};

/// A buddy allocator over the frames `first_pfn .. first_pfn + frames.len()`.
///
/// Memory is kept together by *pageblock* (2 MiB), as in Linux: what is unmovable lies in as few pageblocks as can be,
/// and as many as can be are wholly free. A partly used pageblock has the migrate type of the request that broke it, and
/// becomes unmovable when something unmovable comes in; a wholly free one has none. A request below a pageblock is served
/// 1. from the fullest partly used pageblock that can (that is, whose largest free block is the smallest that suffices):
///    an unmovable one from the unmovable pageblocks, and if these can't, from any; the others from any;
/// 2. from the smallest run of wholly free pageblocks, of which one is broken.
///
/// In the pageblock it gets the smallest block that suffices, and of these the lowest. Unlike Linux, a type that has run out
/// does not break a free pageblock while another type's has room: what that costs and saves is measured by
/// `cargo xtask bench mm --fragmentation`.
///
/// Requests of a pageblock and above are served from wholly free pageblocks only, and leave their type open.
/// Pageblocks that are only partly memory (at the edges of the memory map) are unmovable, for they can never become
/// whole.
///
/// Invariants: every managed frame lies in exactly one block, free or allocated. The first frame of an allocated block, and
/// of a free one of a pageblock and more, is marked so; smaller free blocks are in the map of their pageblock
/// (`pageblock.rs`). No two free blocks are buddies of each other. A pageblock whose map is not empty is on the list of its
/// type and its largest free block.
pub struct Buddy<'m> {
    frames: &'m mut [Frame],
    first_pfn: u64,
    pageblocks: Pageblocks,
    lists: FreeLists,
    /// Free blocks per order: in the maps of the pageblocks of each type, and of a pageblock and more.
    in_maps: [[u32; PAGEBLOCK_ORDER]; 3],
    whole: [u32; ORDERS],
    total: u64,
    free: u64,
    allocs: u64,
    frees: u64,
    failures: u64,
    fallbacks: u64,
    claimed: u64,
    allocated_frames: u64,
    freed_frames: u64,
}

impl<'m> Buddy<'m> {
    /// An allocator that has metadata for `frames.len()` frames from `first_pfn` on, all of them reserved until
    /// [`add_free`](Self::add_free) is called for them.
    ///
    /// `frames` must be all [`Frame::RESERVED`] (zero bytes): they are not written here, so that a kernel may hand in
    /// zeroed memory at no cost. Frames past the first 2³² − 513 (16 TiB), or past frame number 2⁵² (the end of
    /// physical addresses), are left unused; so are fewer than 34, in which there is no room for the allocator's own data.
    #[must_use]
    pub fn new(frames: &'m mut [Frame], first_pfn: u64) -> Self {
        let room = (1_u64 << 52).saturating_sub(first_pfn).min(u64::from(u32::MAX) - PAGEBLOCK_FRAMES);
        let len = frames.len().min(room as usize);
        let (frames, _) = frames.split_at_mut(if len < LEAST_FRAMES { 0 } else { len });
        let pageblocks = Pageblocks::new(first_pfn, frames.len());
        Self {
            frames,
            first_pfn,
            pageblocks,
            lists: FreeLists::new(pageblocks),
            in_maps: [[0; PAGEBLOCK_ORDER]; 3],
            whole: [0; ORDERS],
            total: 0,
            free: 0,
            allocs: 0,
            frees: 0,
            failures: 0,
            fallbacks: 0,
            claimed: 0,
            allocated_frames: 0,
            freed_frames: 0,
        }
    }

    /// Gives the frames `pfn .. pfn + count` to the allocator, in the largest blocks that fit. Takes a step per
    /// pageblock, so that gigabytes are added quickly.
    ///
    /// # Errors
    /// Nothing is added when a frame of the range has no metadata, or was added before.
    pub fn add_free(&mut self, pfn: u64, count: u64) -> Result<(), AddError> {
        let end = self.check_add(pfn, count)?;
        for (start, _) in pageblocks(pfn, end) {
            let at = self.pageblocks.descriptor(self.pageblock(start));
            self.frames[at].pageblock_summary |= MANAGED;
        }
        self.total += count;
        self.free += count;
        let mut at = pfn;
        while at < end {
            let aligned = at.trailing_zeros() as usize;
            let fits = (end - at).ilog2() as usize;
            let order = aligned.min(fits).min(MAX_ORDER);
            self.insert(at, order);
            at += 1 << order;
        }
        Ok(())
    }

    /// Whether [`add_free`](Self::add_free) would accept this range; its end.
    pub(crate) fn check_add(&self, pfn: u64, count: u64) -> Result<u64, AddError> {
        let (first, limit) = (self.first_pfn, self.end_pfn());
        let out_of_range = AddError::OutOfRange { pfn, count, first, end: limit };
        let end = pfn.checked_add(count).ok_or(out_of_range)?;
        if count == 0 {
            return Ok(end);
        }
        if pfn < first || end > limit {
            return Err(out_of_range);
        }
        match self.first_managed(pfn, end) {
            Some(pfn) => Err(AddError::Overlap { pfn }),
            None => Ok(end),
        }
    }

    /// Allocates a block of `1 << order` frames, aligned to its size; see [`Buddy`] for which.
    ///
    /// # Errors
    /// No block is that large, too little memory is free, or what is free lies in smaller blocks.
    pub fn alloc(&mut self, order: usize, kind: MigrateType) -> Result<Block, AllocError> {
        self.try_alloc(order, kind).ok_or_else(|| {
            self.failures += 1;
            self.refusal(order)
        })
    }

    /// [`alloc`](Self::alloc) without a reason, and without counting a failure.
    #[inline]
    pub(crate) fn try_alloc(&mut self, order: usize, kind: MigrateType) -> Option<Block> {
        if order > MAX_ORDER {
            return None;
        }
        let index = match self.choose(order, kind) {
            Some(number) => self.cut_from_pageblock(number, order),
            None => self.cut_from_whole(order, kind)?,
        };
        self.frames[index as usize].mark_allocated(order, kind);
        self.free -= 1 << order;
        self.allocs += 1;
        self.allocated_frames += 1 << order;
        Some(Block { pfn: self.first_pfn + u64::from(index), order })
    }

    /// Allocates the largest block that is free and not above `order`: for pools that may be made of several pieces.
    ///
    /// # Errors
    /// Nothing at all is free.
    pub fn alloc_at_most(&mut self, order: usize, kind: MigrateType) -> Result<Block, AllocError> {
        let largest = self.lists.largest_order().unwrap_or(0);
        self.alloc(order.min(largest), kind)
    }

    fn refusal(&self, order: usize) -> AllocError {
        let free = self.free;
        if order > MAX_ORDER {
            AllocError::OrderTooLarge { order }
        } else if free < 1 << order {
            AllocError::OutOfMemory { order, free }
        } else {
            AllocError::Fragmented { order, free }
        }
    }

    /// Puts a pageblock whose free blocks have changed on the list that is right now; `before` and `after` are the orders of
    /// the largest of them.
    #[inline]
    fn relist(&mut self, number: u32, kind: MigrateType, before: Option<usize>, after: Option<usize>) {
        if before == after {
            return;
        }
        if let Some(order) = before {
            self.lists.remove(self.frames, number, order, Group::Typed(kind));
        }
        if let Some(order) = after {
            self.lists.insert(self.frames, number, order, Group::Typed(kind));
        }
    }

    fn insert_whole(&mut self, number: u32, order: usize) {
        let index = self.pageblocks.index(number, 0) as usize;
        self.frames[index].mark_free(order);
        self.lists.insert(self.frames, number, order, Group::Whole);
        self.whole[order] += 1;
    }

    fn remove_whole(&mut self, number: u32, order: usize) {
        let index = self.pageblocks.index(number, 0) as usize;
        self.frames[index].clear_head();
        self.lists.remove(self.frames, number, order, Group::Whole);
        self.whole[order] -= 1;
    }

    fn type_of(&self, number: u32) -> MigrateType {
        self.frames[self.pageblocks.descriptor(number)].pageblock_type()
    }

    fn set_type(&mut self, number: u32, kind: MigrateType) {
        let at = self.pageblocks.descriptor(number);
        self.frames[at].set_pageblock_type(kind);
    }

    /// Number of the pageblock of a frame of which [`has`](Self::has) is true.
    fn pageblock(&self, pfn: u64) -> u32 {
        self.pageblocks.number(self.index(pfn))
    }

    fn end_pfn(&self) -> u64 {
        self.first_pfn + self.frames.len() as u64
    }

    fn has(&self, pfn: u64) -> bool {
        pfn >= self.first_pfn && pfn < self.end_pfn()
    }

    /// Index of a frame of which [`has`](Self::has) is true.
    fn index(&self, pfn: u64) -> u32 {
        (pfn - self.first_pfn) as u32
    }
}

/// `start..end`, cut at the borders of pageblocks.
fn pageblocks(start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut at = start;
    core::iter::from_fn(move || {
        (at < end).then(|| {
            let from = at;
            at = ((from | (PAGEBLOCK_FRAMES - 1)) + 1).min(end);
            (from, at)
        })
    })
}

#[cfg(test)]
#[path = "buddy_tests.rs"]
mod tests;
