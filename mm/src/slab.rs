//! Small pieces of the heap, cut from slabs: one frame holds pieces of one size and goes back when it is empty
//! (Bonwick 1994). Which pieces are free is a bitmap in the slab's header, so no free piece is touched.

use crate::heap::FrameSource;
use crate::size_class::{CLASSES, HEADER, SLAB, WHOLE, pieces_of_class, size_of_class};
use core::ptr::{self, NonNull};

/// Words of a slab's map, enough for the smallest size.
const WORDS: usize = (SLAB - HEADER).div_ceil(16).div_ceil(64);

/// At the beginning of each slab, but for whole ones.
pub(crate) struct Slab {
    /// Neighbours in the list of its class, while something is free in it.
    next: *mut Slab,
    previous: *mut Slab,
    /// A bit for each free piece.
    map: [u64; WORDS],
    /// Two words, for a narrow store before a wide load would stall.
    free: u64,
    class: u32,
    /// Whether it belongs to the protected ones.
    protected: bool,
}

const _: () = assert!(size_of::<Slab>() <= HEADER);

/// Pieces of all small sizes.
pub(crate) struct Slabs {
    /// For each class, the slabs in which something is free; the one to allocate from first.
    partial: [*mut Slab; CLASSES],
    /// Slabs in which nothing lies, linked by their first word.
    idle: *mut Slab,
    idle_count: usize,
    /// Slabs taken from the source and not given back.
    count: usize,
    protected: bool,
}

/// A multiplier `m` with `offset * m >> 32 == offset / size` for all offsets in a slab.
const RECIPROCALS: [u64; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = (1 << 32) / size_of_class(class) as u64 + 1;
        class += 1;
    }
    table
};

/// Pieces in a slab of a class.
const PIECES: [u64; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = pieces_of_class(class) as u64;
        class += 1;
    }
    table
};

impl Slabs {
    pub(crate) const fn new(protected: bool) -> Self {
        Self {
            partial: [ptr::null_mut(); CLASSES],
            idle: ptr::null_mut(),
            idle_count: 0,
            count: 0,
            protected,
        }
    }

    /// Bytes of the slabs that there are.
    pub(crate) const fn claimed(&self) -> usize {
        self.count * SLAB
    }

    /// Bytes of those in which nothing lies.
    pub(crate) const fn idle_bytes(&self) -> usize {
        self.idle_count * SLAB
    }

    /// Fills `pieces` from the front with pieces of a class, with as many as there is memory for; how many.
    pub(crate) fn allocate<S: FrameSource>(
        &mut self,
        source: &mut S,
        class: usize,
        pieces: &mut [NonNull<u8>],
    ) -> usize {
        let mut filled = 0;
        while filled < pieces.len() {
            if class == WHOLE {
                let Some(slab) = self.empty(source) else { break };
                pieces[filled] = slab.cast();
                filled += 1;
                continue;
            }
            let mut slab = self.partial[class];
            if slab.is_null() {
                let Some(empty) = self.empty(source) else { break };
                slab = empty.as_ptr();
                self.begin(slab, class);
            }
            // SAFETY: the slabs of the list are ours, and their headers are touched by nobody else.
            unsafe {
                filled += take(slab, class, &mut pieces[filled..]);
                if (*slab).free == 0 {
                    self.unlink(slab);
                }
            }
        }
        filled
    }

    /// Whether pieces of a class are in a protected slab; all are in one slab.
    ///
    /// # Safety
    /// They came from [`allocate`](Self::allocate) with this class, and were not freed since.
    pub(crate) unsafe fn are_protected(class: usize, pieces: &[NonNull<u8>]) -> bool {
        // SAFETY: the header is at the beginning of the slab; whole ones have none, and belong to nobody.
        class != WHOLE && pieces.first().is_some_and(|piece| unsafe { (*slab_of(piece)).protected })
    }

    /// Takes pieces back that lie in one slab.
    ///
    /// # Safety
    /// As [`are_protected`](Self::are_protected); they came from these slabs.
    pub(crate) unsafe fn free(&mut self, class: usize, pieces: &[NonNull<u8>]) {
        if class == WHOLE {
            // SAFETY: a piece of this class is a whole slab, and free now.
            return pieces.iter().for_each(|piece| unsafe { self.keep_idle(piece.as_ptr().cast()) });
        }
        let Some(slab) = pieces.first().map(slab_of) else { return };
        // SAFETY: the pieces lie in a slab of ours, whose header is at its beginning.
        unsafe {
            debug_assert!((*slab).class == class as u32, "freed with the size of another piece");
            for piece in pieces {
                let offset = (piece.as_ptr().addr() % SLAB - HEADER) as u64;
                let number = ((offset * RECIPROCALS[class]) >> 32) as usize;
                let (word, bit) = (&mut (*slab).map[number / 64], 1 << (number % 64));
                debug_assert!(*word & bit == 0, "double free");
                *word |= bit;
            }
            let before = (*slab).free;
            let free = before + pieces.len() as u64;
            (*slab).free = free;
            if before == 0 {
                self.link(slab, class);
            }
            if free == PIECES[class] {
                self.unlink(slab);
                self.keep_idle(slab);
            }
        }
    }

