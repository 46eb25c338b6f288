//! Metadata of one page frame.

use crate::MigrateType;

/// What a frame says about itself. Only the *first* frame of a block is marked; the others stay `NO_HEAD`, so
/// that a block of 256 MiB is made or broken by writing one `Frame`. Free blocks below a pageblock are not marked: they are
/// bits in the map of their pageblock.
const NO_HEAD: u8 = 0;
const FREE_HEAD: u8 = 1;
const ALLOCATED_HEAD: u8 = 2;

/// Metadata of one page frame: 16 bytes of plain data.
///
/// All-zero bytes are a valid `Frame`, and mean "reserved": a kernel may hand in freshly zeroed memory as
/// `&mut [Frame]` without writing to it first. Every other bit pattern is a valid value too (there is no padding and
/// every field is an integer), though only a [`Buddy`](crate::Buddy) gives it a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Frame {
    /// Not about this frame: a word of the descriptor of a pageblock (`pageblock.rs`), in those frames that hold one.
    pub(crate) word: u64,
    /// `NO_HEAD`, `FREE_HEAD` or `ALLOCATED_HEAD`.
    head: u8,
    /// Order of the block that starts here.
    order: u8,
    /// Migrate type that the allocated block which starts here was asked for.
    owner: u8,
    /// Migrate type of a pageblock, for as long as it is partly used; in the first frame of its descriptor, as what follows.
    pageblock_type: u8,
    /// Which words of the pageblock's map have a bit set, and whether any frame of it is managed.
    pub(crate) pageblock_summary: u32,
}

const _: () = assert!(size_of::<Frame>() == 16);

impl Frame {
    /// A frame that is not the allocator's to give: all bytes zero.
    pub const RESERVED: Self =
        Self { word: 0, head: NO_HEAD, order: 0, owner: 0, pageblock_type: 0, pageblock_summary: 0 };

    pub(crate) fn is_head(&self) -> bool {
        self.head != NO_HEAD
    }

    pub(crate) fn is_free_head(&self) -> bool {
        self.head == FREE_HEAD
    }

    pub(crate) fn order(&self) -> usize {
        usize::from(self.order)
    }

    pub(crate) fn mark_free(&mut self, order: usize) {
        self.head = FREE_HEAD;
        self.order = order as u8;
    }

    pub(crate) fn is_allocated_head(&self) -> bool {
        self.head == ALLOCATED_HEAD
    }

    pub(crate) fn mark_allocated(&mut self, order: usize, kind: MigrateType) {
        self.head = ALLOCATED_HEAD;
        self.order = order as u8;
        self.owner = kind as u8;
    }

    /// What the block that starts here was allocated for.
    pub(crate) fn owner(&self) -> MigrateType {
        MigrateType::from_number(self.owner)
    }

    pub(crate) fn clear_head(&mut self) {
        self.head = NO_HEAD;
    }

    pub(crate) fn pageblock_type(&self) -> MigrateType {
        MigrateType::from_number(self.pageblock_type)
    }

    pub(crate) fn set_pageblock_type(&mut self, kind: MigrateType) {
        self.pageblock_type = kind as u8;
    }
}
