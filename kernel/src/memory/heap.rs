//! The kernel heap as Rust's global allocator, growing by buddy blocks seen through the direct map, and giving those back
//! in which nothing lies any more.
//!
//! Much of the kernel makes small allocations that cannot report an error (a `Box`, a map's node). What happens when
//! there is no memory for one depends on who asks:
//!
//! - A thread that can wait waits: it reclaims, compacts, has a task ended, and tries again
//!   ([`shortage::wait_for_heap`](super::shortage)). It may use the emergency frames when nothing of this helps.
//! - Interrupts, holders of spin locks, and threads that free memory for others cannot wait. For them there is a reserve of
//!   1 MiB that nobody else touches. What they need is bounded by the number of threads (places in wait queues and
//!   timers), and most of it comes back at once.

use super::layout::DIRECT_MAP;
use super::{direct, frames, shortage};
use crate::arch::percpu;
use crate::sync::IrqMutex;
use crate::tasks;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};
use mm::{Block, FRAME_SIZE, FrameSource, Heap, HeapStats, MigrateType};
use sched::TaskId;

/// Smallest piece that the heap takes while there is enough: 1 MiB.
const GROWTH_ORDER: usize = 8;
/// Idle memory that the heap keeps while there is enough: one piece.
const KEPT: usize = (FRAME_SIZE as usize) << GROWTH_ORDER;
/// The reserve: single frames, and blocks of 64 KiB for what is larger.
const RESERVE: [(usize, usize); 2] = [(0, 64), (4, 12)];

/// How far an allocation may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What all may have.
    Ordinary,
    /// The frames below the min mark too.
    Emergency,
    /// The heap's own reserve too.
    Reserve,
}

struct BuddyBlocks {
    /// For the allocation under way.
    depth: Depth,
    reserve: [heapless::Vec<Block, 64>; RESERVE.len()],
}

impl BuddyBlocks {
    const fn new() -> Self {
        Self { depth: Depth::Reserve, reserve: [const { heapless::Vec::new() }; RESERVE.len()] }
    }

    /// Fills the reserve up, as far as memory is there.
    fn keep_reserve(&mut self) {
        for (blocks, (order, count)) in self.reserve.iter_mut().zip(RESERVE) {
            while blocks.len() < count {
                let Ok(block) = frames::alloc(order, MigrateType::Unmovable) else { return };
                let _ = blocks.push(block);
            }
        }
    }

    fn reserve_bytes(&self) -> u64 {
        self.reserve.iter().flatten().map(Block::bytes).sum()
    }
}

// SAFETY: a block from the buddy allocator is nobody else's and mapped writable at the direct map, until the heap gives it
// back.
unsafe impl FrameSource for BuddyBlocks {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let pages = min_bytes.div_ceil(FRAME_SIZE as usize).checked_next_power_of_two()?;
        let wanted = pages.ilog2() as usize;
        // When memory is short, take no more than is asked for.
        let block = [wanted.max(GROWTH_ORDER), wanted]
            .into_iter()
            .find_map(|order| frames::alloc(order, MigrateType::Unmovable).ok())
            .or_else(|| match self.depth {
                Depth::Ordinary => None,
                _ => frames::alloc_emergency(wanted, MigrateType::Unmovable).ok(),
            })
            .or_else(|| match self.depth {
                Depth::Reserve => {
                    let fitting =
                        self.reserve.iter_mut().zip(RESERVE).filter(|(_, (order, _))| *order >= wanted);
                    fitting.map(|(blocks, _)| blocks).find_map(|blocks| blocks.pop())
                }
                _ => None,
            })?;
        Some((direct(block.address()), block.bytes() as usize))
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        let order = (bytes as u64 / FRAME_SIZE).ilog2() as usize;
        frames::free(Block { pfn: (start as u64 - DIRECT_MAP) / FRAME_SIZE, order });
    }
}