    /// Gives slabs in which nothing lies back to the source, until at most `keep` bytes of them are left, or `AT_ONCE` slabs
    /// are given; the number of bytes.
    pub(crate) fn trim<S: FrameSource>(&mut self, source: &mut S, keep: usize) -> usize {
        const AT_ONCE: usize = 256;
        let before = self.count;
        while self.idle_bytes() > keep
            && before - self.count < AT_ONCE
            && let Some(slab) = self.take_idle()
        {
            self.count -= 1;
            source.give_back_slab(slab.cast());
        }
        (before - self.count) * SLAB
    }

    fn empty<S: FrameSource>(&mut self, source: &mut S) -> Option<NonNull<Slab>> {
        if let Some(slab) = self.take_idle() {
            return Some(slab);
        }
        let slab = source.slab()?;
        debug_assert!(slab.as_ptr().addr().is_multiple_of(SLAB), "a slab's header is found by its alignment");
        self.count += 1;
        Some(slab.cast())
    }

    fn take_idle(&mut self) -> Option<NonNull<Slab>> {
        let slab = NonNull::new(self.idle)?;
        // SAFETY: idle slabs are ours, and begin with their link.
        self.idle = unsafe { (&raw const (*slab.as_ptr()).next).read() };
        self.idle_count -= 1;
        Some(slab)
    }

    /// Keeps a slab in which nothing lies.
    ///
    /// # Safety
    /// It is ours, and nobody uses it.
    unsafe fn keep_idle(&mut self, slab: *mut Slab) {
        // SAFETY: by the caller.
        unsafe { (&raw mut (*slab).next).write(self.idle) };
        self.idle = slab;
        self.idle_count += 1;
    }

    fn begin(&mut self, slab: *mut Slab, class: usize) {
        let pieces = PIECES[class] as usize;
        let mut map = [0; WORDS];
        for (number, word) in map.iter_mut().enumerate() {
            let bits = pieces.saturating_sub(number * 64).min(64);
            *word = u64::MAX.checked_shr(64 - bits as u32).unwrap_or(0);
        }
        let header = Slab {
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
            map,
            free: pieces as u64,
            class: class as u32,
            protected: self.protected,
        };
        // SAFETY: the slab is ours, and nothing lies in it yet.
        unsafe {
            slab.write(header);
            self.link(slab, class);
        }
    }

    unsafe fn link(&mut self, slab: *mut Slab, class: usize) {
        let next = self.partial[class];
        // SAFETY: both are slabs of ours.
        unsafe {
            (*slab).next = next;
            (*slab).previous = ptr::null_mut();
            if let Some(next) = next.as_mut() {
                next.previous = slab;
            }
        }
        self.partial[class] = slab;
    }

    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: as above; the slab is in the list of its class.
        unsafe {
            let Slab { next, previous, class, .. } = slab.read();
            match previous.as_mut() {
                Some(previous) => previous.next = next,
                None => self.partial[class as usize] = next,
            }
            if let Some(next) = next.as_mut() {
                next.previous = previous;
            }
        }
    }
}

/// The slab that a piece lies in.
pub(crate) fn slab_of(piece: &NonNull<u8>) -> *mut Slab {
    piece.as_ptr().map_addr(|at| at & !(SLAB - 1)).cast()
}

/// Takes as many pieces out of a slab as are free and wanted, the lowest first.
unsafe fn take(slab: *mut Slab, class: usize, pieces: &mut [NonNull<u8>]) -> usize {
    let mut taken = 0;
    // SAFETY: by the caller, the slab is ours; a set bit is the number of a piece that lies in it.
    unsafe {
        for number in 0..WORDS {
            let mut word = (*slab).map[number];
            while word != 0 && taken < pieces.len() {
                let piece = number * 64 + word.trailing_zeros() as usize;
                word &= word - 1;
                let offset = HEADER + piece * size_of_class(class);
                pieces[taken] = NonNull::new_unchecked(slab.cast::<u8>().add(offset));
                taken += 1;
            }
            (*slab).map[number] = word;
            if taken == pieces.len() {
                break;
            }
        }
        (*slab).free -= taken as u64;
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_divided_by_the_size() {
        for (class, reciprocal) in RECIPROCALS.iter().enumerate().take(WHOLE) {
            for offset in 0..SLAB - HEADER {
                let number = ((offset as u64 * reciprocal) >> 32) as usize;
                assert_eq!(number, offset / size_of_class(class), "{offset} in class {class}");
            }
        }
    }
}
