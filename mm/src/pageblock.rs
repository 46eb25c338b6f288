//! Pageblocks: where their descriptors lie, and the map of the free blocks in one.
//!
//! A pageblock's free blocks are bits, not links: to test, join, split or find the lowest free block touches a few words that
//! lie together, instead of frames all over the pageblock. Blocks of a pageblock and more are not in a map but on lists.

use crate::{Frame, PAGEBLOCK_ORDER};

pub(crate) const PAGEBLOCK_FRAMES: u64 = 1 << PAGEBLOCK_ORDER;
/// Words of a map: a bit for each block of each order that could be in a pageblock.
const MAP_WORDS: usize = 2 * PAGEBLOCK_FRAMES as usize / 64;
/// Frames whose words make up a descriptor: the links of a list, then the map.
const DESCRIPTOR: usize = 1 + MAP_WORDS;
const ROOM: &str = "there is metadata for the descriptor of every pageblock";
/// Frames of metadata without which there is no room for the descriptors of two partial pageblocks.
pub(crate) const LEAST_FRAMES: usize = 2 * DESCRIPTOR;

/// How the frames with metadata fall into pageblocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pageblocks {
    /// Frames that the first pageblock lacks at its start.
    skew: usize,
    /// Frames with metadata: none, or at least `LEAST_FRAMES`.
    len: usize,
}

impl Pageblocks {
    pub(crate) const fn new(first_pfn: u64, len: usize) -> Self {
        Self { skew: (first_pfn % PAGEBLOCK_FRAMES) as usize, len }
    }

    /// Number of the pageblock that holds the frame of this index, counted from the first.
    #[inline]
    pub(crate) fn number(self, index: u32) -> u32 {
        ((index as usize + self.skew) >> PAGEBLOCK_ORDER) as u32
    }

    /// Where in its pageblock this frame lies.
    #[inline]
    pub(crate) fn offset(self, index: u32) -> usize {
        (index as usize + self.skew) % PAGEBLOCK_FRAMES as usize
    }

    /// Index of the frame at an offset of a pageblock, which must be one with metadata.
    #[inline]
    pub(crate) fn index(self, number: u32, offset: usize) -> u32 {
        (((number as usize) << PAGEBLOCK_ORDER) + offset - self.skew) as u32
    }

    /// Index of the first frame of the descriptor: the middle of the pageblock, or as near as there is metadata. So the
    /// descriptor of a partial pageblock may reach into the next one, but not to that one's middle.
    #[inline]
    pub(crate) fn descriptor(self, number: u32) -> usize {
        let middle = ((number as usize) << PAGEBLOCK_ORDER) + PAGEBLOCK_FRAMES as usize / 2;
        middle.saturating_sub(self.skew).min(self.len - DESCRIPTOR)
    }

    /// The map of a pageblock.
    #[inline]
    pub(crate) fn map(self, frames: &mut [Frame], number: u32) -> Map<'_> {
        let at = self.descriptor(number);
        let (descriptor, _) = frames[at..].split_first_chunk_mut().expect(ROOM);
        let summary = descriptor[0].pageblock_summary;
        Map { descriptor, summary }
    }
}

/// The free blocks of one pageblock that are smaller than it.
///
/// Bit `start(o) + n` is set when the `n`th block of order `o` is a free block, where `start(o)` is 0, 512, 768, …. The
/// *summary* has a bit for each word of orders 0 to 3, and for each order above, of which several share a word; so the smallest
/// block that suffices is found by two counts of zeros.
///
/// Invariants: no two set bits overlap or are buddies; a bit of the summary is set when any is that it stands for.
pub(crate) struct Map<'f> {
    descriptor: &'f mut [Frame; DESCRIPTOR],
    /// Written back by [`close`](Self::close).
    summary: u32,
}

/// What the bits of a summary stand for.
struct Part {
    order: u8,
    /// Word of the map, and which bits of it.
    word: u8,
    mask: u64,
}

const PARTS: usize = 20;
/// Bit of the summary of a pageblock of which some frame is managed.
pub(crate) const MANAGED: u32 = 1 << 31;
const ALL_PARTS: u32 = (1 << PARTS) - 1;

static PART: [Part; PARTS] = {
    let mut parts = [const { Part { order: 0, word: 0, mask: 0 } }; PARTS];
    let (mut at, mut order) = (0, 0);
    while order < PAGEBLOCK_ORDER {
        let (bits, mut first) = (PAGEBLOCK_FRAMES as usize >> order, start(order));
        let end = first + bits;
        while first < end {
            let mask = if bits >= 64 { u64::MAX } else { ((1 << bits) - 1) << (first % 64) };
            parts[at] = Part { order: order as u8, word: (first / 64) as u8, mask };
            at += 1;
            first += 64;
        }
        order += 1;
    }
    assert!(at == PARTS);
    parts
};

/// The first part of each order.
static FIRST_PART: [u8; PAGEBLOCK_ORDER] = {
    let mut first = [0; PAGEBLOCK_ORDER];
    let mut at = PARTS;
    while at > 0 {
        at -= 1;
        first[PART[at].order as usize] = at as u8;
    }
    first
};

const fn start(order: usize) -> usize {
    let bits = 64 * MAP_WORDS;
    bits - (bits >> order)
}

/// Part and bit of a block.
#[inline]
fn place(offset: usize, order: usize) -> (usize, u64) {
    let bit = start(order) + (offset >> order);
    // Up to order 3 a part is a word, above it is an order.
    (if order <= 3 { bit / 64 } else { order + 11 }, 1 << (bit % 64))
}