struct KernelHeap(IrqMutex<Heap<BuddyBlocks>>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(IrqMutex::new(Heap::new(BuddyBlocks::new())));

impl KernelHeap {
    fn attempt(&self, layout: Layout, depth: Depth) -> Option<NonNull<u8>> {
        if is_to_fail(depth) {
            return None;
        }
        let mut heap = self.0.lock();
        heap.source_mut().depth = depth;
        heap.allocate(layout)
    }

    /// When the ordinary way has failed.
    #[cold]
    fn find(&self, layout: Layout) -> Option<NonNull<u8>> {
        if tasks::may_wait() {
            shortage::wait_for_heap(layout.size(), &mut |depth| self.attempt(layout, depth))
        } else {
            self.attempt(layout, Depth::Reserve)
        }
    }
}

// SAFETY: `Heap` is an allocator; the lock makes its use exclusive.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let found = self.attempt(layout, Depth::Ordinary).or_else(|| self.find(layout));
        found.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: by the caller's contract, allocated here with this layout.
            unsafe { self.0.lock().deallocate(memory, layout) }
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(old) = NonNull::new(memory) else { return ptr::null_mut() };
        let resized = if is_to_fail(Depth::Ordinary) {
            None
        } else {
            let mut heap = self.0.lock();
            heap.source_mut().depth = Depth::Ordinary;
            // SAFETY: by the caller's contract, allocated here with this layout.
            unsafe { heap.reallocate(old, layout, new_size) }
        };
        if let Some(resized) = resized {
            return resized.as_ptr();
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        let Some(new) = self.find(new_layout) else { return ptr::null_mut() };
        // SAFETY: both are valid for the smaller size and distinct; the old one is the caller's, and given up by it.
        unsafe {
            new.as_ptr().copy_from_nonoverlapping(memory, layout.size().min(new_size));
            self.dealloc(memory, layout);
        }
        new.as_ptr()
    }
}

/// Attempts that are to fail, for a test.
struct Injected {
    task: TaskId,
    succeed: u64,
    fail: u64,
    failed: u64,
}

static INJECTING: AtomicBool = AtomicBool::new(false);
static INJECTED: IrqMutex<Injected> = IrqMutex::new(Injected { task: 0, succeed: 0, fail: 0, failed: 0 });

/// Lets the next `succeed` attempts of the calling thread to allocate go on, and refuses the `fail` after them, whatever
/// is free, but for those that may use the heap's reserve.
pub fn inject_failures(succeed: u64, fail: u64) {
    let task = tasks::current().id;
    *INJECTED.lock() = Injected { task, succeed, fail, failed: 0 };
    INJECTING.store(true, Ordering::Release);
}

/// Ends that; how many were refused.
pub fn end_of_failures() -> u64 {
    INJECTING.store(false, Ordering::Release);
    INJECTED.lock().failed
}

fn is_to_fail(depth: Depth) -> bool {
    if !INJECTING.load(Ordering::Relaxed) || depth == Depth::Reserve || !tasks::may_wait() {
        return false;
    }
    let mut injected = INJECTED.lock();
    if injected.task != percpu::this_cpu().current().id {
        return false;
    }
    if let Some(left) = injected.succeed.checked_sub(1) {
        injected.succeed = left;
        return false;
    }
    let Some(left) = injected.fail.checked_sub(1) else { return false };
    injected.fail = left;
    injected.failed += 1;
    true
}

/// Bytes claimed, allocated, and at the peak.
pub fn stats() -> HeapStats {
    HEAP.0.lock().stats()
}

/// Whether somebody is changing the heap at this moment: perhaps whoever was interrupted to ask this.
pub fn is_locked() -> bool {
    HEAP.0.is_locked()
}

/// Bytes of page frames that the heap has: claimed, or in reserve.
pub fn held() -> u64 {
    let mut heap = HEAP.0.lock();
    let reserve = heap.source_mut().reserve_bytes();
    heap.stats().claimed as u64 + reserve
}

/// Memory from what all may have, at once or not at all.
pub fn alloc_at_once(layout: Layout) -> Option<NonNull<u8>> {
    HEAP.attempt(layout, Depth::Ordinary)
}

/// Sees to it that there is a reserve, and that idle memory goes back: again and again, while memory is not short.
pub fn keep_in_order() {
    let mut heap = HEAP.0.lock();
    heap.source_mut().keep_reserve();
    let stats = heap.stats();
    // Only where it may be worth the look at all regions.
    if stats.claimed - stats.allocated > 2 * KEPT {
        heap.trim(KEPT);
    }
}

/// Bytes that [`trim`] could give back.
pub fn idle_bytes() -> u64 {
    HEAP.0.lock().idle_bytes() as u64
}

/// Gives back what is idle; how many bytes.
pub fn trim() -> u64 {
    HEAP.0.lock().trim(0) as u64
}
