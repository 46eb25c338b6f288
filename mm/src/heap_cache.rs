//! Small pieces of the heap kept by a CPU for itself, so that most allocations take no lock (Bonwick and Adams 2001:
//! magazines).

use crate::heap::{FrameSource, Heap};
use crate::size_class::{ALIGN, CLASSES, class_of, size_of_class};
use core::alloc::Layout;
use core::ptr::NonNull;

/// Most pieces of a size.
const CAPACITY: usize = 64;
/// Most bytes of a size, unless that is fewer than `FEWEST` pieces.
const BYTES: usize = 8 << 10;
const FEWEST: usize = 8;

/// Larger pieces, up to this many bytes, are kept one by one, `LARGE` of them: buffers that are made for each call.
const LARGEST: usize = 36 << 10;
const LEAST_LARGE: usize = 8 << 10;
const LARGE: usize = 4;

/// Most pieces of a class.
const LIMITS: [usize; CLASSES] = {
    let mut limits = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let fitting = BYTES / size_of_class(class);
        limits[class] = if fitting > CAPACITY {
            CAPACITY
        } else if fitting < FEWEST {
            FEWEST
        } else {
            fitting
        };
        class += 1;
    }
    limits
};

/// A stack of free pieces for each small size, for one CPU.
///
/// As with [`CpuCache`](crate::CpuCache), there is no lock in it: each CPU has one and uses it with interrupts
/// off; only [`refill`](Self::refill), [`deallocate_full`](Self::deallocate_full) and [`drain`](Self::drain) need the heap's
/// lock. What it holds is allocated as far as the [`Heap`] knows, so drain before [`Heap::trim`]. A piece may be
/// allocated through one cache and freed through another, or by the heap itself; but all caches are of one heap.
///
/// It may hold the last pieces of a heap that can't grow: who uses it does without while memory is short, and drains every
/// CPU's cache before an allocation fails.
pub struct HeapCache {
    /// How many pieces each stack has. Together, apart from the pieces: these are looked at each time.
    lens: [usize; CLASSES],
    /// Free pieces; the last one freed is on top.
    stacks: [[NonNull<u8>; CAPACITY]; CLASSES],
    /// Talc's pieces with their sizes, the oldest first; 0 where there is none.
    large: [(usize, NonNull<u8>); LARGE],
}

// SAFETY: the pieces belong to the cache alone, whichever thread has it.
unsafe impl Send for HeapCache {}

impl Default for HeapCache {
    fn default() -> Self {
        Self::new()
    }
}

