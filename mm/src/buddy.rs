//! The buddy allocator (Knowlton 1965; Knuth, TAOCP vol. 1, 2.5): blocks of `2^order` frames, halved to serve a
//! smaller request, joined again with their buddy as soon as both are free.

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
/// 3. the *largest* block of the other types ([`MigrateType::fallbacks`]), which is lent: its pageblock keeps its type.
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
        }
    }

    /// Gives the frames `pfn .. pfn + count` to the allocator, in the largest blocks that fit. Takes a step per
    /// pageblock, so that gigabytes are added quickly.
    ///
    /// # Errors
    /// Nothing is added when a frame of the range has no metadata, or was added before.
    pub fn add_free(&mut self, pfn: u64, count: u64) -> Result<(), AddError> {
        let (first, limit) = (self.first_pfn, self.end_pfn());
        let out_of_range = AddError::OutOfRange { pfn, count, first, end: limit };
        let end = pfn.checked_add(count).ok_or(out_of_range)?;
        if pfn < first || end > limit {
            return Err(out_of_range);
        }
        if let Some(pfn) = self.first_managed(pfn, end) {
            return Err(AddError::Overlap { pfn });
        }

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

    /// Allocates a block of `1 << order` frames, aligned to its size; see [`Buddy`] for which.
    ///
    /// # Errors
    /// No block is that large, too little memory is free, or what is free lies in smaller blocks.
    pub fn alloc(&mut self, order: usize, kind: MigrateType) -> Result<Block, AllocError> {
        let found = if order > MAX_ORDER { None } else { self.find(order, kind) };
        let Some((index, found_order, group)) = found else {
            self.failures += 1;
            return Err(self.refusal(order));
        };

        self.lists.unlink(self.frames, index, group);
        let pfn = self.first_pfn + u64::from(index);
        match group {
            Group::Whole if order < PAGEBLOCK_ORDER => {
                let pageblock = self.pageblock_index(pfn);
                self.frames[pageblock].set_pageblock_type(kind);
            }
            Group::Typed(owner) if owner != kind => self.fallbacks += 1,
            _ => {}
        }
        // Keep the lower half, free the upper one, until the size is right.
        for half in (order..found_order).rev() {
            let upper = pfn + (1 << half);
            let group = self.group(upper, half);
            let upper = self.index(upper);
            self.lists.push(self.frames, upper, half, group);
        }
        self.frames[index as usize].mark_allocated(order);
        self.free -= 1 << order;
        self.allocs += 1;
        Ok(Block { pfn, order })
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
        if order > MAX_ORDER {
            return Err(FreeError::OrderTooLarge { order });
        }
        if !self.has(pfn) {
            return Err(FreeError::Foreign { pfn });
        }
        if !pfn.is_multiple_of(1 << order) {
            return Err(FreeError::Misaligned { pfn, order });
        }
        match self.holder(pfn) {
            Holder::Reserved => return Err(FreeError::Foreign { pfn }),
            Holder::Free(Block { pfn: head, order }) => {
                return Err(FreeError::DoubleFree { pfn, head, order });
            }
            Holder::Allocated(Block { pfn: head, order }) if head != pfn => {
                return Err(FreeError::NotBlockStart { pfn, head, order });
            }
            Holder::Allocated(Block { order: allocated, .. }) if allocated != order => {
                return Err(FreeError::WrongOrder { pfn, order, allocated });
            }
            Holder::Allocated(_) => {}
        }

        let index = self.index(pfn) as usize;
        self.frames[index].clear_head();
        self.insert(pfn, order);
        self.free += 1 << order;
        self.frees += 1;
        Ok(())
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
        }
    }

    /// The frames that this allocator has metadata for, managed or reserved.
    #[must_use]
    pub fn span(&self) -> core::ops::Range<u64> {
        self.first_pfn..self.end_pfn()
    }

    /// Where to take a block of at least `order` from: its first frame, its order, its list.
    fn find(&self, order: usize, kind: MigrateType) -> Option<(u32, usize, Group)> {
        let own = Group::Typed(kind);
        let found = |(index, order), group| (index, order, group);
        if let Some(block) = self.lists.smallest(order, own) {
            return Some(found(block, own));
        }
        if let Some(block) = self.lists.smallest(order, Group::Whole) {
            return Some(found(block, Group::Whole));
        }
        kind.fallbacks().into_iter().map(Group::Typed).find_map(|other| {
            let block = self.lists.largest(order, other)?;
            Some(found(block, other))
        })
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
    fn insert(&mut self, mut pfn: u64, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = pfn ^ (1 << order);
            if !self.has(buddy) {
                break;
            }
            let index = self.index(buddy);
            let frame = &self.frames[index as usize];
            if !frame.is_free_head() || frame.order() != order {
                break;
            }
            let group = self.group(buddy, order);
            self.lists.unlink(self.frames, index, group);
            pfn &= !(1 << order);
            order += 1;
        }
        let group = self.group(pfn, order);
        let index = self.index(pfn);
        self.lists.push(self.frames, index, order, group);
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
