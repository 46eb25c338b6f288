//! Memory: page tables, frames, the kernel heap, stacks, large regions.

pub mod compaction;
pub mod frames;
pub mod heap;
mod heap_caches;
#[cfg(feature = "ai-ops")]
pub mod hold_back;
pub mod layout;
pub mod paging;
mod ranges;
mod region;
pub mod shortage;
mod stack;
pub mod vmalloc;

pub use heap::{held as heap_held, is_locked as heap_is_locked, stats as heap_stats};
pub use heap_caches::CpuHeapCache;
pub use paging::{map, root as page_table_root, unmap};
pub use region::Region;
pub use stack::{STACK_SIZE, Stack, is_guard as is_stack_guard};

use crate::sync::IrqMutex;
use bootloader_api::BootInfo;
use core::ptr::NonNull;
use layout::{DEVICES, DIRECT_MAP, PAGE};

/// There is no memory for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: no {bytes} bytes are to be had")]
pub struct OutOfMemory {
    /// Bytes that were wanted.
    pub bytes: u64,
}

impl From<mm::ZonesError> for OutOfMemory {
    fn from(error: mm::ZonesError) -> Self {
        Self { bytes: PAGE << error.order().min(mm::MAX_ORDER) }
    }
}

/// What a page may be used for. None is writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Code.
    Execute,
    /// Read-only data.
    Read,
    /// Data.
    Write,
    /// Device registers: uncached.
    Device,
}

/// Takes over memory: page tables, then frames, then the heap.
pub fn init(boot: &BootInfo) -> Result<(), OutOfMemory> {
    frames::init_early(&boot.memory_regions);
    paging::init(&boot.memory_regions)?;
    frames::init_zones(&boot.memory_regions)?;
    vmalloc::init()
}

/// The direct-map address of a physical one.
pub fn direct(phys: u64) -> *mut u8 {
    (DIRECT_MAP + phys) as *mut u8
}

/// The physical address behind a mapped virtual one.
pub fn translate(virt: u64) -> Option<u64> {
    paging::translate(virt).map(|(phys, _)| phys)
}

/// Maps device registers, uncached, for ever. `None` when the address is none that this CPU has, or there is no memory
/// for page tables; both are logged.
pub fn map_device(phys: u64, len: u64) -> Option<NonNull<u8>> {
    static NEXT: IrqMutex<u64> = IrqMutex::new(DEVICES);
    let limit = 1u64 << crate::arch::cpu::physical_address_bits();
    let Some(end) = phys.checked_add(len).filter(|&end| end <= limit) else {
        log::error!("MM: there cannot be a device at {phys:#x}");
        return None;
    };
    let (first, end) = (phys / PAGE * PAGE, end.next_multiple_of(PAGE));
    let mut next = NEXT.lock();
    if let Err(error) = paging::map(*next, first, end - first, Access::Device) {
        log::error!("MM: cannot map the device at {phys:#x}: {error}");
        return None;
    }
    let at = *next + (phys - first);
    *next += end - first;
    NonNull::new(at as *mut u8)
}

/// Makes sure that physical memory the firmware left tables in is readable at the direct map, and returns its
/// address there. `None` when it cannot be mapped.
pub fn map_firmware(phys: u64, len: u64) -> Option<*const u8> {
    let (first, end) = (phys / PAGE * PAGE, phys.checked_add(len)?.checked_next_multiple_of(PAGE)?);
    if end > 1 << 46 {
        return None;
    }
    paging::map(DIRECT_MAP + first, first, end - first, Access::Read).ok()?;
    Some(direct(phys))
}
