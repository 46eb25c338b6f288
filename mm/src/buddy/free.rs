//! Taking blocks back, and joining them.

use super::Buddy;
use crate::pageblock::Map;
use crate::{Block, FreeError, Holder, MAX_ORDER, PAGEBLOCK_ORDER};

impl Buddy<'_> {
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
    #[inline]
    pub(crate) fn check_free(&self, pfn: u64, order: usize) -> Result<(), FreeError> {
        if order <= MAX_ORDER && self.has(pfn) && pfn.is_multiple_of(1 << order) {
            let frame = &self.frames[self.index(pfn) as usize];
            if frame.is_allocated_head() && frame.order() == order {
                return Ok(());
            }
        }
        Err(self.wrong_free(pfn, order))
    }

    /// What is wrong with freeing this block.
    #[cold]
    fn wrong_free(&self, pfn: u64, order: usize) -> FreeError {
        if order > MAX_ORDER {
            return FreeError::OrderTooLarge { order };
        }
        if !self.has(pfn) {
            return FreeError::Foreign { pfn };
        }
        if !pfn.is_multiple_of(1 << order) {
            return FreeError::Misaligned { pfn, order };
        }
        match self.holder(pfn) {
            Holder::Reserved => FreeError::Foreign { pfn },
            Holder::Free(Block { pfn: head, order }) => FreeError::DoubleFree { pfn, head, order },
            Holder::Allocated(Block { pfn: head, order }) if head != pfn => {
                FreeError::NotBlockStart { pfn, head, order }
            }
            Holder::Allocated(Block { order: allocated, .. }) => {
                FreeError::WrongOrder { pfn, order, allocated }
            }
        }
    }

    /// Makes an allocated block free: [`free`](Self::free) without its checks and counts.
    pub(super) fn release(&mut self, pfn: u64, order: usize) {
        let index = self.index(pfn) as usize;
        self.frames[index].clear_head();
        self.insert(pfn, order);
        self.free += 1 << order;
    }

    /// Joins a block that is in no map and on no list with its free buddies, and puts the result where it belongs.
    #[inline]
    pub(super) fn insert(&mut self, pfn: u64, order: usize) {
        let index = self.index(pfn);
        let number = self.pageblocks.number(index);
        if order >= PAGEBLOCK_ORDER || self.insert_in_pageblock(number, self.pageblocks.offset(index), order)
        {
            self.join_whole(number, order.max(PAGEBLOCK_ORDER));
        }
    }

    /// Joins inside a pageblock; whether all of it is free now. It is in no map then.
    fn insert_in_pageblock(&mut self, number: u32, offset: usize, order: usize) -> bool {
        let kind = self.type_of(number);
        let mut map = self.pageblocks.map(self.frames, number);
        let is_whole = join(&mut map, &mut self.in_maps[kind as usize], offset, order);
        let (before, after) = map.close();
        self.relist(number, kind, before, after);
        is_whole
    }

    /// Frees blocks of one order, in descending order of address: what lies in one pageblock at once, and neighbours as
    /// the larger block that they are.
    ///
    /// # Errors
    /// The first block that is not an allocated one. All others are freed.
    pub(crate) fn free_batch(&mut self, blocks: &[u64], order: usize) -> Result<(), FreeError> {
        let (mut rest, mut result) = (blocks, Ok(()));
        while let [first, ..] = *rest {
            let run = if order < PAGEBLOCK_ORDER { self.unmark_run(rest, order) } else { 0 };
            if run == 0 {
                result = result.and(self.free(first, order));
                rest = &rest[1..];
                continue;
            }
            let number = self.pageblock(first);
            let kind = self.type_of(number);
            let mut map = self.pageblocks.map(self.frames, number);
            let mut is_whole = false;
            let mut left = &rest[..run];
            while !left.is_empty() {
                let (lowest, together) = neighbours(left, order);
                let offset = self.pageblocks.offset((lowest - self.first_pfn) as u32);
                is_whole = join(&mut map, &mut self.in_maps[kind as usize], offset, order + together);
                left = &left[1 << together..];
            }
            let (before, after) = map.close();
            self.relist(number, kind, before, after);
            if is_whole {
                self.join_whole(number, PAGEBLOCK_ORDER);
            }
            let frames = (run as u64) << order;
            self.free += frames;
            self.frees += run as u64;
            self.freed_frames += frames;
            rest = &rest[run..];
        }
        result
    }

    /// Takes the marks off the first of these blocks, as long as they are allocated ones in one pageblock, and in order; how
    /// many.
    fn unmark_run(&mut self, blocks: &[u64], order: usize) -> usize {
        let mut run = 0;
        for (at, &pfn) in blocks.iter().enumerate() {
            let descends = at == 0 || pfn < blocks[at - 1];
            if !descends
                || self.check_free(pfn, order).is_err()
                || self.pageblock(pfn) != self.pageblock(blocks[0])
            {
                break;
            }
            let index = self.index(pfn) as usize;
            self.frames[index].clear_head();
            run += 1;
        }
        run
    }

    /// Joins blocks of a pageblock and more.
    fn join_whole(&mut self, mut number: u32, mut order: usize) {
        while order < MAX_ORDER {
            let at = self.first_pfn + u64::from(self.pageblocks.index(number, 0));
            // A buddy below the first frame wraps to an index that is out of range.
            let index = (at ^ (1 << order)).wrapping_sub(self.first_pfn);
            if index >= self.frames.len() as u64 {
                break;
            }
            let frame = &self.frames[index as usize];
            if !frame.is_free_head() || frame.order() != order {
                break;
            }
            let buddy = self.pageblocks.number(index as u32);
            self.remove_whole(buddy, order);
            number = number.min(buddy);
            order += 1;
        }
        self.insert_whole(number, order);
    }

    /// Takes a free block out of its map or off its list.
    pub(super) fn remove(&mut self, block: Block) {
        let number = self.pageblock(block.pfn);
        if block.order >= PAGEBLOCK_ORDER {
            return self.remove_whole(number, block.order);
        }
        let (kind, offset) = (self.type_of(number), self.pageblocks.offset(self.index(block.pfn)));
        let mut map = self.pageblocks.map(self.frames, number);
        map.clear(offset, block.order);
        self.in_maps[kind as usize][block.order] -= 1;
        let (before, after) = map.close();
        self.relist(number, kind, before, after);
    }
}

