//! Page frames: a bump allocator until the page tables stand, then the buddy allocator over all memory.

use super::layout::PAGE;
use super::{OutOfMemory, direct};
use crate::sync::IrqMutex;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use mm::{Block, Buddy, Frame, MigrateType, Stats};

/// Nothing below is handed out: firmware tables, and the trampoline that starts CPUs.
const FIRST_USED: u64 = 1 << 20;
/// What the entry code's tables map.
const EARLY_LIMIT: u64 = 4 << 30;

#[allow(clippy::large_enum_variant, reason = "there is one, in a static")]
enum Frames {
    /// Before `init_early`.
    Nothing,
    /// Frames are taken from the end of one region: `start..cursor` is free.
    Early { start: u64, cursor: u64 },
    /// The real allocator.
    Buddy(Buddy<'static>),
}

static FRAMES: IrqMutex<Frames> = IrqMutex::new(Frames::Nothing);

/// Starts the bump allocator in the largest usable region below 4 GiB.
pub fn init_early(regions: &[MemoryRegion]) {
    let usable = regions.iter().filter_map(usable_part).map(|(start, end)| (start, end.min(EARLY_LIMIT)));
    if let Some((start, end)) = usable.filter(|(s, e)| s < e).max_by_key(|(start, end)| end - start) {
        *FRAMES.lock() = Frames::Early { start, cursor: end };
    }
}

/// The whole pages of a usable region above the first MiB.
fn usable_part(region: &MemoryRegion) -> Option<(u64, u64)> {
    let start = region.start.max(FIRST_USED).next_multiple_of(PAGE);
    let end = region.end / PAGE * PAGE;
    (region.kind == MemoryRegionKind::Usable && start < end).then_some((start, end))
}

/// Hands all memory that is left to the buddy allocator.
pub fn init_buddy(regions: &[MemoryRegion]) -> Result<(), OutOfMemory> {
    let end = regions.iter().filter_map(usable_part).map(|(_, end)| end).max().unwrap_or(FIRST_USED);
    let count = ((end - FIRST_USED) / PAGE) as usize;
    let bytes = (count * size_of::<Frame>()).next_multiple_of(PAGE as usize) as u64;
    let mut frames = FRAMES.lock();
    let Frames::Early { start: early_start, cursor } = *frames else {
        return Err(OutOfMemory { bytes });
    };
    let table = cursor.checked_sub(bytes).filter(|&at| at >= early_start).ok_or(OutOfMemory { bytes })?;
    let table_memory = direct(table);
    // SAFETY: taken from the early region's free end, mapped, page-aligned, used by nobody else for ever;
    // zero bytes are `Frame::RESERVED`.
    let metadata = unsafe {
        table_memory.write_bytes(0, bytes as usize);
        core::slice::from_raw_parts_mut(table_memory.cast::<Frame>(), count)
    };
    let mut buddy = Buddy::new(metadata, FIRST_USED / PAGE);
    for (start, end) in regions.iter().filter_map(usable_part) {
        let end = if (start..end).contains(&early_start) { table } else { end };
        if let Err(error) = buddy.add_free(start / PAGE, (end - start) / PAGE) {
            log::warn!("MM: {} KiB at {start:#x} stay unused: {error}", (end - start) >> 10);
        }
    }
    *frames = Frames::Buddy(buddy);
    Ok(())
}

/// A zeroed frame for a page table: its physical address.
pub fn table() -> Result<u64, OutOfMemory> {
    let address = match &mut *FRAMES.lock() {
        Frames::Nothing => return Err(OutOfMemory { bytes: PAGE }),
        Frames::Early { start, cursor } => {
            if *cursor - *start < PAGE {
                return Err(OutOfMemory { bytes: PAGE });
            }
            *cursor -= PAGE;
            *cursor
        }
        Frames::Buddy(buddy) => buddy.alloc(0, MigrateType::Unmovable)?.address(),
    };
    // SAFETY: a frame of ours, in the direct map.
    unsafe { direct(address).write_bytes(0, PAGE as usize) };
    Ok(address)
}

/// A block of `1 << order` frames.
pub fn alloc(order: usize, kind: MigrateType) -> Result<Block, OutOfMemory> {
    with_buddy(|buddy| Ok(buddy.alloc(order, kind)?)).unwrap_or(Err(OutOfMemory { bytes: PAGE << order }))
}

/// The largest free block of at most `order`.
pub fn alloc_at_most(order: usize, kind: MigrateType) -> Result<Block, OutOfMemory> {
    with_buddy(|buddy| Ok(buddy.alloc_at_most(order, kind)?)).unwrap_or(Err(OutOfMemory { bytes: PAGE }))
}

/// Gives a block back. A wrong block is refused, reported, and leaks; it never corrupts the lists.
pub fn free(block: Block) {
    if let Some(Err(error)) = with_buddy(|buddy| buddy.free(block.pfn, block.order)) {
        log::error!("MM: refused to free frame {:#x} of order {}: {error}", block.pfn, block.order);
    }
}

/// The numbers of the first frame and of the one behind the last.
pub fn span() -> core::ops::Range<u64> {
    with_buddy(|buddy| buddy.span()).unwrap_or(0..0)
}

/// Free blocks, counts.
pub fn stats() -> Stats {
    with_buddy(|buddy| buddy.stats()).unwrap_or_default()
}

fn with_buddy<R>(act: impl FnOnce(&mut Buddy<'static>) -> R) -> Option<R> {
    match &mut *FRAMES.lock() {
        Frames::Buddy(buddy) => Some(act(buddy)),
        _ => None,
    }
}
