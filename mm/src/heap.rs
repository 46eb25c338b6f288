//! The kernel heap: talc (a free-list allocator with binned sizes) over blocks that are claimed as they are needed.
//!
//! ```
//! use core::alloc::Layout;
//! use mm::{FrameSource, Heap};
//!
//! /// Hands out one arena, once.
//! struct Arena(Option<&'static mut [u8]>);
//! // SAFETY: the arena is leaked, and given away by `take`.
//! unsafe impl FrameSource for Arena {
//!     fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
//!         let arena = self.0.take_if(|arena| arena.len() >= min_bytes)?;
//!         Some((arena.as_mut_ptr(), arena.len()))
//!     }
//! }
//!
//! let mut heap = Heap::new(Arena(Some(vec![0; 65536].leak())));
//! let layout = Layout::new::<[u64; 100]>();
//! let numbers = heap.allocate(layout).expect("the arena is large enough");
//! assert_eq!(heap.stats().allocated, 800);
//! // SAFETY: allocated just now with this layout.
//! unsafe { heap.deallocate(numbers, layout) };
//! ```

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use talc::DefaultBinning;
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Manual;

pub use crate::heap_cache::rounded;

/// Where the heap gets memory from: in the kernel, buddy blocks seen through the direct map.
///
/// Called by [`Heap::allocate`] and [`Heap::reallocate`], so in whatever context the kernel allocates in, with
/// the heap's lock held. It must not allocate from that heap.
///
/// # Safety
/// The memory of a returned `(start, bytes)` is mapped readable and writable, belongs to the caller alone from then on,
/// and stays so until it is given back, or for as long as the heap or anything allocated from it is used.
pub unsafe trait FrameSource {
    /// Memory of at least `min_bytes`, at any alignment, or `None` when there is no more. A source does well to
    /// round up: every call makes a separate region, and regions are not joined.
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)>;

    /// Takes back a region exactly as [`grow`](Self::grow) returned it, in which nothing is allocated any more. A source
    /// that does nothing here loses it.
    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        let _ = (start, bytes);
    }
}

/// At the beginning of each region.
struct Region {
    next: Option<NonNull<Region>>,
    /// As the source gave it.
    start: *mut u8,
    bytes: usize,
    /// Where talc's part of it ends.
    end: NonNull<u8>,
}

/// Counters of a [`Heap`], in bytes where not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeapStats {
    /// Taken from the source, and not given back.
    pub claimed: usize,
    /// In live allocations, as their [`rounded`] layouts say, and in what the CPUs' caches hold.
    pub allocated: usize,
    /// The most that `allocated` has been.
    pub peak: usize,
    /// Number of live allocations, and of pieces that the CPUs' caches hold.
    pub allocations: usize,
    /// Number of regions that these are.
    pub regions: usize,
    /// Number of requests that were refused.
    pub failures: u64,
}

/// A heap that grows. It has no lock of its own: the kernel wraps it in one that keeps interrupts off, and
/// implements `GlobalAlloc` with that.
pub struct Heap<S> {
    talc: Talc<Manual, DefaultBinning>,
    source: S,
    regions: Option<NonNull<Region>>,
    stats: HeapStats,
}

// SAFETY: the regions belong to the heap alone, whichever thread has it.
unsafe impl<S: Send> Send for Heap<S> {}

impl<S: FrameSource> Heap<S> {
    /// An empty heap: the first allocation asks `source` for memory. For statics.
    #[must_use]
    pub const fn new(source: S) -> Self {
        let stats = HeapStats { claimed: 0, allocated: 0, peak: 0, allocations: 0, regions: 0, failures: 0 };
        Self { talc: Talc::new(Manual), source, regions: None, stats }
    }

