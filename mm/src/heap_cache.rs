//! Small pieces of the heap kept by a CPU for itself, so that most allocations take no lock (Bonwick and Adams 2001:
//! magazines).

use crate::heap::{FrameSource, Heap};
use core::alloc::Layout;
use core::ptr::NonNull;

/// Sizes are multiples of this, less what talc keeps at the end of a piece: rounding up to them wastes nothing there.
const STEP: usize = 32;
const TAG: usize = 8;
const CLASSES: usize = 16;
const LARGEST: usize = CLASSES * STEP - TAG;
const ALIGN: usize = 16;
/// Most pieces of a size, and how many are moved at once.
const CAPACITY: usize = 64;
const BATCH: usize = CAPACITY / 2;

/// Which size a layout is served with; `None` when it is too large, aligned to more than 16, or empty.
#[inline]
fn class_of(layout: Layout) -> Option<usize> {
    let is_small = layout.size().wrapping_sub(1) < LARGEST && layout.align() <= ALIGN;
    is_small.then(|| (layout.size() + TAG - 1) / STEP)
}

/// What a layout is allocated as: small ones are rounded up to one of 16 sizes, 24, 56, … 504, whoever allocates them.
#[inline]
#[must_use]
pub fn rounded(layout: Layout) -> Layout {
    class_of(layout).map_or(layout, layout_of)
}

#[inline]
fn layout_of(class: usize) -> Layout {
    let class = class.min(CLASSES - 1);
    // SAFETY: the alignment is a power of two, and the size far below `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked((class + 1) * STEP - TAG, ALIGN) }
}

/// A stack of free pieces for each small size, for one CPU.
///
/// As with [`CpuCache`](crate::CpuCache), there is no lock in it: each CPU has one and uses it with interrupts
/// off; only [`refill`](Self::refill), [`deallocate_full`](Self::deallocate_full) and [`drain`](Self::drain) need the heap's
/// lock. What it holds is allocated as far as the [`Heap`] knows, so drain before [`Heap::trim`]. A piece may be
/// allocated through one cache and freed through another, or by the heap itself; but all caches are of one heap.
///
/// Not in the kernel yet: [`refill`](Self::refill) hoards the last pieces of a heap that can't grow, so who uses it drains
/// every CPU's cache before an allocation fails.
pub struct HeapCache {
    stacks: [Stack; CLASSES],
}

/// `pieces[..len]` are free; the last one freed is on top.
#[derive(Clone, Copy)]
struct Stack {
    pieces: [NonNull<u8>; CAPACITY],
    len: usize,
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
        Self { stacks: [Stack { pieces: [NonNull::dangling(); CAPACITY], len: 0 }; CLASSES] }
    }

    /// Memory for `layout` from this cache; `None` when it holds none of this size, and [`refill`](Self::refill) is due.
    #[inline]
    pub fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let stack = self.stacks.get_mut(class_of(layout)?)?;
        let top = stack.len.checked_sub(1)?;
        let memory = *stack.pieces.get(top)?;
        stack.len = top;
        Some(memory)
    }

    /// Allocates from the heap, and fetches some more of that size where this takes no memory from the source. For layouts
    /// that are not cached, too. `None` as [`Heap::allocate`].
    pub fn refill<S: FrameSource>(&mut self, heap: &mut Heap<S>, layout: Layout) -> Option<NonNull<u8>> {
        let first = heap.allocate(layout)?;
        if let Some(class) = class_of(layout) {
            let stack = &mut self.stacks[class];
            let (before, filled) = (stack.len, (stack.len + BATCH - 1).min(CAPACITY));
            for slot in &mut stack.pieces[before..filled] {
                let Some(memory) = heap.allocate_idle(layout_of(class)) else { break };
                *slot = memory;
                stack.len += 1;
            }
            // What came first is handed out next.
            stack.pieces[before..stack.len].reverse();
        }
        Some(first)
    }

    /// Takes memory back; false when it can't, because there are enough pieces of that size or it is none that is cached:
    /// then it still is the caller's, and [`deallocate_full`](Self::deallocate_full) is due.
    ///
    /// # Safety
    /// As for [`Heap::deallocate`], when this returns true.
    #[inline]
    pub unsafe fn deallocate(&mut self, memory: NonNull<u8>, layout: Layout) -> bool {
        let Some(stack) = class_of(layout).and_then(|class| self.stacks.get_mut(class)) else { return false };
        let Some(slot) = stack.pieces.get_mut(stack.len) else { return false };
        *slot = memory;
        stack.len += 1;
        true
    }

    /// Gives memory back to the heap, and with it the pieces of that size that were freed longest ago.
    ///
    /// # Safety
    /// As for [`Heap::deallocate`]; the heap is that which all of this cache's memory came from.
    pub unsafe fn deallocate_full<S: FrameSource>(
        &mut self,
        heap: &mut Heap<S>,
        memory: NonNull<u8>,
        layout: Layout,
    ) {
        if let Some(class) = class_of(layout)
            && self.stacks[class].len == CAPACITY
        {
            // SAFETY: the caller vouches for the heap.
            unsafe { self.give_oldest(heap, class) };
        }
        // SAFETY: the caller vouches for `memory` and `layout`.
        unsafe {
            if !self.deallocate(memory, layout) {
                heap.deallocate(memory, layout);
            }
        }
    }

    /// Gives the oldest batch of one size back.
    ///
    /// # Safety
    /// The heap is that which all of this cache's memory came from.
    unsafe fn give_oldest<S: FrameSource>(&mut self, heap: &mut Heap<S>, class: usize) {
        let stack = &mut self.stacks[class];
        let count = stack.len.min(BATCH);
        for &memory in &stack.pieces[..count] {
            // SAFETY: what is on the stack was allocated with this size, freed once, and is nobody else's.
            unsafe { heap.deallocate(memory, layout_of(class)) };
        }
        stack.pieces.copy_within(count..stack.len, 0);
        stack.len -= count;
    }

    /// Gives all back to the heap: before it is trimmed, when memory is short, when the CPU goes away. The number of bytes.
    ///
    /// # Safety
    /// The heap is that which all of this cache's memory came from.
    pub unsafe fn drain<S: FrameSource>(&mut self, heap: &mut Heap<S>) -> usize {
        let held = self.held();
        for class in 0..CLASSES {
            while self.stacks[class].len > 0 {
                // SAFETY: the caller vouches for the heap.
                unsafe { self.give_oldest(heap, class) };
            }
        }
        held
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.stacks.iter().enumerate().map(|(class, stack)| stack.len * layout_of(class).size()).sum()
    }

    /// Pieces held now.
    #[must_use]
    pub fn held_pieces(&self) -> usize {
        self.stacks.iter().map(|stack| stack.len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_rounded_to_sixteen_sizes() {
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        for size in 1..=LARGEST {
            for align in [1, 8, 16] {
                let rounded = rounded(layout(size, align));
                assert!(rounded.size() >= size && rounded.size() < size + STEP && rounded.align() == ALIGN);
                assert_eq!(super::rounded(rounded), rounded);
            }
        }
        for other in [layout(0, 1), layout(LARGEST + 1, 1), layout(8, 32)] {
            assert_eq!(rounded(other), other);
            assert_eq!(class_of(other), None);
        }
    }
}
