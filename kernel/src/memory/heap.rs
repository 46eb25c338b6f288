//! The kernel heap as Rust's global allocator, growing by buddy blocks seen through the direct map, and giving those back
//! in which nothing lies any more.
//!
//! Small pieces come from slabs, and for the most part from what each CPU keeps for itself ([`heap_caches`]).
//!
//! Much of the kernel makes small allocations that cannot report an error (a `Box`, a map's node). What happens when
//! there is no memory for one depends on who asks:
//!
//! - A thread that can wait waits: it reclaims, compacts, has a task ended, and tries again
//!   ([`shortage::wait_for_heap`](super::shortage)). It may use the emergency frames when nothing of this helps.
//! - A thread that can begin again, the shell, has a reserve of half a MiB of its own, so that it goes on when others have
//!   taken all. What is beyond that is refused, and the thread begins again.
//! - Interrupts, holders of spin locks, and threads that free memory for others cannot wait. For them there is a reserve of
//!   1 MiB that nobody else touches. What they need is bounded by the number of threads (places in wait queues and
//!   timers), and most of it comes back at once.
//!
//! [`heap_caches`]: super::heap_caches

use super::layout::DIRECT_MAP;
use super::{direct, frames, heap_caches, shortage};
use crate::arch::percpu;
use crate::sync::IrqMutex;
use crate::tasks;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};
use mm::heap::{is_small, rounded};
use mm::{Block, FRAME_SIZE, FrameSource, Heap, HeapCache, HeapStats, MigrateType};
use sched::TaskId;

/// Smallest piece that the heap takes while there is enough: 1 MiB.
const GROWTH_ORDER: usize = 8;
/// Idle memory that the heap keeps while there is enough: one piece.
const KEPT: usize = (FRAME_SIZE as usize) << GROWTH_ORDER;
/// The reserve: single frames for slabs, and blocks of 64 KiB for what is larger; half each. Orders and numbers.
const RESERVE: [(usize, usize); 2] = [(0, 192), (4, 12)];
/// So many of them are for those who cannot wait.
const CANNOT_WAIT: [usize; RESERVE.len()] = [128, 8];

/// How far an allocation may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What all may have.
    Ordinary,
    /// The frames below the min mark too.
    Emergency,
    /// What is kept for a thread that can begin again too.
    Own,
    /// All of the heap's own reserve too.
    Reserve,
}

struct BuddyBlocks {
    /// For the allocation under way.
    depth: Depth,
    reserve: [heapless::Vec<Block, 192>; RESERVE.len()],
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

    /// A block of the order `wished` for, or at least `wanted`, from as deep as the allocation under way may go.
    fn block(&mut self, wished: usize, wanted: usize) -> Option<Block> {
        let ordinary = |order| frames::alloc(order, MigrateType::Unmovable).ok();
        let mut found = ordinary(wished);
        if found.is_none() && wished > wanted {
            found = ordinary(wanted);
        }
        if found.is_none() && self.depth >= Depth::Emergency {
            found = frames::alloc_emergency(wanted, MigrateType::Unmovable).ok();
        }
        if found.is_none() && self.depth >= Depth::Own {
            found = self.take_from_reserve(wanted);
        }
        found
    }

    /// A block from the reserve; for a frame, when there is none left, a larger one is split.
    fn take_from_reserve(&mut self, wanted: usize) -> Option<Block> {
        let left = if self.depth == Depth::Reserve { [0; RESERVE.len()] } else { CANNOT_WAIT };
        for list in 0..RESERVE.len() {
            let (order, _) = RESERVE[list];
            if order < wanted || self.reserve[list].len() <= left[list] {
                continue;
            }
            let block = self.reserve[list].pop()?;
            if wanted > 0 || order == 0 {
                return Some(block);
            }
            // There is room: a frame's list is looked at first, and holds no more than others are to find.
            let [singles, ..] = &mut self.reserve;
            for pfn in block.pfn + 1..block.pfn + (1 << order) {
                if singles.push(Block { pfn, order: 0 }).is_err() {
                    frames::free(Block { pfn, order: 0 });
                }
            }
            return Some(Block { pfn: block.pfn, order: 0 });
        }
        None
    }

    /// The reserve is filled up first.
    fn take_back(&mut self, block: Block) {
        for (blocks, (order, count)) in self.reserve.iter_mut().zip(RESERVE) {
            if order == block.order && blocks.len() < count && blocks.push(block).is_ok() {
                return;
            }
        }
        // Not to this CPU's cache, from where all may take it: it may come from below the min mark.
        frames::free(block);
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
        let block = self.block(wanted.max(GROWTH_ORDER), wanted)?;
        Some((direct(block.address()), block.bytes() as usize))
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        let order = (bytes as u64 / FRAME_SIZE).ilog2() as usize;
        self.take_back(Block { pfn: frame_of(start), order });
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        NonNull::new(direct(self.block(0, 0)?.address()))
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        self.take_back(Block { pfn: frame_of(slab.as_ptr()), order: 0 });
    }
}

fn frame_of(memory: *mut u8) -> u64 {
    (memory as u64 - DIRECT_MAP) / FRAME_SIZE
}

