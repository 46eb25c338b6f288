//! The kernel heap: slabs for small pieces, talc (a free-list allocator with binned sizes) for all others, over blocks that
//! are claimed as they are needed.
//!
//! ```
//! use core::alloc::Layout;
//! use mm::{FrameSource, Heap};
//!
//! /// What the host has.
//! struct Host;
//! // SAFETY: what it hands out is never freed.
//! unsafe impl FrameSource for Host {
//!     fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
//!         let memory = vec![0; min_bytes.max(65536)].leak();
//!         Some((memory.as_mut_ptr(), memory.len()))
//!     }
//!     fn slab(&mut self) -> Option<core::ptr::NonNull<u8>> {
//!         #[repr(align(4096))]
//!         struct Frame([u8; mm::heap::SLAB]);
//!         Some(core::ptr::NonNull::from(Box::leak(Box::new(Frame([0; mm::heap::SLAB])))).cast())
//!     }
//! }
//!
//! let mut heap = Heap::new(Host);
//! let layout = Layout::new::<[u64; 100]>();
//! let numbers = heap.allocate(layout).expect("the host has memory");
//! assert_eq!(heap.stats().allocated, 800);
//! // SAFETY: allocated just now with this layout.
//! unsafe { heap.deallocate(numbers, layout) };
//! ```

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use talc::DefaultBinning;
use talc::base::{CHUNK_UNIT, Talc};
use talc::source::Manual;

pub use crate::size_class::{SLAB, is_small, rounded};
use crate::size_class::{WHOLE, class_of, size_of_class};
use crate::slab::{Slabs, slab_of};

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

    /// [`SLAB`] bytes, aligned to as many, or `None` when there are no more.
    fn slab(&mut self) -> Option<NonNull<u8>>;

    /// Takes back what [`slab`](Self::slab) returned, in which nothing is allocated any more. A source that does nothing
    /// here loses it.
    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        let _ = slab;
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
    /// Number of regions that these are, the slabs apart.
    pub regions: usize,
    /// Number of slabs.
    pub slabs: usize,
    /// Number of requests that were refused.
    pub failures: u64,
}

