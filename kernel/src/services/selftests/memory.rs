//! Heap, buddy allocator, page rights.

use super::Outcome;
use super::random::Random;
use crate::memory::{self, Region, frames, paging};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::alloc::Layout;
use mm::{Block, MigrateType};
use x86_64::registers::control::{Cr0, Cr0Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::structures::paging::page_table::PageTableFlags as Flags;

const ROUNDS: u64 = 4_000;
const LIVE: u64 = 128;

/// One allocation, filled with a byte of its own.
struct Piece {
    at: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Piece {
    fn new(random: &mut Random) -> Result<Self, String> {
        // Mostly small, sometimes large; alignments up to a page.
        let bits = 4 + random.below(13);
        let size = 1 + random.below(1 << bits);
        let layout = Layout::from_size_align(size as usize, 1 << random.below(13))
            .map_err(|e| alloc::format!("{e}"))?;
        // SAFETY: the size is not zero.
        let at = unsafe { alloc::alloc::alloc(layout) };
        if at.is_null() {
            return Err(alloc::format!("no memory for {layout:?}"));
        }
        if !(at as usize).is_multiple_of(layout.align()) {
            return Err(alloc::format!("{at:p} is not aligned for {layout:?}"));
        }
        let fill = random.next() as u8;
        // SAFETY: just allocated with that size.
        unsafe { at.write_bytes(fill, layout.size()) };
        Ok(Self { at, layout, fill })
    }

    /// Frees it; says whether nobody else wrote to it.
    fn free(self) -> bool {
        // SAFETY: allocated and filled by `new`, freed only here.
        unsafe {
            let intact =
                core::slice::from_raw_parts(self.at, self.layout.size()).iter().all(|&b| b == self.fill);
            alloc::alloc::dealloc(self.at, self.layout);
            intact
        }
    }
}

/// Random sizes and alignments, with patterns that two overlapping pieces would break.
pub fn heap() -> Outcome {
    let mut random = Random::new(1);
    let mut live: Vec<Piece> = Vec::with_capacity(LIVE as usize);
    let before = memory::heap_stats();
    for round in 0..ROUNDS {
        if live.len() < LIVE as usize {
            live.push(Piece::new(&mut random)?);
            continue;
        }
        let piece = live.swap_remove(random.below(LIVE) as usize);
        let (at, layout) = (piece.at, piece.layout);
        if !piece.free() {
            return Err(alloc::format!("round {round}: {layout:?} at {at:p} was overwritten"));
        }
    }
    let count = live.len();
    if !live.into_iter().map(Piece::free).fold(true, |all, intact| all & intact) {
        return Err(alloc::format!("one of the last {count} pieces was overwritten"));
    }
    let after = memory::heap_stats();
    Ok(alloc::format!(
        "{ROUNDS} rounds, {LIVE} live; heap {} -> {} KiB",
        before.claimed >> 10,
        after.claimed >> 10
    ))
}

/// Blocks of random orders, each page marked, until an eighth of what is free is taken; then all given back.
pub fn buddy() -> Outcome {
    let mut random = Random::new(2);
    let before = frames::stats();
    let limit = before.free_frames / 8;
    let mut blocks: Vec<Block> = Vec::new();
    let mut taken = 0;
    let outcome = loop {
        let order = random.below(mm::MAX_ORDER as u64 / 2 + 1) as usize;
        if taken >= limit {
            break Ok(());
        }
        let kind = MigrateType::ALL[random.below(3) as usize];
        match frames::alloc(order, kind) {
            Ok(block) => {
                mark(&block);
                taken += block.frames();
                blocks.push(block);
            }
            Err(error) => break Err(alloc::format!("order {order} with {} MiB free: {error}", limit >> 8)),
        }
    };
    let largest = frames::alloc_at_most(mm::MAX_ORDER, MigrateType::Movable).map(|block| {
        frames::free(block);
        block.order
    });
    let damaged = blocks.iter().filter(|block| !is_marked(block)).count();
    let count = blocks.len();
    blocks.drain(..).for_each(frames::free);
    outcome?;
    if damaged > 0 {
        return Err(alloc::format!("{damaged} of {count} blocks were overwritten: blocks overlap"));
    }
    let after = frames::stats();
    // Other threads allocate too, but never this much.
    let missing = before.free_frames.abs_diff(after.free_frames);
    if missing > 4096 {
        return Err(alloc::format!("{missing} frames differ after all was freed"));
    }
    if after.largest_free_order < before.largest_free_order {
        return Err(alloc::format!(
            "blocks did not merge: largest order was {:?}, is {:?}",
            before.largest_free_order,
            after.largest_free_order
        ));
    }
    // A machine with 1 GiB has 256 MiB in one piece even beside these blocks.
    if before.total_bytes() > 900 << 20 && largest != Ok(mm::MAX_ORDER) {
        return Err(alloc::format!("no 256 MiB in one piece: {largest:?}"));
    }
    let largest = largest.map_or(String::from("none"), |order| alloc::format!("{order}"));
    Ok(alloc::format!("{count} blocks, {} MiB; largest order beside them {largest}", taken >> 8))
}

/// Writes each page's number into its first and last word.
fn mark(block: &Block) {
    for page in 0..block.frames() {
        let number = block.pfn + page;
        let at = memory::direct(number * 4096).cast::<u64>();
        // SAFETY: the block is ours, and all of it is in the direct map.
        unsafe {
            at.write_volatile(number);
            at.add(511).write_volatile(!number);
        }
    }
}

fn is_marked(block: &Block) -> bool {
    (0..block.frames()).all(|page| {
        let number = block.pfn + page;
        let at = memory::direct(number * 4096).cast::<u64>();
        // SAFETY: as in `mark`.
        unsafe { at.read_volatile() == number && at.add(511).read_volatile() == !number }
    })
}

/// Virtually contiguous regions: each page is another frame, and all frames come back.
pub fn region() -> Outcome {
    const BYTES: u64 = 24 << 20;
    let free = || frames::stats().free_frames;
    // The first one also makes page tables, which stay.
    drop(Region::new(BYTES).map_err(|error| error.to_string())?);
    let before = free();
    let mut region = Region::new(BYTES).map_err(|error| error.to_string())?;
    let taken = before.saturating_sub(free());
    let memory = region.as_mut_slice();
    for (number, page) in memory.chunks_exact_mut(4096).enumerate() {
        page.fill(number as u8);
        page[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    let intact = memory.chunks_exact(4096).enumerate().all(|(number, page)| {
        page[..8] == (number as u64).to_le_bytes() && page[8..].iter().all(|&byte| byte == number as u8)
    });
    let start = memory.as_ptr() as u64;
    let len = region.len();
    drop(region);
    // Other threads may allocate a little at the same time.
    let missing = before.abs_diff(free());
    if !intact {
        return Err(String::from("two pages of a region are the same frame"));
    }
    if memory::translate(start).is_some() || memory::translate(start + len - 1).is_some() {
        return Err(String::from("a region that was dropped is still mapped"));
    }
    if taken < BYTES / 4096 || missing > 512 {
        return Err(alloc::format!("the region took {taken} frames, and {missing} did not come back"));
    }
    Ok(alloc::format!("{} MiB mapped, written, read, and given back", len >> 20))
}

/// Walks the page tables.
pub fn wx() -> Outcome {
    if !Cr0::read().contains(Cr0Flags::WRITE_PROTECT) || !Efer::read().contains(EferFlags::NO_EXECUTE_ENABLE)
    {
        return Err(String::from("CR0.WP or EFER.NXE is off: page rights do not bind the kernel"));
    }
    let (mut pages, mut executable, mut both) = (0u64, 0u64, None);
    paging::for_each_page(|virt, _, flags| {
        pages += 1;
        if !flags.contains(Flags::NO_EXECUTE) {
            executable += 1;
            if flags.contains(Flags::WRITABLE) {
                both = Some(virt);
            }
        }
    });
    match both {
        Some(virt) => Err(alloc::format!("the page at {virt:#x} is writable and executable")),
        None if executable == 0 => Err(String::from("no executable page was found: the walk is wrong")),
        None => Ok(alloc::format!("{pages} pages, {executable} executable, none of them writable")),
    }
}