impl HeapCache {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lens: [0; CLASSES],
            stacks: [[NonNull::dangling(); CAPACITY]; CLASSES],
            large: [(0, NonNull::dangling()); LARGE],
        }
    }

    /// Memory for `layout` from this cache; `None` when it holds none of this size, and [`refill`](Self::refill) is due.
    #[inline]
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let Some(class) = class_of(layout) else { return self.allocate_large(layout) };
        let top = self.lens[class].checked_sub(1)?;
        let memory = *self.stacks[class].get(top)?;
        self.lens[class] = top;
        Some(memory)
    }

    /// Talc's pieces are all aligned alike, up to [`ALIGN`] and more.
    fn allocate_large(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if !is_large(layout) {
            return None;
        }
        let slot = self.large.iter_mut().find(|slot| slot.0 == layout.size())?;
        slot.0 = 0;
        Some(slot.1)
    }

    /// Allocates from the heap, and fetches some more of that size. For layouts that are not cached, too. `None` as
    /// [`Heap::allocate`].
    #[cold]
    #[inline(never)]
    pub fn refill<S: FrameSource>(&mut self, heap: &mut Heap<S>, layout: Layout) -> Option<NonNull<u8>> {
        let Some(class) = class_of(layout) else { return heap.allocate(layout) };
        let (stack, len) = (&mut self.stacks[class], &mut self.lens[class]);
        let filled = (*len + LIMITS[class] / 2).min(CAPACITY);
        let fetched = heap.allocate_pieces(class, &mut stack[*len..filled]);
        if fetched == 0 {
            // To be counted as a failure.
            return heap.allocate(layout);
        }
        *len += fetched - 1;
        Some(stack[*len])
    }

    /// Takes memory back; false when it can't, because there are enough pieces of that size or it is none that is cached:
    /// then it still is the caller's, and [`deallocate_full`](Self::deallocate_full) is due.
    ///
    /// # Safety
    /// As for [`Heap::deallocate`], when this returns true.
    #[inline]
    pub unsafe fn deallocate(&mut self, memory: NonNull<u8>, layout: Layout) -> bool {
        let Some(class) = class_of(layout) else { return self.deallocate_large(memory, layout) };
        let len = self.lens[class];
        if len >= LIMITS[class] {
            return false;
        }
        self.stacks[class][len] = memory;
        self.lens[class] = len + 1;
        true
    }

    fn deallocate_large(&mut self, memory: NonNull<u8>, layout: Layout) -> bool {
        let slot = self.large.iter_mut().find(|slot| slot.0 == 0).filter(|_| is_large(layout));
        let kept = slot.map(|slot| *slot = (layout.size(), memory));
        kept.is_some()
    }

    /// Gives memory back to the heap, and with it the pieces of that size that were freed longest ago.
    ///
    /// # Safety
    /// As for [`Heap::deallocate`]; the heap is that which all of this cache's memory came from.
    #[cold]
    #[inline(never)]
    pub unsafe fn deallocate_full<S: FrameSource>(
        &mut self,
        heap: &mut Heap<S>,
        memory: NonNull<u8>,
        layout: Layout,
    ) {
        // SAFETY: the caller vouches for the heap.
        unsafe {
            match class_of(layout) {
                Some(class) if self.lens[class] >= LIMITS[class] => self.give_oldest(heap, class),
                None if is_large(layout) => self.give_oldest_large(heap),
                _ => {}
            }
        }
        // SAFETY: the caller vouches for `memory` and `layout`.
        unsafe {
            if !self.deallocate(memory, layout) {
                heap.deallocate(memory, layout);
            }
        }
    }

    /// Gives the older half of one size back.
    ///
    /// # Safety
    /// The heap is that which all of this cache's memory came from.
    unsafe fn give_oldest<S: FrameSource>(&mut self, heap: &mut Heap<S>, class: usize) {
        let (stack, len) = (&mut self.stacks[class], &mut self.lens[class]);
        let count = (*len).min(LIMITS[class] / 2);
        // SAFETY: what is on the stack was allocated with this size, freed once, and is nobody else's.
        unsafe { heap.deallocate_pieces(class, &stack[..count]) };
        stack.copy_within(count..*len, 0);
        *len -= count;
    }

    /// Gives the oldest of the larger pieces back, if there is one.
    ///
    /// # Safety
    /// As above.
    unsafe fn give_oldest_large<S: FrameSource>(&mut self, heap: &mut Heap<S>) {
        let (size, memory) = core::mem::replace(&mut self.large[0], (0, NonNull::dangling()));
        self.large.rotate_left(1);
        if let Ok(layout) = Layout::from_size_align(size, ALIGN) {
            // SAFETY: allocated with this size, or of size 0, which is not looked at; talc's pieces are aligned alike.
            unsafe { heap.deallocate(memory, layout) };
        }
    }

    /// Gives all back to the heap: before it is trimmed, when memory is short, when the CPU goes away. The number of bytes.
    ///
    /// # Safety
    /// The heap is that which all of this cache's memory came from.
    pub unsafe fn drain<S: FrameSource>(&mut self, heap: &mut Heap<S>) -> usize {
        let held = self.held();
        for class in 0..CLASSES {
            while self.lens[class] > 0 {
                // SAFETY: the caller vouches for the heap.
                unsafe { self.give_oldest(heap, class) };
            }
        }
        for _ in 0..LARGE {
            // SAFETY: as above.
            unsafe { self.give_oldest_large(heap) };
        }
        held
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        let small = self.lens.iter().enumerate().map(|(class, len)| len * size_of_class(class));
        small.chain(self.large.iter().map(|slot| slot.0)).sum()
    }

    /// Pieces held now.
    #[must_use]
    pub fn held_pieces(&self) -> usize {
        self.lens.iter().sum::<usize>() + self.large.iter().filter(|slot| slot.0 > 0).count()
    }
}

/// Whether a piece, which is none of a small size, is kept.
fn is_large(layout: Layout) -> bool {
    (LEAST_LARGE..=LARGEST).contains(&layout.size()) && layout.align() <= ALIGN
}
