//! The sizes in which small pieces of the heap are made.

use core::alloc::Layout;

/// Bytes of a slab, one frame: memory for pieces of one size comes in these, and goes back in these. A larger one would
/// waste less at its end, but single frames are had as long as there are any.
pub const SLAB: usize = 4096;
/// What the slab keeps about itself, at its beginning.
pub(crate) const HEADER: usize = 64;
/// No piece is aligned to more, unless it is a whole slab.
pub(crate) const ALIGN: usize = 16;

/// Steps of 16 bytes at first; later as many pieces as just fit behind the header. The last one is a slab without a header.
const SIZES: [usize; CLASSES] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 288, 336, 400, 496, 576, 672, 800, 1008, 1344, SLAB,
];
/// Number of sizes.
pub(crate) const CLASSES: usize = 22;
/// The size that is a whole slab.
pub(crate) const WHOLE: usize = CLASSES - 1;
/// Above this, a whole slab wastes less than a third of itself; from the size before it up to here talc serves.
const LEAST_WHOLE: usize = SLAB * 2 / 3;

/// In `CLASS_OF`: no class.
const NONE: u8 = u8::MAX;
/// The class of a size, by sixteenths of it, rounded up, less one.
const CLASS_OF: [u8; SLAB / ALIGN] = {
    let mut table = [NONE; SLAB / ALIGN];
    let (mut at, mut class) = (0, 0);
    while at < table.len() {
        let size = (at + 1) * ALIGN;
        while SIZES[class] < size {
            class += 1;
        }
        if class != WHOLE || size > LEAST_WHOLE {
            table[at] = class as u8;
        }
        at += 1;
    }
    table
};

/// Which size a layout is served with; `None` when it is empty, too large, or aligned to more than 16.
#[inline]
pub(crate) fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > ALIGN {
        return None;
    }
    // 0 becomes the largest number there is.
    let class = *CLASS_OF.get(layout.size().wrapping_sub(1) / ALIGN)?;
    (class != NONE).then_some(class as usize)
}

/// Whether a layout is served from slabs.
#[must_use]
pub fn is_small(layout: Layout) -> bool {
    class_of(layout).is_some()
}

/// Bytes of a piece of this class.
#[inline]
pub(crate) const fn size_of_class(class: usize) -> usize {
    SIZES[class]
}

/// Pieces in a slab.
pub(crate) const fn pieces_of_class(class: usize) -> usize {
    if class == WHOLE { 1 } else { (SLAB - HEADER) / SIZES[class] }
}

/// What a layout is allocated as: small ones are rounded up to one of 22 sizes from 16 to 4096 bytes, whoever allocates
/// them; all others are left as they are.
#[inline]
#[must_use]
pub fn rounded(layout: Layout) -> Layout {
    class_of(layout).map_or(layout, |class| {
        // SAFETY: the alignment is a power of two, and the size far below `isize::MAX`.
        unsafe { Layout::from_size_align_unchecked(size_of_class(class), ALIGN) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_rounded_to_few_sizes() {
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        for size in 1..=SLAB {
            for align in [1, 8, 16] {
                let rounded = rounded(layout(size, align));
                assert!(rounded.size() >= size && rounded.size() <= size.max(48) * 3 / 2 + ALIGN, "{size}");
                assert_eq!(super::rounded(rounded), rounded);
            }
        }
        for other in [layout(0, 1), layout(SLAB + 1, 1), layout(2048, 1), layout(8, 32)] {
            assert_eq!((rounded(other), class_of(other)), (other, None));
        }
    }

    #[test]
    fn pieces_lie_behind_the_header() {
        for (class, size) in SIZES.into_iter().enumerate() {
            assert_eq!(size % ALIGN, 0);
            let header = if class == WHOLE { 0 } else { HEADER };
            assert!(header + pieces_of_class(class) * size <= SLAB && pieces_of_class(class) > 0);
        }
    }
}
