//! The buddy allocator (Knowlton 1965; Knuth, TAOCP vol. 1, 2.5): blocks of `2^order` frames, halved to serve a
//! smaller request, joined again with their buddy as soon as both are free.

mod fallback;
mod isolate;

pub use isolate::PageblockContents;

use crate::free_lists::{FreeLists, Group};
use crate::{
    AddError, AllocError, Block, Frame, FreeError, Holder, MAX_ORDER, MigrateType, PAGEBLOCK_ORDER, Stats,
};

const PAGEBLOCK_FRAMES: u64 = 1 << PAGEBLOCK_ORDER;

/// A buddy allocator over the frames `first_pfn .. first_pfn + frames.len()`.
///
/// Migrate types are kept per *pageblock* (2 MiB), as in Linux. A wholly free pageblock has no type. A request below
/// a pageblock is served, in this order, from
/// 1. the smallest fitting block in the pageblocks of its own type;
/// 2. the smallest run of wholly free pageblocks; the one that is broken takes the type of the request;
/// 3. the pageblocks of the other types ([`MigrateType::fallbacks`]): the one with the largest free block is *claimed*,
///    type and all, when at least half of it is free or of the request's kind; else a block of it is *lent*, and its
///    pageblock keeps its type (`buddy/fallback.rs`).
///
/// Requests of a pageblock and above are served from wholly free pageblocks only, and leave their type open.
/// Pageblocks that are only partly memory (at the edges of the memory map) are unmovable, for they can never become
/// whole.
///
/// Invariants: every managed frame lies in exactly one block, free or allocated, whose first frame is marked so;
/// no two free blocks are buddies of each other; a free block below a pageblock is on the list of its pageblock's type.
pub struct Buddy<'m> {
    frames: &'m mut [Frame],
    first_pfn: u64,
    lists: FreeLists,
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
    /// zeroed memory at no cost. Frames past the first 2³² − 1 (16 TiB), or past frame number 2⁵² (the end of
    /// physical addresses), are left unused.
    #[must_use]
    pub fn new(frames: &'m mut [Frame], first_pfn: u64) -> Self {
        let room = (1_u64 << 52).saturating_sub(first_pfn).min(u64::from(u32::MAX));
        let len = frames.len().min(room as usize);
        let (frames, _) = frames.split_at_mut(len);
        Self {
            frames,
            first_pfn,
            lists: FreeLists::new(),
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
        for (start, end) in pageblocks(pfn, end) {
            let index = self.pageblock_index(start);
            self.frames[index].pageblock_managed += (end - start) as u32;
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
        let (index, found_order, group) = self.find(order, kind)?;
        let pfn = self.first_pfn + u64::from(index);
        self.lists.unlink(self.frames, index, group);
        let rest = match group {
            Group::Whole if order < PAGEBLOCK_ORDER => {
                let pageblock = self.pageblock_index(pfn);
                self.frames[pageblock].set_pageblock_type(kind);
                Group::Typed(kind)
            }
            group => group,
        };
        // Keep the lower half, free the upper one, until the size is right.
        for half in (order..found_order).rev() {
            let group = if half >= PAGEBLOCK_ORDER { Group::Whole } else { rest };
            self.lists.push(self.frames, index + (1 << half), half, group);
        }
        self.frames[index as usize].mark_allocated(order, kind);
        self.free -= 1 << order;
        self.allocs += 1;
        self.allocated_frames += 1 << order;
        Some(Block { pfn, order })
    }

    /// Allocates the largest block that is free and not above `order`: for pools that may be made of several pieces.
    ///
    /// # Errors
    /// Nothing at all is free.
    pub fn alloc_at_most(&mut self, order: usize, kind: MigrateType) -> Result<Block, AllocError> {
        let largest = self.lists.largest_order().unwrap_or(0);
        self.alloc(order.min(largest), kind)
    }

    /// Frees the block that [`alloc`](Self::alloc) returned, and joins it with its buddies.
    ///
    /// # Errors
    /// When this is not exactly an allocated block: each mistake has its own [`FreeError`], and nothing has changed.
    pub fn free(&mut self, pfn: u64, order: usize) -> Result<(), FreeError> {
        self.check_free(pfn, order)?;
        self.release(pfn, order);
        self.frees += 1;
        self.freed_frames += 1 << order;
        Ok(())
    }

    /// Whether [`free`](Self::free) would accept this block.
    pub(crate) fn check_free(&self, pfn: u64, order: usize) -> Result<(), FreeError> {
        if order > MAX_ORDER {
            return Err(FreeError::OrderTooLarge { order });
        }
        if !self.has(pfn) {
            return Err(FreeError::Foreign { pfn });
        }
        if !pfn.is_multiple_of(1 << order) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        let frame = &self.frames[self.index(pfn) as usize];
        if frame.is_allocated_head() && frame.order() == order {
            return Ok(());
        }
        Err(match self.holder(pfn) {
            Holder::Reserved => FreeError::Foreign { pfn },
            Holder::Free(Block { pfn: head, order }) => FreeError::DoubleFree { pfn, head, order },
            Holder::Allocated(Block { pfn: head, order }) if head != pfn => {
                FreeError::NotBlockStart { pfn, head, order }
            }
            Holder::Allocated(Block { order: allocated, .. }) => {
                FreeError::WrongOrder { pfn, order, allocated }
            }
        })
    }

    /// Makes an allocated block free: [`free`](Self::free) without its checks and counts.
    fn release(&mut self, pfn: u64, order: usize) {
        let index = self.index(pfn) as usize;
        self.frames[index].clear_head();
        self.insert(pfn, order);
        self.free += 1 << order;
    }

    /// Which block holds this frame, if any. Takes O([`MAX_ORDER`]) steps.
    #[must_use]
    pub fn holder(&self, pfn: u64) -> Holder {
        // The block of order `o` that could hold the frame starts at the frame number with the low `o` bits cleared.
        for order in 0..=MAX_ORDER {
            let head = pfn & !((1 << order) - 1);
            if !self.has(head) || !self.has(pfn) {
                break;
            }
            let frame = &self.frames[self.index(head) as usize];
            if frame.is_head() {
                let block = Block { pfn: head, order: frame.order() };
                let inside = pfn - head < block.frames();
                return match (inside, frame.is_free_head()) {
                    (true, true) => Holder::Free(block),
                    (true, false) => Holder::Allocated(block),
                    (false, _) => Holder::Reserved,
                };
            }
        }
        Holder::Reserved
    }

    /// Migrate type of the pageblock that holds this frame: of meaning while the pageblock is partly used.
    /// `None` for a frame without metadata here.
    #[must_use]
    pub fn pageblock_type(&self, pfn: u64) -> Option<MigrateType> {
        self.has(pfn).then(|| self.frames[self.pageblock_index(pfn)].pageblock_type())
    }

    /// Free blocks per order in the partly used pageblocks of one type (a row of Linux's `/proc/pagetypeinfo`).
    #[must_use]
    pub fn free_blocks_of(&self, kind: MigrateType) -> [u64; crate::ORDERS] {
        self.lists.typed_blocks(kind)
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            total_frames: self.total,
            free_frames: self.free,
            free_blocks: self.lists.blocks_per_order(),
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

    /// Where to take a block of at least `order` from: its first frame, its order, its list.
    fn find(&mut self, order: usize, kind: MigrateType) -> Option<(u32, usize, Group)> {
        let own = Group::Typed(kind);
        for group in [own, Group::Whole] {
            if let Some((index, found)) = self.lists.smallest(order, group) {
                return Some((index, found, group));
            }
        }
        self.find_elsewhere(order, kind)
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

    /// Joins a block that is on no list with its free buddies, and puts the result on its list.
    fn insert(&mut self, pfn: u64, mut order: usize) {
        let len = self.frames.len() as u64;
        let mut at = pfn;
        // Below a pageblock, all buddies are on the lists of the pageblock's type.
        let mut group = self.group(pfn, order);
        while order < MAX_ORDER {
            // A buddy below the first frame wraps to an index that is out of range.
            let index = (at ^ (1 << order)).wrapping_sub(self.first_pfn);
            if index >= len {
                break;
            }
            let frame = &self.frames[index as usize];
            if !frame.is_free_head() || frame.order() != order {
                break;
            }
            self.lists.unlink(self.frames, index as u32, group);
            at &= !(1 << order);
            order += 1;
            if order >= PAGEBLOCK_ORDER {
                group = Group::Whole;
            }
        }
        let index = self.index(at);
        // Lower blocks are allocated first, as far as that costs nothing: use stays together at one end.
        if index > self.lists.front(order, group) {
            self.lists.push_back(self.frames, index, order, group);
        } else {
            self.lists.push(self.frames, index, order, group);
        }
    }

    fn group(&self, pfn: u64, order: usize) -> Group {
        if order >= PAGEBLOCK_ORDER {
            Group::Whole
        } else {
            Group::Typed(self.frames[self.pageblock_index(pfn)].pageblock_type())
        }
    }

    /// A frame of `start..end` that is managed already, if any.
    fn first_managed(&self, start: u64, end: u64) -> Option<u64> {
        for (start, end) in pageblocks(start, end) {
            if self.frames[self.pageblock_index(start)].pageblock_managed == 0 {
                continue;
            }
            // Only blocks that start in the range, or the one that holds its start, can reach into it.
            if self.holder(start) != Holder::Reserved {
                return Some(start);
            }
            if let Some(pfn) = (start..end).find(|&pfn| self.frames[self.index(pfn) as usize].is_head()) {
                return Some(pfn);
            }
        }
        None
    }

    /// Index of the frame that keeps the fields of this frame's pageblock: its first frame that has metadata.
    fn pageblock_index(&self, pfn: u64) -> usize {
        let start = pfn & !(PAGEBLOCK_FRAMES - 1);
        self.index(start.max(self.first_pfn)) as usize
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