/// How many blocks at the front of these, which are in descending order, make up one larger block: its first frame, and log2
/// of their number.
fn neighbours(blocks: &[u64], order: usize) -> (u64, usize) {
    let (mut lowest, mut together) = (blocks[0], 0);
    while order + together < PAGEBLOCK_ORDER {
        let frames = 2 << (order + together);
        match blocks.get((2 << together) - 1) {
            Some(&next) if next.is_multiple_of(frames) && blocks[0] - next == frames - (1 << order) => {
                lowest = next
            }
            _ => break,
        }
        together += 1;
    }
    (lowest, together)
}

/// Joins a block with its free buddies and sets it in the map; whether the whole pageblock is free now. It is in no map then.
#[inline]
fn join(map: &mut Map<'_>, counts: &mut [u32; PAGEBLOCK_ORDER], mut offset: usize, mut order: usize) -> bool {
    // Frames without metadata or that are not managed are never free.
    while order < PAGEBLOCK_ORDER && map.is_free(offset ^ (1 << order), order) {
        map.clear(offset ^ (1 << order), order);
        counts[order] -= 1;
        offset &= !(1 << order);
        order += 1;
    }
    if order < PAGEBLOCK_ORDER {
        map.set(offset, order);
        counts[order] += 1;
    }
    order == PAGEBLOCK_ORDER
}
