//! Where the heap under test gets its memory from.

use mm::FrameSource;
use mm::heap::SLAB;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Regions of the host's allocator, up to a limit; freed when the source is dropped. `skew` makes their starts unaligned.
pub struct Regions {
    left: usize,
    skew: usize,
    taken: Vec<(*mut u8, Layout)>,
}

impl Regions {
    pub fn new(limit: usize, skew: usize) -> Self {
        Self { left: limit, skew, taken: Vec::new() }
    }
}

// SAFETY: each region is freshly allocated, nobody else knows it, and it lives until the source is dropped (with the heap).
unsafe impl FrameSource for Regions {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let bytes = min_bytes.max(16 << 10).checked_add(self.skew)?;
        self.left = self.left.checked_sub(bytes)?;
        let layout = Layout::from_size_align(bytes, 4096).ok()?;
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(layout) };
        assert!(!start.is_null());
        self.taken.push((start, layout));
        // SAFETY: the region has `skew` bytes more than are handed out.
        Some((unsafe { start.add(self.skew) }, bytes - self.skew))
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        self.left = self.left.checked_sub(SLAB)?;
        let layout = Layout::from_size_align(SLAB, SLAB).ok()?;
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        self.taken.push((start.as_ptr(), layout));
        Some(start)
    }
}

impl Drop for Regions {
    fn drop(&mut self) {
        for &(start, layout) in &self.taken {
            // SAFETY: allocated above with this layout, and freed only here.
            unsafe { dealloc(start, layout) };
        }
    }
}

/// Regions that can be given back; whatever is given back was taken and is no longer used, or the host's allocator
/// notices.
#[derive(Default)]
pub struct Returning {
    pub taken: Vec<(*mut u8, usize)>,
    pub given_back: usize,
}

impl Returning {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 4096).unwrap()
    }
}

// SAFETY: as above, and until it is given back.
unsafe impl FrameSource for Returning {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let bytes = min_bytes.next_multiple_of(16 << 10);
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(Self::layout(bytes)) };
        self.taken.push((start, bytes));
        Some((start, bytes))
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        let at = self.taken.iter().position(|&one| one == (start, bytes)).expect("what was taken");
        self.taken.swap_remove(at);
        self.given_back += bytes;
        // SAFETY: nothing may touch it any more; to be sure, it is overwritten.
        unsafe {
            start.write_bytes(0xee, bytes);
            dealloc(start, Self::layout(bytes));
        }
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(Self::layout(SLAB)) })?;
        self.taken.push((start.as_ptr(), SLAB));
        Some(start)
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        self.give_back(slab.as_ptr(), SLAB);
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        for &(start, bytes) in &self.taken {
            // SAFETY: allocated by `grow`, not given back.
            unsafe { dealloc(start, Self::layout(bytes)) };
        }
    }
}

/// Refuses one growth.
pub struct Refusing {
    pub source: Returning,
    /// Growths before it.
    pub before: u64,
    pub refused: bool,
}

// SAFETY: as `Returning`.
unsafe impl FrameSource for Refusing {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        if self.before == 0 && !self.refused {
            self.refused = true;
            return None;
        }
        self.before = self.before.saturating_sub(1);
        self.source.grow(min_bytes)
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        if self.before == 0 && !self.refused {
            self.refused = true;
            return None;
        }
        self.before = self.before.saturating_sub(1);
        self.source.slab()
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        self.source.give_back_slab(slab);
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        self.source.give_back(start, bytes);
    }
}