impl Map<'_> {
    #[inline]
    pub(crate) fn is_free(&self, offset: usize, order: usize) -> bool {
        is_free(self.descriptor, offset, order)
    }

    #[inline]
    pub(crate) fn set(&mut self, offset: usize, order: usize) {
        let (part, bit) = place(offset, order);
        self.descriptor[1 + usize::from(PART[part].word)].word |= bit;
        self.summary |= 1 << part;
    }

    #[inline]
    pub(crate) fn clear(&mut self, offset: usize, order: usize) {
        let (part, bit) = place(offset, order);
        let word = &mut self.descriptor[1 + usize::from(PART[part].word)].word;
        *word &= !bit;
        let is_empty = *word & PART[part].mask == 0;
        self.summary &= !(u32::from(is_empty) << part);
    }

    /// The lowest of the smallest free blocks of at least `order`: its offset and order.
    #[inline]
    pub(crate) fn smallest(&self, order: usize) -> Option<(usize, usize)> {
        let from = u32::from(*FIRST_PART.get(order)?);
        let parts = self.summary & ALL_PARTS & (u32::MAX << from);
        let part = PART.get(parts.trailing_zeros() as usize)?;
        let (word, order) = (usize::from(part.word), usize::from(part.order));
        let bit = 64 * word + (self.descriptor[1 + word].word & part.mask).trailing_zeros() as usize;
        Some(((bit - start(order)) << order, order))
    }

    /// Ends changes of the map; the largest order of a free block, before and after.
    #[inline]
    pub(crate) fn close(self) -> (Option<usize>, Option<usize>) {
        let before = largest(self.descriptor[0].pageblock_summary);
        self.descriptor[0].pageblock_summary = self.summary;
        (before, largest(self.summary))
    }

    /// Number of free blocks of this order.
    pub(crate) fn count(&self, order: usize) -> u32 {
        let parts = PART.iter().filter(|part| usize::from(part.order) == order);
        parts.map(|part| (self.descriptor[1 + usize::from(part.word)].word & part.mask).count_ones()).sum()
    }
}

#[inline]
fn largest(summary: u32) -> Option<usize> {
    (summary & ALL_PARTS).checked_ilog2().map(|part| usize::from(PART[part as usize].order))
}

#[inline]
fn is_free(descriptor: &[Frame; DESCRIPTOR], offset: usize, order: usize) -> bool {
    let (part, bit) = place(offset, order);
    descriptor[1 + usize::from(PART[part].word)].word & bit != 0
}

impl Pageblocks {
    /// Order of the free block below a pageblock that starts at this frame.
    pub(crate) fn free_order(self, frames: &[Frame], index: u32) -> Option<usize> {
        let (at, offset) = (self.descriptor(self.number(index)), self.offset(index));
        let (descriptor, _) = frames[at..].split_first_chunk().expect(ROOM);
        // A block starts at a multiple of its length.
        let largest = (offset.trailing_zeros() as usize).min(PAGEBLOCK_ORDER - 1);
        (0..=largest).find(|&order| is_free(descriptor, offset, order))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn bits_of_all_blocks_are_apart() {
        let mut seen = BTreeSet::new();
        for order in 0..PAGEBLOCK_ORDER {
            for offset in (0..PAGEBLOCK_FRAMES as usize).step_by(1 << order) {
                let (part, bit) = place(offset, order);
                let Part { order: of, word, mask } = PART[part];
                assert!(usize::from(of) == order && bit & mask != 0 && usize::from(word) < MAP_WORDS);
                assert!(seen.insert((word, bit)), "order {order}, offset {offset}");
            }
        }
    }

    #[test]
    fn the_smallest_and_lowest_is_found() {
        let pageblocks = Pageblocks::new(0, 512);
        let mut frames = vec![Frame::RESERVED; 512];
        let mut map = pageblocks.map(&mut frames, 0);
        for order in 0..PAGEBLOCK_ORDER {
            assert_eq!((map.smallest(0), largest(map.summary)), (None, None));
            let last = 512 - (1 << order);
            map.set(last, order);
            assert_eq!((map.smallest(0), map.smallest(order)), (Some((last, order)), Some((last, order))));
            assert_eq!(
                (map.smallest(order + 1), largest(map.summary), map.count(order)),
                (None, Some(order), 1)
            );
            map.set(0, order);
            assert_eq!((map.smallest(order), map.count(order)), (Some((0, order)), 2));
            assert!(map.is_free(0, order) && map.is_free(last, order));
            map.clear(0, order);
            assert_eq!(largest(map.summary), Some(order));
            map.clear(last, order);
        }
        map.set(64, 6);
        map.set(32, 4);
        assert_eq!((map.smallest(0), map.smallest(5)), (Some((32, 4)), Some((64, 6))));
        assert_eq!(largest(map.summary), Some(6));
        map.clear(64, 6);
        map.clear(32, 4);
        map.set(8, 3);
        assert_eq!(map.close(), (None, Some(3)));
        let mut map = pageblocks.map(&mut frames, 0);
        map.clear(8, 3);
        assert_eq!(map.close(), (Some(3), None));
        assert!(frames.iter().all(|frame| *frame == Frame::RESERVED));
    }

    #[test]
    fn descriptors_never_overlap() {
        for first in 0..520 {
            for len in (LEAST_FRAMES..140).chain(500..560).chain(1000..1100) {
                let pageblocks = Pageblocks::new(first, len);
                let last = pageblocks.number(len as u32 - 1);
                let starts: Vec<usize> = (0..=last).map(|number| pageblocks.descriptor(number)).collect();
                assert!(
                    starts.windows(2).all(|two| two[0] + DESCRIPTOR <= two[1]),
                    "{first} {len} {starts:?}"
                );
                assert!(starts[last as usize] + DESCRIPTOR <= len);
            }
        }
    }
}
