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
}

impl Stats {
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
