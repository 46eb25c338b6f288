//! The firmware's memory map as `bootloader_api` regions, with the parts in use cut out.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::cell::UnsafeCell;

/// More regions than this are dropped (they stay unused); firmware lists 5 to 60.
const CAPACITY: usize = 256;

struct Storage(UnsafeCell<[MemoryRegion; CAPACITY]>);
// SAFETY: written only by the one `MemoryMap` that `boot::start` makes, on one CPU, before any other runs.
unsafe impl Sync for Storage {}
static STORAGE: Storage = Storage(UnsafeCell::new([MemoryRegion::empty(); CAPACITY]));

/// A memory map under construction.
pub struct MemoryMap {
    regions: &'static mut [MemoryRegion; CAPACITY],
    len: usize,
}

impl MemoryMap {
    /// The (only) map.
    ///
    /// # Safety
    /// Called once.
    pub unsafe fn new() -> Self {
        // SAFETY: called once, so this is the only reference to the storage.
        Self { regions: unsafe { &mut *STORAGE.0.get() }, len: 0 }
    }

    /// Adds a region of an e820 `kind` (1 is usable memory; PVH and Multiboot2 share the numbers).
    pub fn add(&mut self, start: u64, size: u64, kind: u32) {
        let kind = match kind {
            1 => MemoryRegionKind::Usable,
            other => MemoryRegionKind::UnknownBios(other),
        };
        self.push(start, start.saturating_add(size), kind);
    }

    /// Marks `start..end` as in use: usable regions that overlap it are cut.
    pub fn reserve(&mut self, start: u64, end: u64) {
        for index in 0..self.len {
            let region = self.regions[index];
            if region.kind != MemoryRegionKind::Usable || region.end <= start || end <= region.start {
                continue;
            }
            let (cut_start, cut_end) = (region.start.max(start), region.end.min(end));
            self.regions[index] =
                MemoryRegion { start: cut_start, end: cut_end, kind: MemoryRegionKind::Bootloader };
            self.push(region.start, cut_start, MemoryRegionKind::Usable);
            self.push(cut_end, region.end, MemoryRegionKind::Usable);
        }
    }

    /// The regions, sorted by address.
    pub fn leak(self) -> &'static mut [MemoryRegion] {
        let regions = &mut self.regions[..self.len];
        regions.sort_unstable_by_key(|region| region.start);
        regions
    }

    fn push(&mut self, start: u64, end: u64, kind: MemoryRegionKind) {
        if start < end && self.len < CAPACITY {
            self.regions[self.len] = MemoryRegion { start, end, kind };
            self.len += 1;
        }
    }
}
