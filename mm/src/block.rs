//! What the buddy allocator hands out, and what it is told about its use.

use crate::FRAME_SIZE;

/// A run of `1 << order` frames whose first frame number is a multiple of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Number of the first frame: physical address / 4096.
    pub pfn: u64,
    /// log2 of the number of frames.
    pub order: usize,
}

impl Block {
    /// Number of frames.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        1 << self.order
    }

    /// Size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.frames() * FRAME_SIZE
    }

    /// Physical address of the first byte.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.pfn * FRAME_SIZE
    }
}

/// What the memory will be used for, as Linux groups it: blocks of one type are kept in the same pageblocks,
/// so that what can't move does not sit in the middle of what can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MigrateType {
    /// Stays where it is until it is freed: heap, page tables, stacks, DMA buffers.
    Unmovable = 0,
    /// Reached through page tables only, so it can be copied elsewhere.
    Movable = 1,
    /// Can be dropped and made again: caches.
    Reclaimable = 2,
}

impl MigrateType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// The type with this number; unmovable, the type that is always right, for a number that is none.
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Movable,
            2 => Self::Reclaimable,
            _ => Self::Unmovable,
        }
    }

    /// The other types in the order in which they are asked when this one has nothing left (as in Linux).
    #[must_use]
    pub const fn fallbacks(self) -> [Self; 2] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
        }
    }
}

/// Who holds a frame: the answer of [`Buddy::holder`](crate::Buddy::holder).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Outside the frames of this allocator, or never given to it.
    Reserved,
    /// Part of this free block.
    Free(Block),
    /// Part of this allocated block.
    Allocated(Block),
}
