//! The allocators, each behind the lock that it needs when several CPUs use it.

use buddy_system_allocator::FrameAllocator;
use core::alloc::Layout;
use core::ptr::NonNull;
use mm::{Block, Buddy, CpuCache, FrameSource, HeapCache, MAX_CACHED_ORDER, MigrateType, Reserve, Zones};
use spin::Mutex;

/// What one thread uses. A result of `alloc` is whatever `free` wants back.
pub trait Allocator {
    fn alloc(&mut self, size: u32, kind: MigrateType) -> Option<u64>;
    fn free(&mut self, at: u64, size: u32, kind: MigrateType);
}

/// Ours as the kernel uses it: zones behind a lock, small blocks from the CPU's cache.
pub struct Cached<'a, 'm> {
    pub zones: &'a Mutex<Zones<'m>>,
    pub cache: CpuCache,
}

impl Allocator for Cached<'_, '_> {
    #[inline]
    fn alloc(&mut self, order: u32, kind: MigrateType) -> Option<u64> {
        if order as usize > MAX_CACHED_ORDER {
            let block = self.zones.lock().alloc(order as usize, kind, Reserve::None);
            return block.ok().map(|block| block.pfn);
        }
        match self.cache.alloc(order as usize, kind) {
            Some(pfn) => Some(pfn),
            None => self.cache.refill(&mut self.zones.lock(), order as usize, kind, Reserve::None).ok(),
        }
    }

    // As a call, the kind that was stored as a byte is read as four: that costs more than all the rest.
    #[inline(always)]
    fn free(&mut self, pfn: u64, order: u32, kind: MigrateType) {
        if order as usize > MAX_CACHED_ORDER {
            return self.zones.lock().free(pfn, order as usize).expect("the script frees what it got");
        }
        if let Some(drained) = self.cache.free(pfn, order as usize, kind) {
            self.zones.lock().free_drained(drained).expect("the script frees what it got");
        }
    }
}

impl Drop for Cached<'_, '_> {
    fn drop(&mut self) {
        self.cache.drain_all(&mut self.zones.lock()).expect("the script frees what it got");
    }
}

/// Allocates nothing: what the replay of the script costs by itself.
pub struct Nothing;

impl Allocator for Nothing {
    #[inline]
    fn alloc(&mut self, size: u32, _: MigrateType) -> Option<u64> {
        Some(u64::from(size))
    }

    #[inline]
    fn free(&mut self, at: u64, _: u32, _: MigrateType) {
        core::hint::black_box(at);
    }
}

/// Ours without caches and zones: one buddy allocator behind a lock.
pub struct Plain<'a, 'm>(pub &'a Mutex<Buddy<'m>>);

impl Allocator for Plain<'_, '_> {
    #[inline]
    fn alloc(&mut self, order: u32, kind: MigrateType) -> Option<u64> {
        self.0.lock().alloc(order as usize, kind).ok().map(|block| block.pfn)
    }

    #[inline]
    fn free(&mut self, pfn: u64, order: u32, _: MigrateType) {
        self.0.lock().free(pfn, order as usize).expect("the script frees what it got");
    }
}

/// `buddy_system_allocator`'s frame allocator.
pub struct PeerFrames<'a>(pub &'a Mutex<FrameAllocator<17>>);

impl Allocator for PeerFrames<'_> {
    #[inline]
    fn alloc(&mut self, order: u32, _: MigrateType) -> Option<u64> {
        self.0.lock().alloc(1 << order).map(|frame| frame as u64)
    }

    #[inline]
    fn free(&mut self, pfn: u64, order: u32, _: MigrateType) {
        self.0.lock().dealloc(pfn as usize, 1 << order);
    }
}

/// A heap: bytes from an arena.
pub trait RawHeap: Send {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;
    /// # Safety
    /// `at` came from `allocate` with this layout and was not freed since.
    unsafe fn deallocate(&mut self, at: NonNull<u8>, layout: Layout);
}

impl RawHeap for buddy_system_allocator::Heap<33> {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.alloc(layout).ok()
    }
    unsafe fn deallocate(&mut self, at: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { self.dealloc(at, layout) };
    }
}

impl RawHeap for linked_list_allocator::Heap {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.allocate_first_fit(layout).ok()
    }
    unsafe fn deallocate(&mut self, at: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { linked_list_allocator::Heap::deallocate(self, at, layout) };
    }
}

/// talc alone, on one arena.
pub struct Talc(pub talc::base::Talc<talc::source::Manual, talc::DefaultBinning>);

// SAFETY: its pointers lead into the leaked arena, which moves with it from thread to thread behind a lock.
unsafe impl Send for Talc {}

