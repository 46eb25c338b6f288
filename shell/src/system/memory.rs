//! Memory as `free` and `memctl` show it: pages, zones and the heap.

use crate::slm::SlmPool;
use alloc::vec::Vec;

/// Physical memory and what was made of it. All sizes in bytes unless a field says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All usable memory that the boot's memory map lists, kernel image included.
    pub total: u64,
    /// The page allocator.
    pub pages: PageStats,
    /// The kernel heap.
    pub heap: HeapStats,
    /// The SLM pool, if it was reserved (its pages are in use as far as `pages` knows).
    pub slm_pool: Option<SlmPool>,
}

/// State of the page allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageStats {
    /// Bytes in a frame: 4096.
    pub frame_size: u64,
    /// Frames that it manages.
    pub total_frames: u64,
    /// Frames that are free.
    pub free_frames: u64,
    /// Free blocks per order: `[k]` counts free blocks of `frame_size << k` bytes. Length = highest order + 1.
    pub free_blocks: Vec<u64>,
    /// Successful allocations since boot.
    pub allocations: u64,
    /// Frees since boot.
    pub frees: u64,
    /// Refused allocations since boot.
    pub failures: u64,
}

/// State of the kernel heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes claimed from the page allocator.
    pub size: u64,
    /// Bytes of it that are allocated.
    pub used: u64,
    /// Most bytes ever allocated at once.
    pub peak: u64,
    /// Allocations that live now.
    pub live: u64,
}

/// One zone of physical memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneState {
    /// `DMA32` or `Normal`.
    pub name: &'static str,
    /// Its counters.
    pub stats: mm::Stats,
    /// Its marks.
    pub watermarks: mm::Watermarks,
    /// Free blocks per order in partly used pageblocks, by migrate type (order of `mm::MigrateType::ALL`).
    pub by_type: [[u64; mm::ORDERS]; 3],
}

/// Memory management at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryState {
    /// The zones that have memory.
    pub zones: Vec<ZoneState>,
    /// How short memory is.
    pub pressure: mm::Pressure,
    /// Free frames that the CPUs keep for themselves.
    pub cached_frames: u64,
    /// Caches that reclaim may shrink: name and bytes.
    pub caches: Vec<(&'static str, u64)>,
    /// Totals of reclaim.
    pub reclaim: mm::reclaim::ReclaimStats,
    /// Time lost in waiting for memory.
    pub stall: mm::stall::StallStats,
    /// Compactions since boot.
    pub compactions: u64,
    /// Pages moved since boot.
    pub moved: u64,
    /// Times that memory ran out.
    pub ooms: u64,
    /// Tasks ended for it.
    pub kills: u64,
}
