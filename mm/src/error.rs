//! What can be wrong with a request to the buddy allocator.

use thiserror::Error;

/// Why frames could not be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddError {
    /// Some of the frames have no metadata here.
    #[error(
        "{count} frames from {pfn} on do not fit into what this allocator has metadata for, {first}..{end}"
    )]
    OutOfRange {
        /// First frame of the range.
        pfn: u64,
        /// Frames in the range.
        count: u64,
        /// First frame that has metadata.
        first: u64,
        /// One past the last frame that has metadata.
        end: u64,
    },
    /// Some of the frames were added before.
    #[error("frame {pfn} was added before; add every range of the memory map once")]
    Overlap {
        /// A frame of the range that is already managed.
        pfn: u64,
    },
}

/// Why nothing was allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AllocError {
    /// No block is that large.
    #[error("order {order} is above the largest order {max}; ask for several blocks", max = crate::MAX_ORDER)]
    OrderTooLarge {
        /// The order asked for.
        order: usize,
    },
    /// Fewer frames are free than were asked for.
    #[error("out of memory: order {order} needs {needed} frames, {free} are free", needed = 1u64 << order)]
    OutOfMemory {
        /// The order asked for.
        order: usize,
        /// Frames that are free.
        free: u64,
    },
    /// Enough frames are free, but not side by side.
    #[error("fragmented: {free} frames are free, but no {needed} of them in one block", needed = 1u64 << order)]
    Fragmented {
        /// The order asked for.
        order: usize,
        /// Frames that are free.
        free: u64,
    },
}

/// Why the zones refused an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ZonesError {
    /// No zone has such a block.
    #[error(transparent)]
    NoBlock(#[from] AllocError),
    /// There is such a block, but it is kept for emergencies.
    #[error(
        "order {order} refused: of {free} free frames, {min} are kept for emergencies; reclaim memory first"
    )]
    Reserved {
        /// The order asked for.
        order: usize,
        /// Frames that are free in the zones asked.
        free: u64,
        /// Sum of these zones' lowest marks.
        min: u64,
    },
    /// A test asked for this failure.
    #[error("order {order} refused: this failure was injected")]
    Injected {
        /// The order asked for.
        order: usize,
    },
}

impl ZonesError {
    /// The order that was asked for.
    #[must_use]
    pub const fn order(&self) -> usize {
        match *self {
            Self::Reserved { order, .. } | Self::Injected { order } => order,
            Self::NoBlock(
                AllocError::OrderTooLarge { order }
                | AllocError::OutOfMemory { order, .. }
                | AllocError::Fragmented { order, .. },
            ) => order,
        }
    }
}

/// Why a block was not freed. The allocator is as it was before the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FreeError {
    /// No block is that large.
    #[error("order {order} is above the largest order {max}", max = crate::MAX_ORDER)]
    OrderTooLarge {
        /// The order given.
        order: usize,
    },
    /// The frame was never given to this allocator.
    #[error("frame {pfn} is not managed by this allocator: it is reserved or outside its range")]
    Foreign {
        /// The frame given.
        pfn: u64,
    },
    /// A block of this order starts at a multiple of its length.
    #[error("frame {pfn} can't be the start of a block of order {order}: it is not a multiple of {len}", len = 1u64 << order)]
    Misaligned {
        /// The frame given.
        pfn: u64,
        /// The order given.
        order: usize,
    },
    /// The frame is free already.
    #[error("double free: frame {pfn} is part of a free block (frame {head}, order {order})")]
    DoubleFree {
        /// The frame given.
        pfn: u64,
        /// First frame of the free block that holds it.
        head: u64,
        /// Order of that free block.
        order: usize,
    },
    /// The block at this frame was allocated with another order.
    #[error("wrong order: the block at frame {pfn} was allocated with order {allocated}, not {order}")]
    WrongOrder {
        /// The frame given.
        pfn: u64,
        /// The order given.
        order: usize,
        /// The order it was allocated with.
        allocated: usize,
    },
    /// The frame lies in the middle of an allocated block.
    #[error(
        "frame {pfn} is inside the allocated block at frame {head} (order {order}); free the block from its start"
    )]
    NotBlockStart {
        /// The frame given.
        pfn: u64,
        /// First frame of the block that holds it.
        head: u64,
        /// Order of that block.
        order: usize,
    },
}