    /// Allocates memory for `layout`; its contents are undefined. `None` when the source has no more.
    ///
    /// A layout of size 0 gets a dangling pointer of the right alignment, and uses no memory.
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() == 0 {
            return Some(layout.dangling_ptr());
        }
        let layout = rounded(layout);
        let Some(memory) = self.find(layout) else {
            self.stats.failures += 1;
            return None;
        };
        self.stats.allocations += 1;
        self.count(0, layout.size());
        Some(memory)
    }

    /// [`allocate`](Self::allocate) from what is claimed already; no failure is counted. The layout is a rounded one.
    pub(crate) fn allocate_idle(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the size of a rounded layout is not 0.
        let memory = unsafe { self.talc.try_allocate(layout) }?;
        self.stats.allocations += 1;
        self.count(0, layout.size());
        Some(memory)
    }

    /// Frees memory.
    ///
    /// # Safety
    /// `memory` came from [`allocate`](Self::allocate) or [`reallocate`](Self::reallocate) of this heap with this
    /// `layout` (with the size last asked for), and was not freed since.
    pub unsafe fn deallocate(&mut self, memory: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        let layout = rounded(layout);
        // SAFETY: the caller vouches for `memory` and `layout`, which was rounded so too when it was allocated; sizes of 0
        // never reach talc.
        unsafe { self.talc.deallocate(memory.as_ptr(), layout) };
        self.stats.allocations -= 1;
        self.count(layout.size(), 0);
    }

    /// Changes the size of an allocation, in place where that is possible; the common part of the contents is kept.
    /// `None` when there is no memory, or when `new_size` is no valid size at this alignment: the old allocation
    /// is then as it was.
    ///
    /// # Safety
    /// As for [`deallocate`](Self::deallocate). Once this has returned `Some`, `memory` must not be used any more.
    pub unsafe fn reallocate(
        &mut self,
        memory: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Option<NonNull<u8>> {
        let new_layout = Layout::from_size_align(new_size, layout.align()).ok()?;
        let (old, new) = (rounded(layout), rounded(new_layout));
        if old == new {
            return Some(memory);
        }
        if old.size() != 0 && new.size() != 0 && old.align() == new.align() {
            // SAFETY: the caller vouches for `memory` and `layout`, which was rounded so; neither size is 0.
            let in_place = unsafe { self.talc.try_realloc_in_place(memory.as_ptr(), old, new.size()) };
            if in_place {
                self.count(old.size(), new.size());
                return Some(memory);
            }
        }
        let moved = self.allocate(new_layout)?;
        // SAFETY: both are valid for the smaller of the two sizes, and distinct: the old one is still allocated.
        unsafe {
            ptr::copy_nonoverlapping(memory.as_ptr(), moved.as_ptr(), layout.size().min(new_size));
            self.deallocate(memory, layout);
        }
        Some(moved)
    }

    /// Gives regions in which nothing is allocated back to the source, but keeps up to `keep` bytes of them; the bytes
    /// given back. Looks at every region, so not for each freeing. The first region holds the allocator's own tables
    /// and stays.
    pub fn trim(&mut self, mut keep: usize) -> usize {
        let mut given = 0;
        let mut link: *mut Option<NonNull<Region>> = &raw mut self.regions;
        // SAFETY: the list holds the regions that `grow` claimed and that were not given back; each one's header is the
        // heap's, and its end is talc's, which never changes.
        unsafe {
            while let Some(region) = *link {
                let Region { next, start, bytes, end } = region.read();
                if self.talc.reserved(end).any || keep >= bytes {
                    if !self.talc.reserved(end).any {
                        keep -= bytes;
                    }
                    link = &raw mut (*region.as_ptr()).next;
                    continue;
                }
                *link = next;
                self.talc.truncate(end, ptr::null_mut());
                self.stats.claimed -= bytes;
                self.stats.regions -= 1;
                self.source.give_back(start, bytes);
                given += bytes;
            }
        }
        given
    }

    /// Bytes that [`trim`](Self::trim) could give back. Looks at every region.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        let (mut idle, mut link) = (0, self.regions);
        while let Some(region) = link {
            // SAFETY: as in `trim`.
            let (region, any) = unsafe { (region.as_ref(), self.talc.reserved(region.as_ref().end).any) };
            idle += if any { 0 } else { region.bytes };
            link = region.next;
        }
        idle
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> HeapStats {
        self.stats
    }

    /// The source of memory, for example to set it up once the frame allocator stands.
    pub fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    fn find(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0.
        if let Some(memory) = unsafe { self.talc.try_allocate(layout) } {
            return Some(memory);
        }
        self.grow(layout)?;
        // SAFETY: the size is not 0.
        unsafe { self.talc.try_allocate(layout) }
    }

    /// Claims a region that is large enough for `layout`.
    fn grow(&mut self, layout: Layout) -> Option<()> {
        // The worst case: our header, alignment padding before the block, the tag behind it, and the region's own ends.
        let header = size_of::<Region>() + align_of::<Region>();
        let mut needed =
            layout.size().checked_add(layout.align())?.checked_add(4 * CHUNK_UNIT)?.checked_add(header)?;
        if !self.talc.is_metadata_established() {
            needed = needed.checked_add(talc::min_first_heap_size::<DefaultBinning>())?;
        }
        let (start, bytes) = self.source.grow(needed)?;
        let skipped = start.align_offset(align_of::<Region>());
        let used = skipped.checked_add(size_of::<Region>()).filter(|used| *used < bytes)?;
        // SAFETY: `FrameSource` promises that the region is ours alone from now on, and its beginning has room for the
        // header; the source of this talc is `Manual`, which leaves claiming to us.
        unsafe {
            let end = self.talc.claim(start.add(used), bytes - used)?;
            let region = NonNull::new(start.add(skipped).cast::<Region>())?;
            region.write(Region { next: self.regions, start, bytes, end });
            self.regions = Some(region);
        }
        self.stats.claimed += bytes;
        self.stats.regions += 1;
        Some(())
    }

    fn count(&mut self, freed: usize, allocated: usize) {
        self.stats.allocated = self.stats.allocated - freed + allocated;
        self.stats.peak = self.stats.peak.max(self.stats.allocated);
    }
}
