//! Where everything lies in the 48-bit address space.
//!
//! | from | what |
//! |---|---|
//! | `0xffff_8000_0000_0000` | direct map of physical memory, never executable |
//! | `0xffff_c000_0000_0000` | stacks, each with a guard page below it |
//! | `0xffff_d000_0000_0000` | virtually contiguous regions (the SLM pool) |
//! | `0xffff_d800_0000_0000` | movable memory, whose frames compaction may change under it |
//! | `0xffff_e000_0000_0000` | device registers, uncached |
//! | `0xffff_ffff_8000_0000` | the kernel image, at this address + its physical address |

use core::ops::Range;

/// Start of the direct map: physical address `p` is at `DIRECT_MAP + p`.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Start of the stack slots.
pub const STACKS: u64 = 0xffff_c000_0000_0000;
/// Start of the virtually contiguous regions.
pub const REGIONS: u64 = 0xffff_d000_0000_0000;
/// Start of the movable memory.
pub const MOVABLE: u64 = 0xffff_d800_0000_0000;
/// The movable memory has `1 << MOVABLE_BITS` bytes of addresses: 64 GiB.
pub const MOVABLE_BITS: u32 = 36;
/// Start of the device mappings.
pub const DEVICES: u64 = 0xffff_e000_0000_0000;
/// The kernel image is linked at this address plus its physical address.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Size of a page.
pub const PAGE: u64 = 4096;

/// The parts of the kernel image, in address order, as `kernel.ld` lays them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Executable, read-only.
    Text,
    /// Read-only (the model is here).
    Rodata,
    /// Writable.
    Data,
}

macro_rules! linker_address {
    ($symbol:ident) => {{
        unsafe extern "C" {
            static $symbol: u8;
        }
        (&raw const $symbol) as u64
    }};
}
pub(crate) use linker_address;

/// Virtual addresses of a part of the kernel image.
pub fn part(part: Part) -> Range<u64> {
    match part {
        Part::Text => linker_address!(__text_start)..linker_address!(__text_end),
        Part::Rodata => linker_address!(__rodata_start)..linker_address!(__rodata_end),
        Part::Data => linker_address!(__data_start)..linker_address!(__data_end),
    }
}

/// The guard page below the boot stack.
pub fn boot_stack_guard() -> u64 {
    linker_address!(__boot_stack_guard)
}

/// Physical addresses of the whole image, entry code included.
pub fn image_phys() -> Range<u64> {
    linker_address!(__image_start_phys)..part(Part::Data).end - KERNEL_BASE
}
