//! How fragmented free memory is, as Linux's `extfrag` files define it (`mm/vmstat.c`).
//!
//! Both figures are in thousandths, as integers, and are computed from the free blocks per order
//! ([`Stats::free_blocks`](crate::Stats::free_blocks)).

use crate::ORDERS;

/// What both figures are computed from, relative to a wanted order.
struct Fill {
    /// Free blocks of any order.
    blocks: u64,
    /// Free frames.
    frames: u64,
    /// Blocks of the wanted order that could be cut from the free blocks.
    suitable: u64,
}

fn fill(free_blocks: &[u64; ORDERS], wanted: usize) -> Fill {
    let mut fill = Fill { blocks: 0, frames: 0, suitable: 0 };
    for (order, &blocks) in free_blocks.iter().enumerate() {
        fill.blocks += blocks;
        fill.frames += blocks << order;
        if order >= wanted {
            fill.suitable += blocks << (order - wanted);
        }
    }
    fill
}

/// Why an allocation of `order` would fail, as `extfrag_index`: towards 0 for lack of memory, towards 1000 because of
/// fragmentation. −1000 when it would not fail, 0 when nothing is free.
///
/// An `order` above [`MAX_ORDER`](crate::MAX_ORDER) is judged as that.
#[must_use]
pub fn extfrag_index(free_blocks: &[u64; ORDERS], order: usize) -> i32 {
    let order = order.min(crate::MAX_ORDER);
    let fill = fill(free_blocks, order);
    if fill.blocks == 0 {
        return 0;
    }
    if fill.suitable > 0 {
        return -1000;
    }
    // No block is suitable, so every block has less than 2^order frames and the quotient is below 1000 + 1000/blocks.
    let requested = 1_u64 << order;
    let share = (1000 + fill.frames * 1000 / requested) / fill.blocks;
    1000 - share as i32
}

/// Share of the free memory that an allocation of `order` can't use, as `unusable_index`: 0 when all of it lies
/// in blocks that are large enough, 1000 when none does or nothing is free.
///
/// An `order` above [`MAX_ORDER`](crate::MAX_ORDER) is judged as that.
#[must_use]
pub fn unusable_index(free_blocks: &[u64; ORDERS], order: usize) -> i32 {
    let order = order.min(crate::MAX_ORDER);
    let fill = fill(free_blocks, order);
    if fill.frames == 0 {
        return 1000;
    }
    ((fill.frames - (fill.suitable << order)) * 1000 / fill.frames) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(of: &[(usize, u64)]) -> [u64; ORDERS] {
        let mut all = [0; ORDERS];
        for &(order, n) in of {
            all[order] = n;
        }
        all
    }

    #[test]
    fn nothing_free() {
        assert_eq!(extfrag_index(&blocks(&[]), 3), 0);
        assert_eq!(unusable_index(&blocks(&[]), 3), 1000);
    }

    #[test]
    fn would_succeed() {
        assert_eq!(extfrag_index(&blocks(&[(4, 1)]), 3), -1000);
        assert_eq!(unusable_index(&blocks(&[(4, 1)]), 3), 0);
    }

    #[test]
    fn many_small_blocks_are_fragmentation() {
        // 1024 single frames, order 4 wanted: (1000 + 1024·1000/16) / 1024 = 63 → 937.
        assert_eq!(extfrag_index(&blocks(&[(0, 1024)]), 4), 937);
        assert_eq!(unusable_index(&blocks(&[(0, 1024)]), 4), 1000);
    }

    #[test]
    fn one_small_block_is_lack_of_memory() {
        // One frame, order 4 wanted: (1000 + 62) / 1 → −62, as Linux prints it (no clamp there either).
        assert_eq!(extfrag_index(&blocks(&[(0, 1)]), 4), -62);
    }

    #[test]
    fn half_unusable() {
        assert_eq!(unusable_index(&blocks(&[(0, 16), (4, 1)]), 4), 500);
        assert_eq!(unusable_index(&blocks(&[(0, 16), (4, 1)]), usize::MAX), 1000);
    }
}