struct KernelHeap(IrqMutex<Heap<BuddyBlocks>>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(IrqMutex::new(Heap::new(BuddyBlocks::new())));

impl KernelHeap {
    fn attempt(&self, layout: Layout, depth: Depth) -> Option<NonNull<u8>> {
        if is_to_fail(depth) {
            return None;
        }
        match heap_caches::with(|cache| cache.allocate(layout)) {
            Some(Some(memory)) => Some(memory),
            _ => self.refill(layout, depth),
        }
    }

    /// When the CPU has nothing of that size.
    #[cold]
    #[inline(never)]
    fn refill(&self, layout: Layout, depth: Depth) -> Option<NonNull<u8>> {
        let lock = || {
            let mut heap = self.0.lock();
            heap.source_mut().depth = depth;
            heap
        };
        let found = match depth {
            Depth::Ordinary => heap_caches::with(|cache| cache.refill(&mut lock(), layout)),
            // What is taken from a reserve is not to be kept.
            _ => None,
        };
        found.unwrap_or_else(|| match depth {
            // From slabs that those who have taken all memory do not take from.
            Depth::Own | Depth::Reserve => lock().allocate_protected(layout),
            Depth::Ordinary | Depth::Emergency => lock().allocate(layout),
        })
    }

    /// When the CPU has enough of that size.
    ///
    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[cold]
    #[inline(never)]
    unsafe fn give_back(&self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: by the caller, allocated here with this layout; there is one heap.
        let kept = heap_caches::with(|cache| unsafe {
            cache.deallocate_full(&mut self.0.lock(), memory, layout);
        });
        if kept.is_none() {
            // SAFETY: as above.
            unsafe { self.0.lock().deallocate(memory, layout) };
        }
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
            // SAFETY: by the caller's contract, allocated here with this layout; there is one heap.
            let kept = heap_caches::with(|cache| unsafe { cache.deallocate(memory, layout) });
            if kept != Some(true) {
                // SAFETY: as above; the cache has not taken it.
                unsafe { self.give_back(memory, layout) };
            }
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(old) = NonNull::new(memory) else { return ptr::null_mut() };
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        if rounded(layout) == rounded(new_layout) {
            return memory;
        }
        // A failure that is injected is met once, by `alloc`.
        if !is_small(layout) && !is_small(new_layout) && !INJECTING.load(Ordering::Relaxed) {
            let mut heap = self.0.lock();
            heap.source_mut().depth = Depth::Ordinary;
            // SAFETY: by the caller's contract, allocated here with this layout.
            if let Some(resized) = unsafe { heap.reallocate(old, layout, new_size) } {
                return resized.as_ptr();
            }
        }
        // SAFETY: the size is not 0, by the caller's contract.
        let Some(new) = NonNull::new(unsafe { self.alloc(new_layout) }) else { return ptr::null_mut() };
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

/// Bytes claimed, allocated, and at the peak; what the CPUs keep for themselves counts as allocated.
pub fn stats() -> HeapStats {
    HEAP.0.lock().stats()
}

/// Takes back all that a CPU keeps for itself.
pub(super) fn take_back(cache: &mut HeapCache) {
    // SAFETY: there is one heap.
    unsafe { cache.drain(&mut HEAP.0.lock()) };
}

/// Whether the heap is being changed at this moment, or what this CPU keeps of it: perhaps by whoever was interrupted to ask this.
/// Interrupts are off.
pub fn is_locked() -> bool {
    HEAP.0.is_locked() || heap_caches::is_being_changed()
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

/// Sees to it that there is a reserve, that idle memory goes back, and that the CPUs keep pieces for themselves: again and
/// again, in a thread, while memory is not short.
pub fn keep_in_order() {
    let mut heap = HEAP.0.lock();
    heap.source_mut().keep_reserve();
    heap.keep_slabs(true);
    let stats = heap.stats();
    drop(heap);
    // Only where it may be worth the look at all regions.
    if stats.claimed - stats.allocated > 2 * KEPT {
        trim_to(KEPT);
    }
    heap_caches::switch_on();
}

/// From here on the CPUs keep pieces for themselves while memory is not short. Once, in a thread, with all CPUs running.
pub fn start_caching() {
    heap_caches::init();
    keep_in_order();
}

/// Gives up what the CPUs keep for themselves, and empty slabs as soon as they are empty, until [`keep_in_order`] is called
/// next: memory is short. In a thread, without locks.
pub fn stop_caching() {
    HEAP.0.lock().keep_slabs(false);
    heap_caches::switch_off();
}

/// Bytes that [`trim`] could give back, apart from what the CPUs pin by what they keep.
pub fn idle_bytes() -> u64 {
    HEAP.0.lock().idle_bytes() as u64
}

/// Gives back what is idle; how many bytes. In a thread, without locks.
pub fn trim() -> u64 {
    heap_caches::drain();
    trim_to(0)
}

fn trim_to(keep: usize) -> u64 {
    let mut given = 0;
    loop {
        // A part at a time, so that interrupts and others are let in.
        let part = HEAP.0.lock().trim(keep) as u64;
        if part == 0 {
            return given;
        }
        given += part;
    }
}
