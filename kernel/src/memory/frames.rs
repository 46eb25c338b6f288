//! Page frames: a bump allocator until the page tables stand, then two zones of buddy allocators over all memory, with
//! a cache of small blocks before them on every CPU.

use super::layout::PAGE;
use super::{OutOfMemory, direct};
use crate::arch::percpu;
use crate::sync::IrqMutex;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::ops::Range;
use mm::{Block, Frame, FreeError, MAX_CACHED_ORDER, MigrateType, Pressure, Reserve, Stats, ZoneKind, Zones};

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
    Zones(Zones<'static>),
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

/// Hands all memory that is left to the zones.
pub fn init_zones(regions: &[MemoryRegion]) -> Result<(), OutOfMemory> {
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
    let mut zones = Zones::new(metadata, FIRST_USED / PAGE);
    for (start, end) in regions.iter().filter_map(usable_part) {
        let end = if (start..end).contains(&early_start) { table } else { end };
        if let Err(error) = zones.add_free(start / PAGE, (end - start) / PAGE) {
            log::warn!("MM: {} KiB at {start:#x} stay unused: {error}", (end - start) >> 10);
        }
    }
    *frames = Frames::Zones(zones);
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
        Frames::Zones(zones) => zones.alloc(0, MigrateType::Unmovable, Reserve::Emergency)?.address(),
    };
    // SAFETY: a frame of ours, in the direct map.
    unsafe { direct(address).write_bytes(0, PAGE as usize) };
    Ok(address)
}

/// A block of `1 << order` frames, for callers that may be told that there is none.
pub fn alloc(order: usize, kind: MigrateType) -> Result<Block, OutOfMemory> {
    alloc_from(order, kind, Reserve::None)
}

/// As [`alloc()`], from the emergency reserve too: for the kernel's own needs, without which nothing can be freed.
pub fn alloc_emergency(order: usize, kind: MigrateType) -> Result<Block, OutOfMemory> {
    alloc_from(order, kind, Reserve::Emergency)
}

fn alloc_from(order: usize, kind: MigrateType, reserve: Reserve) -> Result<Block, OutOfMemory> {
    if order > MAX_CACHED_ORDER || !percpu::is_ready() {
        return with_zones(|zones| Ok(zones.alloc(order, kind, reserve)?))
            .unwrap_or(Err(OutOfMemory { bytes: PAGE << order }));
    }
    // Lock order: a CPU's cache, then the zones.
    let mut cache = percpu::this_cpu().frame_cache.lock();
    let pfn = match cache.alloc(order, kind) {
        Some(pfn) => pfn,
        None => with_zones(|zones| Ok(cache.refill(zones, order, kind, reserve)?))
            .unwrap_or(Err(OutOfMemory { bytes: PAGE << order }))?,
    };
    Ok(Block { pfn, order })
}

/// The largest free block of at most `order`.
pub fn alloc_at_most(order: usize, kind: MigrateType) -> Result<Block, OutOfMemory> {
    with_zones(|zones| Ok(zones.alloc_at_most(order, kind)?)).unwrap_or(Err(OutOfMemory { bytes: PAGE }))
}

/// Gives a block back. A wrong block is refused, reported, and leaks; it never corrupts the lists.
pub fn free(block: Block) {
    report(block, with_zones(|zones| zones.free(block.pfn, block.order)));
}

/// Gives a block back that was allocated as `kind`: a small one stays with this CPU for the next one who needs one.
pub fn free_as(block: Block, kind: MigrateType) {
    if block.order > MAX_CACHED_ORDER || !percpu::is_ready() {
        return free(block);
    }
    let mut cache = percpu::this_cpu().frame_cache.lock();
    if let Some(drained) = cache.free(block.pfn, block.order, kind) {
        report(block, with_zones(|zones| zones.free_drained(drained)));
    }
}

/// [`free_as`] for a single frame.
pub fn free_frame(pfn: u64, kind: MigrateType) {
    free_as(Block { pfn, order: 0 }, kind);
}

fn report(block: Block, result: Option<Result<(), FreeError>>) {
    if let Some(Err(error)) = result {
        log::error!("MM: refused to free frame {:#x} of order {}: {error}", block.pfn, block.order);
    }
}

/// Gives the frames that the CPUs keep back to the zones; how many.
pub fn drain_caches() -> u64 {
    percpu::all()
        .map(|cpu| {
            let mut cache = cpu.frame_cache.lock();
            match with_zones(|zones| cache.drain_all(zones)) {
                Some(Ok(count)) => count,
                Some(Err(error)) => {
                    log::error!("MM: a CPU kept a frame that is not its own: {error}");
                    0
                }
                None => 0,
            }
        })
        .sum()
}

/// The numbers of the first frame and of the one behind the last.
pub fn span() -> Range<u64> {
    with_zones(|zones| {
        let [low, high] = ZoneKind::ALL.map(|zone| zones.buddy(zone).span());
        low.start..high.end.max(low.end)
    })
    .unwrap_or(0..0)
}

/// Free blocks, counts. Blocks that the CPUs keep for themselves are free.
pub fn stats() -> Stats {
    let mut stats = with_zones(|zones| zones.stats()).unwrap_or_default();
    for cpu in percpu::all() {
        let cache = cpu.frame_cache.lock().stats();
        stats.free_frames += cache.held;
        for (blocks, held) in stats.free_blocks.iter_mut().zip(cache.held_blocks) {
            *blocks += held;
        }
        stats.allocs += cache.allocs;
        stats.frees += cache.frees;
    }
    stats
}

/// How short memory is.
pub fn pressure() -> Pressure {
    with_zones(|zones| zones.pressure()).unwrap_or_default()
}

/// Runs `act` on the zones, under their lock: it must be short and must not allocate. `None` before they are there.
pub fn with_zones<R>(act: impl FnOnce(&mut Zones<'static>) -> R) -> Option<R> {
    match &mut *FRAMES.lock() {
        Frames::Zones(zones) => Some(act(zones)),
        _ => None,
    }
}