impl RawHeap for Talc {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: no script asks for 0 bytes.
        unsafe { self.0.try_allocate(layout) }
    }
    unsafe fn deallocate(&mut self, at: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { self.0.deallocate(at.as_ptr(), layout) };
    }
}

/// Our heap over our buddy, as in the kernel.
pub struct OurHeap(pub mm::Heap<Blocks>);

// SAFETY: as for `Talc`.
unsafe impl Send for OurHeap {}

/// Blocks of an arena, by frame number, single ones through a cache as in the kernel.
pub struct Blocks {
    pub zones: Zones<'static>,
    pub cache: CpuCache,
    pub arena: *mut u8,
}

// SAFETY: every block of the zones is handed out once, and lies in the leaked arena.
unsafe impl FrameSource for Blocks {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let pages = min_bytes.max(1 << 20).div_ceil(4096).next_power_of_two();
        let order = pages.trailing_zeros() as usize;
        let block: Block = self.zones.alloc(order, MigrateType::Unmovable, Reserve::None).ok()?;
        Some((self.arena.wrapping_add(block.address() as usize), block.bytes() as usize))
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        let pfn = match self.cache.alloc(0, MigrateType::Unmovable) {
            Some(pfn) => pfn,
            None => self.cache.refill(&mut self.zones, 0, MigrateType::Unmovable, Reserve::None).ok()?,
        };
        NonNull::new(self.arena.wrapping_add(pfn as usize * 4096))
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        let pfn = (slab.as_ptr().addr() - self.arena.addr()) as u64 / 4096;
        if let Some(drained) = self.cache.free(pfn, 0, MigrateType::Unmovable) {
            self.zones.free_drained(drained).expect("it was handed out");
        }
    }
}

impl RawHeap for OurHeap {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout)
    }
    unsafe fn deallocate(&mut self, at: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { self.0.deallocate(at, layout) };
    }
}

/// Our heap behind a lock, small pieces from the CPU's cache.
pub struct CachedHeap<'a> {
    pub heap: &'a Mutex<OurHeap>,
    pub cache: HeapCache,
}

impl CachedHeap<'_> {
    #[cold]
    #[inline(never)]
    fn refill(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.cache.refill(&mut self.heap.lock().0, layout)
    }

    /// # Safety
    /// As [`HeapCache::deallocate_full`].
    #[cold]
    #[inline(never)]
    unsafe fn deallocate_full(&mut self, at: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller vouches.
        unsafe { self.cache.deallocate_full(&mut self.heap.lock().0, at, layout) };
    }
}

impl Allocator for CachedHeap<'_> {
    #[inline]
    fn alloc(&mut self, size: u32, _: MigrateType) -> Option<u64> {
        let layout = bytes(size);
        let at = match self.cache.allocate(layout) {
            Some(at) => at,
            None => self.refill(layout)?,
        };
        Some(at.as_ptr().expose_provenance() as u64)
    }

    #[inline]
    fn free(&mut self, at: u64, size: u32, _: MigrateType) {
        let at = core::ptr::with_exposed_provenance_mut(at as usize);
        if let Some(at) = NonNull::new(at) {
            // SAFETY: a script frees what it allocated, once, with the size that it asked for; there is one heap.
            unsafe {
                if !self.cache.deallocate(at, bytes(size)) {
                    self.deallocate_full(at, bytes(size));
                }
            }
        }
    }
}

impl Drop for CachedHeap<'_> {
    fn drop(&mut self) {
        // SAFETY: there is one heap.
        unsafe { self.cache.drain(&mut self.heap.lock().0) };
    }
}

/// A heap behind a lock; a size is turned into a layout by `layout`.
pub struct Locked<'a, H> {
    pub heap: &'a Mutex<H>,
    pub layout: fn(u32) -> Layout,
}

impl<H: RawHeap> Allocator for Locked<'_, H> {
    #[inline]
    fn alloc(&mut self, size: u32, _: MigrateType) -> Option<u64> {
        let at = self.heap.lock().allocate((self.layout)(size))?;
        Some(at.as_ptr().expose_provenance() as u64)
    }

    #[inline]
    fn free(&mut self, at: u64, size: u32, _: MigrateType) {
        let at = core::ptr::with_exposed_provenance_mut(at as usize);
        if let Some(at) = NonNull::new(at) {
            // SAFETY: a script frees what it allocated, once, with the size that it asked for.
            unsafe { self.heap.lock().deallocate(at, (self.layout)(size)) };
        }
    }
}

/// A block of pages as a layout.
pub fn pages(order: u32) -> Layout {
    Layout::from_size_align(4096 << order, 4096).expect("orders are small")
}

/// Bytes as a layout.
pub fn bytes(bytes: u32) -> Layout {
    Layout::from_size_align(bytes as usize, 16).expect("sizes are small")
}
