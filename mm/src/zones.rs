//! The memory of a machine: two zones, each a buddy allocator with watermarks.

mod view;

use crate::{
    AddError, AllocError, Block, Buddy, Frame, FreeError, MigrateType, Reserve, Watermarks, ZonesError,
};

/// Frames below this number lie in the first 4 GiB: what devices with 32-bit addresses can reach.
const DMA32_END: u64 = (4 << 30) / crate::FRAME_SIZE;

/// Of the memory above 4 GiB, this part is kept free below 4 GiB, so that those who could use either don't take all
/// of what some need (Linux: `lowmem_reserve_ratio` of this zone).
const PROTECTION_RATIO: u64 = 256;

/// Which memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ZoneKind {
    /// Below 4 GiB.
    Dma32 = 0,
    /// From 4 GiB on.
    Normal = 1,
}

impl ZoneKind {
    /// Both, in ascending order of address.
    pub const ALL: [Self; 2] = [Self::Dma32, Self::Normal];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
        }
    }
}

/// One zone.
struct Zone<'m> {
    buddy: Buddy<'m>,
    watermarks: Watermarks,
    /// Frames that stay free here when a request could also be served from a higher zone.
    protection: u64,
}

/// Two zones over one array of frame metadata.
///
/// A request goes to `Normal` if that stays above its low mark, else to `Dma32`, else to either as far as the
/// caller's [`Reserve`] goes. Frames that per-CPU caches hold are allocated as far as a zone knows: what is in use is
/// total − free − the sum of [`CpuCache::held`](crate::CpuCache::held).
///
/// ```
/// use mm::{Frame, MigrateType, Reserve, Zones};
///
/// let mut frames = vec![Frame::RESERVED; 16384]; // 64 MiB
/// let mut zones = Zones::new(&mut frames, 0);
/// zones.add_free(256, 16384 - 256)?;
/// let block = zones.alloc(0, MigrateType::Movable, Reserve::None)?;
/// zones.free(block.pfn, block.order)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Zones<'m> {
    zones: [Zone<'m>; 2],
    refused: u64,
    /// Allocations that still succeed, and then how many fail: see [`inject_failures`](Self::inject_failures).
    injected: Option<(u64, u64)>,
}

impl<'m> Zones<'m> {
    /// Zones with metadata for `frames.len()` frames from `first_pfn` on, all of them reserved until
    /// [`add_free`](Self::add_free) is called for them. What holds for `frames` in [`Buddy::new`] holds here.
    #[must_use]
    pub fn new(frames: &'m mut [Frame], first_pfn: u64) -> Self {
        Self::with_border(frames, first_pfn, DMA32_END)
    }

    /// As [`new`](Self::new), with `Normal` beginning at frame `border`: for tests and for simulated machines.
    #[must_use]
    pub fn with_border(frames: &'m mut [Frame], first_pfn: u64, border: u64) -> Self {
        let below = usize::try_from(border.saturating_sub(first_pfn)).unwrap_or(usize::MAX);
        let (low, high) = frames.split_at_mut(below.min(frames.len()));
        let zone = |frames, first| Zone {
            buddy: Buddy::new(frames, first),
            watermarks: Watermarks::default(),
            protection: 0,
        };
        let zones = [zone(low, first_pfn), zone(high, first_pfn.max(border))];
        Self { zones, refused: 0, injected: None }
    }

    /// Gives the frames `pfn .. pfn + count` to the zones that they lie in, and sets the watermarks anew.
    ///
    /// # Errors
    /// As [`Buddy::add_free`]; nothing is added then.
    pub fn add_free(&mut self, pfn: u64, count: u64) -> Result<(), AddError> {
        let [dma32, normal] = &mut self.zones;
        let (first, end) = (dma32.buddy.span().start, normal.buddy.span().end.max(dma32.buddy.span().end));
        let border = normal.buddy.span().start;
        let limit = pfn.checked_add(count).filter(|&limit| pfn >= first && limit <= end);
        let limit = limit.ok_or(AddError::OutOfRange { pfn, count, first, end })?;
        let below = border.clamp(pfn, limit) - pfn;
        normal.buddy.check_add(pfn + below, count - below)?;
        dma32.buddy.add_free(pfn, below)?;
        normal.buddy.add_free(pfn + below, count - below)?;
        self.set_watermarks_by_size();
        Ok(())
    }

    fn set_watermarks_by_size(&mut self) {
        let [dma32, normal] = self.zones.each_ref().map(|zone| zone.buddy.stats().total_frames);
        for (zone, frames) in self.zones.iter_mut().zip([dma32, normal]) {
            zone.watermarks = Watermarks::for_zone(frames, dma32 + normal);
        }
        self.zones[0].protection = normal / PROTECTION_RATIO;
    }

    /// Replaces a zone's marks, which follow from the size of memory until then.
    pub fn set_watermarks(&mut self, zone: ZoneKind, watermarks: Watermarks) {
        self.zones[zone as usize].watermarks = watermarks;
    }

    /// A zone's marks.
    #[must_use]
    pub fn watermarks(&self, zone: ZoneKind) -> Watermarks {
        self.zones[zone as usize].watermarks
    }

    /// Allocates a block of `1 << order` frames from anywhere.
    ///
    /// # Errors
    /// No zone has such a block, or none may give it away: see [`Reserve`].
    pub fn alloc(&mut self, order: usize, kind: MigrateType, reserve: Reserve) -> Result<Block, ZonesError> {
        self.alloc_up_to(ZoneKind::Normal, order, kind, reserve)
    }

