//! One frame out of the middle of a free block: what compaction moves to.

use super::Buddy;
use crate::{FreeError, Holder, MigrateType, PAGEBLOCK_ORDER};

impl Buddy<'_> {
    /// Takes the frame `pfn` out of the free block that holds it, as an allocated block of order 0 for `kind`. What is left of
    /// the free block stays free, in halves. False when the frame is not free. The allocation counters don't change: this
    /// is one half of a move, and [`give_back`](Self::give_back) of the other frame is the other.
    ///
    /// A typeless pageblock takes the type `kind`.
    pub fn take(&mut self, pfn: u64, kind: MigrateType) -> bool {
        let Holder::Free(block) = self.holder(pfn) else { return false };
        self.remove(block);
        if block.order >= PAGEBLOCK_ORDER {
            self.set_type(self.pageblock(pfn), kind);
        }
        let index = self.index(pfn) as usize;
        self.frames[index].mark_allocated(0, kind);
        let mut start = block.pfn;
        for half in (0..block.order).rev() {
            let upper = start + (1 << half);
            let (keep, free) = if pfn >= upper { (upper, start) } else { (start, upper) };
            // Its buddy is the half that is kept, so it joins nothing.
            self.insert(free, half);
            start = keep;
        }
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
