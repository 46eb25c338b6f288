//! Counters of a buddy allocator.

use crate::{FRAME_SIZE, ORDERS};

/// A snapshot of a [`Buddy`](crate::Buddy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Frames that the allocator was given.
    pub total_frames: u64,
    /// Frames that are free now.
    pub free_frames: u64,
    /// Free blocks per order, as a line of Linux's `/proc/buddyinfo`.
    pub free_blocks: [u64; ORDERS],
    /// Order of the largest free block; `None` when nothing is free.
    pub largest_free_order: Option<usize>,
    /// Successful allocations since boot.
    pub allocs: u64,
    /// Successful frees since boot.
    pub frees: u64,
    /// Allocations refused since boot.
    pub failures: u64,
    /// Allocations since boot that took a block from a pageblock of another migrate type.
    pub fallbacks: u64,
    /// Pageblocks since boot that changed their migrate type because a fallback claimed them.
    pub claimed: u64,
    /// Frames in all successful allocations since boot.
    pub allocated_frames: u64,
    /// Frames in all successful frees since boot.
    pub freed_frames: u64,
}

impl Stats {
    /// The sum of two snapshots, as for two zones.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            total_frames: self.total_frames + other.total_frames,
            free_frames: self.free_frames + other.free_frames,
            free_blocks: core::array::from_fn(|order| self.free_blocks[order] + other.free_blocks[order]),
            largest_free_order: self.largest_free_order.max(other.largest_free_order),
            allocs: self.allocs + other.allocs,
            frees: self.frees + other.frees,
            failures: self.failures + other.failures,
            fallbacks: self.fallbacks + other.fallbacks,
            claimed: self.claimed + other.claimed,
            allocated_frames: self.allocated_frames + other.allocated_frames,
            freed_frames: self.freed_frames + other.freed_frames,
        }
    }

    /// Bytes that the allocator was given.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_frames * FRAME_SIZE
    }

    /// Bytes that are free now.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.free_frames * FRAME_SIZE
    }
}
