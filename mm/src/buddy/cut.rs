//! Taking blocks out of larger ones.

use super::Buddy;
use crate::free_lists::Group;
use crate::pageblock::Map;
use crate::{MigrateType, PAGEBLOCK_ORDER};

impl Buddy<'_> {
    /// Takes a block out of a partly used pageblock, which has one that is large enough.
    pub(super) fn cut_from_pageblock(&mut self, number: u32, order: usize) -> u32 {
        let kind = self.type_of(number);
        let mut map = self.pageblocks.map(self.frames, number);
        let offset = cut(&mut map, &mut self.in_maps[kind as usize], order).unwrap_or_default();
        let (before, after) = map.close();
        self.relist(number, kind, before, after);
        self.pageblocks.index(number, offset)
    }

    /// Fills `blocks` with blocks of `order`, as far as there are any and `floor` frames stay free; how many. As many
    /// as can be come from one pageblock.
    pub(crate) fn fill(&mut self, blocks: &mut [u64], order: usize, kind: MigrateType, floor: u64) -> usize {
        let mut count = 0;
        while let Some(rest) = blocks.get_mut(count..).filter(|rest| !rest.is_empty())
            && self.has_above(order, floor)
        {
            let may_take = ((self.free - floor) >> order).min(rest.len() as u64) as usize;
            let Some(number) = self.choose(order, kind) else {
                // A wholly free pageblock is broken, and the next round finds the rest of it.
                let Some(block) = self.try_alloc(order, kind) else { break };
                rest[0] = block.pfn;
                count += 1;
                continue;
            };
            let of = self.type_of(number);
            let mut map = self.pageblocks.map(self.frames, number);
            let mut taken = 0;
            while taken < may_take
                && let Some((_, found)) = map.smallest(order)
            {
                // All of the block that is found, if that many are wanted, at one stroke.
                let together = (found - order).min((may_take - taken).ilog2() as usize);
                let counts = &mut self.in_maps[of as usize];
                let Some(offset) = cut(&mut map, counts, order + together) else { break };
                let pfn = self.first_pfn + u64::from(self.pageblocks.index(number, offset));
                for (slot, nth) in rest[taken..taken + (1 << together)].iter_mut().zip(0..) {
                    *slot = pfn + (nth << order);
                }
                taken += 1 << together;
            }
            let (before, after) = map.close();
            self.relist(number, of, before, after);
            for &pfn in &rest[..taken] {
                self.frames[(pfn - self.first_pfn) as usize].mark_allocated(order, kind);
            }
            let frames = (taken as u64) << order;
            self.free -= frames;
            self.allocs += taken as u64;
            self.allocated_frames += frames;
            count += taken;
        }
        count
    }

    /// Takes a block out of wholly free pageblocks. One that is broken becomes `kind`.
    pub(super) fn cut_from_whole(&mut self, order: usize, kind: MigrateType) -> Option<u32> {
        let (number, found) = self.lists.smallest(order, Group::Whole)?;
        self.remove_whole(number, found);
        for half in (order.max(PAGEBLOCK_ORDER)..found).rev() {
            self.insert_whole(number + (1 << (half - PAGEBLOCK_ORDER)), half);
        }
        if order < PAGEBLOCK_ORDER {
            self.set_type(number, kind);
            let mut map = self.pageblocks.map(self.frames, number);
            for half in order..PAGEBLOCK_ORDER {
                map.set(1 << half, half);
                self.in_maps[kind as usize][half] += 1;
            }
            let (before, after) = map.close();
            self.relist(number, kind, before, after);
        }
        Some(self.pageblocks.index(number, 0))
    }
}

/// Cuts the lowest of the smallest blocks that suffice out of a map: keeps its lower half, frees the upper one, until the
/// size is right. Its offset.
#[inline]
fn cut(map: &mut Map<'_>, counts: &mut [u32; PAGEBLOCK_ORDER], order: usize) -> Option<usize> {
    let (offset, found) = map.smallest(order)?;
    map.clear(offset, found);
    counts[found] -= 1;
    for (half, count) in counts.iter_mut().enumerate().take(found).skip(order) {
        map.set(offset + (1 << half), half);
        *count += 1;
    }
    Some(offset)
}