/// A heap that grows. It has no lock of its own: the kernel wraps it in one that keeps interrupts off, and
/// implements `GlobalAlloc` with that.
pub struct Heap<S> {
    talc: Talc<Manual, DefaultBinning>,
    slabs: Slabs,
    /// Those that [`allocate_protected`](Self::allocate_protected) alone takes from.
    protected: Slabs,
    /// Slabs that have become empty stay until they are trimmed.
    keeps_slabs: bool,
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
        let stats = HeapStats {
            claimed: 0,
            allocated: 0,
            peak: 0,
            allocations: 0,
            regions: 0,
            slabs: 0,
            failures: 0,
        };
        Self {
            talc: Talc::new(Manual),
            slabs: Slabs::new(false),
            protected: Slabs::new(true),
            keeps_slabs: true,
            source,
            regions: None,
            stats,
        }
    }

    /// Allocates memory for `layout`; its contents are undefined. `None` when the source has no more.
    ///
    /// A layout of size 0 gets a dangling pointer of the right alignment, and uses no memory.
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if layout.size() == 0 {
            return Some(layout.dangling_ptr());
        }
        let found = match class_of(layout) {
            Some(class) => {
                let mut piece = [NonNull::dangling()];
                (self.allocate_pieces(class, &mut piece) == 1).then_some(piece[0])
            }
            None => self.find(layout).inspect(|_| self.count_in(layout.size(), 1)),
        };
        self.stats.failures += u64::from(found.is_none());
        found
    }

    /// [`allocate`](Self::allocate) for those who have a reserve of their own in the source: a small piece comes from slabs that
    /// nobody else takes from, or what is left of them would be used up by the very ones who have taken all memory.
    pub fn allocate_protected(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // A whole slab shares nothing with anybody.
        let Some(class) = class_of(layout).filter(|&class| class != WHOLE) else {
            return self.allocate(layout);
        };
        let mut piece = [NonNull::dangling()];
        let filled = self.protected.allocate(&mut self.source, class, &mut piece);
        self.count_in(filled * size_of_class(class), filled);
        self.stats.failures += u64::from(filled == 0);
        (filled == 1).then_some(piece[0])
    }

    /// Fills `pieces` from the front with pieces of a small size, as many as there is memory for; how many. No failure is
    /// counted.
    pub(crate) fn allocate_pieces(&mut self, class: usize, pieces: &mut [NonNull<u8>]) -> usize {
        let filled = self.slabs.allocate(&mut self.source, class, pieces);
        self.count_in(filled * size_of_class(class), filled);
        filled
    }

    /// Frees pieces of a small size.
    ///
    /// # Safety
    /// Each one came from this heap, as a piece of this size, and was not freed since.
    pub(crate) unsafe fn deallocate_pieces(&mut self, class: usize, pieces: &[NonNull<u8>]) {
        // SAFETY: as the caller vouches.
        unsafe {
            // What was allocated together is often freed together.
            for run in pieces.chunk_by(|a, b| slab_of(a) == slab_of(b)) {
                let slabs = match Slabs::are_protected(class, run) {
                    true => &mut self.protected,
                    false => &mut self.slabs,
                };
                slabs.free(class, run);
            }
        }
        if !self.keeps_slabs {
            self.slabs.trim(&mut self.source, 0);
            self.protected.trim(&mut self.source, 0);
        }
        self.count_out(pieces.len() * size_of_class(class), pieces.len());
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
        if let Some(class) = class_of(layout) {
            // SAFETY: as the caller vouches; a piece of this layout is of this class.
            return unsafe { self.deallocate_pieces(class, &[memory]) };
        }
        // SAFETY: the caller vouches for `memory` and `layout`; sizes of 0 and of classes never reach talc.
        unsafe { self.talc.deallocate(memory.as_ptr(), layout) };
        self.count_out(layout.size(), 1);
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
        let is_talcs = |layout: Layout| layout.size() != 0 && !is_small(layout);
        if is_talcs(layout) && is_talcs(new_layout) {
            // SAFETY: the caller vouches for `memory` and `layout`; neither size is 0, and both are talc's.
            let in_place = unsafe { self.talc.try_realloc_in_place(memory.as_ptr(), layout, new_size) };
            if in_place {
                self.count_out(layout.size(), 0);
                self.count_in(new_size, 0);
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

    /// Gives slabs and regions in which nothing is allocated back to the source, but keeps up to `keep` bytes of them; the bytes
    /// given back: at most 1 MiB of slabs at a time, so that it takes no longer; call it again until there is nothing to give.
    /// Looks at every region, so not for each freeing. The first region holds talc's own tables and stays.
    pub fn trim(&mut self, mut keep: usize) -> usize {
        let mut given = self.protected.trim(&mut self.source, 0);
        given += self.slabs.trim(&mut self.source, keep);
        keep = keep.saturating_sub(self.slabs.idle_bytes());
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
        let (mut idle, mut link) = (self.slabs.idle_bytes() + self.protected.idle_bytes(), self.regions);
        while let Some(region) = link {
            // SAFETY: as in `trim`.
            let (region, any) = unsafe { (region.as_ref(), self.talc.reserved(region.as_ref().end).any) };
            idle += if any { 0 } else { region.bytes };
            link = region.next;
        }
        idle
    }

    /// Whether slabs that have become empty are kept until they are trimmed, as they are at first; otherwise they go back at
    /// once: while memory is short, so that what came from a reserve returns to it.
    pub fn keep_slabs(&mut self, keep: bool) {
        self.keeps_slabs = keep;
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> HeapStats {
        let slabs = self.slabs.claimed() + self.protected.claimed();
        HeapStats { claimed: self.stats.claimed + slabs, slabs: slabs / SLAB, ..self.stats }
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

    fn count_in(&mut self, bytes: usize, allocations: usize) {
        self.stats.allocations += allocations;
        self.stats.allocated += bytes;
        self.stats.peak = self.stats.peak.max(self.stats.allocated);
    }

    fn count_out(&mut self, bytes: usize, allocations: usize) {
        self.stats.allocations -= allocations;
        self.stats.allocated -= bytes;
    }
}