    /// Allocates a block from `highest` or a lower zone: `Dma32` for devices with 32-bit addresses.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn alloc_up_to(
        &mut self,
        highest: ZoneKind,
        order: usize,
        kind: MigrateType,
        reserve: Reserve,
    ) -> Result<Block, ZonesError> {
        self.fail_if_asked(order)?;
        self.serve(highest, order, kind, reserve)
    }

    fn serve(
        &mut self,
        highest: ZoneKind,
        order: usize,
        kind: MigrateType,
        reserve: Reserve,
    ) -> Result<Block, ZonesError> {
        // First from a zone that stays above its low mark, then as deep as the caller may go.
        for deep in [false, true] {
            for index in (0..=highest as usize).rev() {
                let protection = self.protection(index, highest);
                let Zone { buddy, watermarks, .. } = &mut self.zones[index];
                let mark = if deep { reserve.floor(order, watermarks.min) } else { watermarks.low };
                let protection = if reserve == Reserve::None { protection } else { 0 };
                if buddy.has_above(order, mark + protection)
                    && let Some(block) = buddy.try_alloc(order, kind)
                {
                    return Ok(block);
                }
            }
        }
        self.refused += 1;
        Err(self.refusal(highest, order))
    }

    /// The largest block of at most `order` that ordinary requests may have: for pools made of several pieces.
    ///
    /// # Errors
    /// Not even a frame can be had.
    pub fn alloc_at_most(&mut self, order: usize, kind: MigrateType) -> Result<Block, ZonesError> {
        let largest = self.zones.iter().filter_map(|zone| zone.buddy.stats().largest_free_order).max();
        let mut order = order.min(largest.unwrap_or(0));
        loop {
            let room = (0..2).any(|index| {
                let mark = self.zones[index].watermarks.min + self.protection(index, ZoneKind::Normal);
                let buddy = &self.zones[index].buddy;
                buddy.largest_free_order() >= Some(order) && buddy.has_above(order, mark)
            });
            if room || order == 0 {
                return self.alloc(order, kind, Reserve::None);
            }
            order -= 1;
        }
    }

    /// Fills `blocks` with blocks of `order` while a zone stays above its low mark, and if that gives none, with one from below it
    /// like [`alloc`](Self::alloc); how many. There is room for one at least.
    pub(crate) fn alloc_batch(
        &mut self,
        blocks: &mut [u64],
        order: usize,
        kind: MigrateType,
        reserve: Reserve,
    ) -> Result<usize, ZonesError> {
        self.fail_if_asked(order)?;
        let mut count = 0;
        for index in [1, 0] {
            let mark = self.zones[index].watermarks.low + self.protection(index, ZoneKind::Normal);
            count += self.zones[index].buddy.fill(&mut blocks[count..], order, kind, mark);
        }
        if count == 0 {
            blocks[0] = self.serve(ZoneKind::Normal, order, kind, reserve)?.pfn;
            count = 1;
        }
        Ok(count)
    }

    fn protection(&self, index: usize, highest: ZoneKind) -> u64 {
        if index < highest as usize { self.zones[index].protection } else { 0 }
    }

    fn refusal(&self, highest: ZoneKind, order: usize) -> ZonesError {
        if order > crate::MAX_ORDER {
            return AllocError::OrderTooLarge { order }.into();
        }
        let zones = &self.zones[..=highest as usize];
        let free = zones.iter().map(|zone| zone.buddy.free_frames()).sum();
        if free < 1 << order {
            AllocError::OutOfMemory { order, free }.into()
        } else if zones.iter().all(|zone| zone.buddy.largest_free_order() < Some(order)) {
            AllocError::Fragmented { order, free }.into()
        } else {
            ZonesError::Reserved { order, free, min: zones.iter().map(|zone| zone.watermarks.min).sum() }
        }
    }

    /// Frees a block that one of the `alloc`s returned.
    ///
    /// # Errors
    /// As [`Buddy::free`]; nothing has changed then.
    pub fn free(&mut self, pfn: u64, order: usize) -> Result<(), FreeError> {
        self.buddy_of_mut(pfn).free(pfn, order)
    }

    pub(crate) fn buddy_mut(&mut self, zone: ZoneKind) -> &mut Buddy<'m> {
        &mut self.zones[zone as usize].buddy
    }

    fn buddy_of_mut(&mut self, pfn: u64) -> &mut Buddy<'m> {
        self.buddy_mut(self.zone_of(pfn))
    }

    /// Lets the next `succeed` allocations through and refuses the `fail` after them, whatever is free: so a test fails
    /// each allocation site in turn. Replaces what was asked before.
    pub fn inject_failures(&mut self, succeed: u64, fail: u64) {
        self.injected = Some((succeed, fail));
    }

    fn fail_if_asked(&mut self, order: usize) -> Result<(), ZonesError> {
        let Some((succeed, fail)) = &mut self.injected else { return Ok(()) };
        if let Some(left) = succeed.checked_sub(1) {
            *succeed = left;
        } else if let Some(left) = fail.checked_sub(1) {
            *fail = left;
            self.refused += 1;
            return Err(ZonesError::Injected { order });
        } else {
            self.injected = None;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;
