//! The kernel heap as Rust's global allocator, growing by buddy blocks seen through the direct map.
//!
//! Much of the kernel makes small allocations that cannot report an error (a `Box`, a map's node). For them the heap keeps
//! one block in reserve, takes it when there is no other, and gets a new one as soon as memory is there again. Larger
//! requests are made by callers that can be refused.

use super::{direct, frames};
use crate::sync::IrqMutex;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use mm::{Block, FrameSource, Heap, HeapStats, MigrateType};

/// Smallest piece that the heap takes: 1 MiB.
const GROWTH_ORDER: u32 = 8;
/// The reserve is for requests up to this size.
const RESERVED_FOR: usize = 64 << 10;

struct BuddyBlocks {
    reserve: Option<Block>,
}

impl BuddyBlocks {
    /// Takes a new reserve where there is none.
    fn keep_reserve(&mut self) {
        if self.reserve.is_none() {
            self.reserve = frames::alloc(GROWTH_ORDER as usize, MigrateType::Unmovable).ok();
        }
    }
}

// SAFETY: a block from the buddy allocator is nobody else's, is mapped writable at the direct map, and is never
// given back.
unsafe impl FrameSource for BuddyBlocks {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let pages = min_bytes.div_ceil(4096).checked_next_power_of_two()?;
        let wanted = pages.ilog2();
        // When memory is short, take no more than is asked for.
        let block = [wanted.max(GROWTH_ORDER), wanted]
            .into_iter()
            .find_map(|order| frames::alloc_emergency(order as usize, MigrateType::Unmovable).ok())
            .or_else(|| self.reserve.take_if(|_| min_bytes <= RESERVED_FOR))?;
        Some((direct(block.address()), block.bytes() as usize))
    }
}

struct KernelHeap(IrqMutex<Heap<BuddyBlocks>>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(IrqMutex::new(Heap::new(BuddyBlocks { reserve: None })));

// SAFETY: `Heap` is an allocator; the lock makes its use exclusive.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: by the caller's contract, allocated here with this layout.
            unsafe { self.0.lock().deallocate(memory, layout) }
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(memory) = NonNull::new(memory) else { return ptr::null_mut() };
        // SAFETY: by the caller's contract, allocated here with this layout.
        unsafe { self.0.lock().reallocate(memory, layout, new_size) }.map_or(ptr::null_mut(), NonNull::as_ptr)
    }
}

/// Bytes claimed, allocated, and at the peak.
pub fn stats() -> HeapStats {
    HEAP.0.lock().stats()
}

/// Bytes of page frames that the heap has: claimed, or in reserve.
pub fn held() -> u64 {
    let mut heap = HEAP.0.lock();
    let reserve = heap.source_mut().reserve.map_or(0, |block| block.bytes());
    heap.stats().claimed as u64 + reserve
}

/// Sees to it that there is a reserve: again and again, while memory is not short.
pub fn keep_reserve() {
    HEAP.0.lock().source_mut().keep_reserve();
}
