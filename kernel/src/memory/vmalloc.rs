//! Movable memory: virtually contiguous ranges of single frames that are reached only through the page tables, so
//! that compaction can put other frames under them while they are in use.
//!
//! For every frame, [`owner`] says which page of the area it holds, and whether that page may be moved. A move takes
//! the page's entry away, has every CPU forget it, copies, and enters the new frame. Whoever touches the page
//! meanwhile faults, and the fault waits ([`wait_for_move`]).
//!
//! Interrupt handlers must not touch movable memory: the move that they would wait for may be their own CPU's.

use super::layout::{MOVABLE, MOVABLE_BITS, PAGE};
use super::paging::{self, Residence};
use super::ranges::Ranges;
use super::{Access, OutOfMemory, direct, frames, shortage};
use crate::arch::tlb;
use crate::tasks::{self, Task};
use alloc::sync::Arc;
use conquer_once::spin::OnceCell;
use core::sync::atomic::{AtomicU32, Ordering};
use mm::{Block, MigrateType};

/// The page's frame may not change: it is pinned, or about to be freed.
const PINNED: u32 = 1 << 30;
/// The page is being moved.
const MOVING: u32 = 1 << 31;

static RANGES: Ranges = Ranges::new(MOVABLE, MOVABLE + (1 << MOVABLE_BITS));

/// For every frame the page of the area that it holds, plus 1, and the flags above; 0 for all other frames.
static OWNERS: OnceCell<Owners> = OnceCell::uninit();

struct Owners {
    first: u64,
    of: &'static [AtomicU32],
}

/// Why a page was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame {pfn:#x} is pinned, or no movable page's")]
pub struct NotMovable {
    /// The frame.
    pub pfn: u64,
}

/// Makes the table of owners. Once, with the page allocator up.
pub fn init() -> Result<(), OutOfMemory> {
    let span = frames::span();
    let count = (span.end - span.start) as usize;
    let pages = (count * size_of::<AtomicU32>()).div_ceil(PAGE as usize).next_power_of_two();
    let block = frames::alloc_emergency(pages.ilog2() as usize, MigrateType::Unmovable)?;
    let table = direct(block.address());
    // SAFETY: the block is ours for ever, mapped and large enough; zero is a valid `AtomicU32`.
    let of = unsafe {
        table.write_bytes(0, count * size_of::<AtomicU32>());
        core::slice::from_raw_parts(table.cast::<AtomicU32>(), count)
    };
    OWNERS.init_once(|| Owners { first: span.start, of });
    Ok(())
}

fn owner(pfn: u64) -> Option<&'static AtomicU32> {
    let owners = OWNERS.get()?;
    owners.of.get(usize::try_from(pfn.checked_sub(owners.first)?).ok()?)
}

/// The number of a page of the area, as it stands in the table.
fn number(virt: u64) -> u32 {
    ((virt - MOVABLE) / PAGE) as u32 + 1
}

/// Mapped, writable, movable memory; contents undefined. Freed when dropped, which must happen in a thread.
pub struct Movable {
    start: u64,
    /// Bytes of addresses.
    len: u64,
    /// Bytes that are mapped; less than `len` only while it is made.
    mapped: u64,
    /// The task whose end frees it.
    holder: Arc<Task>,
}

impl Movable {
    /// A range of at least `bytes`, in pages, held by the calling thread. It may have to wait for memory.
    pub fn new(bytes: u64) -> Result<Self, OutOfMemory> {
        Self::from_frames(bytes, || shortage::alloc(0, MigrateType::Movable))
    }

    /// As [`new`](Self::new), refused at once where memory is not free: for caches.
    #[cfg(feature = "llm")]
    pub fn new_if_free(bytes: u64) -> Result<Self, OutOfMemory> {
        Self::from_frames(bytes, || frames::alloc(0, MigrateType::Movable))
    }

    fn from_frames(
        bytes: u64,
        mut frame: impl FnMut() -> Result<Block, OutOfMemory>,
    ) -> Result<Self, OutOfMemory> {
        let len = bytes.max(1).next_multiple_of(PAGE);
        let mut range = Self { start: RANGES.take(len)?, len, mapped: 0, holder: tasks::current() };
        // On failure, dropping the range gives back what it got so far.
        while range.mapped < len {
            let block = frame()?;
            let virt = range.start + range.mapped;
            if let Err(error) = paging::map(virt, block.address(), PAGE, Access::Write) {
                frames::free_frame(block.pfn, MigrateType::Movable);
                return Err(error);
            }
            if let Some(owner) = owner(block.pfn) {
                owner.store(number(virt), Ordering::Release);
            }
            range.mapped += PAGE;
            range.holder.hold(PAGE);
        }
        Ok(range)
    }

    /// The memory.
    #[cfg(feature = "llm")]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: as in `as_mut_slice`.
        unsafe { core::slice::from_raw_parts(self.start as *const u8, self.len as usize) }
    }

    /// The memory.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: mapped writable in full, owned by `self`; moves keep the contents.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, self.len as usize) }
    }

    /// Keeps every page in its frame until the guard is dropped, for a device that reads and writes it.
    pub fn pin(&mut self) -> Pinned<'_> {
        self.pages().for_each(|virt| {
            hold(virt);
        });
        Pinned { range: self }
    }

    fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        (self.start..self.start + self.mapped).step_by(PAGE as usize)
    }
}

impl Drop for Movable {
    fn drop(&mut self) {
        // From here on nobody moves them.
        self.pages().for_each(|virt| {
            hold(virt);
        });
        // The frames' numbers are read before the mapping goes, and the frames are freed after every CPU has
        // forgotten it: in between they are kept in the owners' table by nobody, so they are looked up twice.
        let mut chunk = heapless::Vec::<u64, 256>::new();
        let mut pages = self.pages().peekable();
        while pages.peek().is_some() {
            chunk.clear();
            let first = *pages.peek().unwrap_or(&self.start);
            for virt in pages.by_ref().take(chunk.capacity()) {
                if let Residence::Present(phys) = paging::residence(virt) {
                    let _ = chunk.push(phys / PAGE);
                }
            }
            paging::unmap(first, chunk.len() as u64 * PAGE);
            tlb::flush_everywhere();
            for &pfn in &chunk {
                if let Some(owner) = owner(pfn) {
                    owner.store(0, Ordering::Release);
                }
                frames::free_frame(pfn, MigrateType::Movable);
            }
        }
        self.holder.release(self.mapped);
        RANGES.give(self.start, self.len);
    }
}

/// A range whose pages stay in their frames.
pub struct Pinned<'a> {
    range: &'a mut Movable,
}

impl Pinned<'_> {
    /// The physical address of the byte at `offset`; `None` behind the end.
    pub fn physical(&self, offset: u64) -> Option<u64> {
        let virt = self.range.start + Some(offset).filter(|&offset| offset < self.range.len)?;
        match paging::residence(virt) {
            Residence::Present(phys) => Some(phys + virt % PAGE),
            _ => None,
        }
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        for virt in self.range.pages() {
            if let Residence::Present(phys) = paging::residence(virt)
                && let Some(owner) = owner(phys / PAGE)
            {
                owner.fetch_and(!PINNED, Ordering::Release);
            }
        }
    }
}

/// Waits until the page is in a frame, and keeps it there: returns the frame.
fn hold(virt: u64) -> u64 {
    let number = number(virt);
    loop {
        if let Residence::Present(phys) = paging::residence(virt) {
            let pfn = phys / PAGE;
            let held = owner(pfn).is_none_or(|owner| {
                owner.compare_exchange(number, number | PINNED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            });
            if held {
                return pfn;
            }
        }
        tasks::yield_now();
    }
}

/// Whether the frame holds a page that may be moved now.
pub fn is_movable(pfn: u64) -> bool {
    owner(pfn).is_some_and(|owner| !matches!(owner.load(Ordering::Acquire), 0 | PINNED..))
}

/// Moves the page in frame `from` to frame `to`, which is the caller's, and becomes the page's; `from` becomes the
/// caller's. In a thread with interrupts on, without locks.
pub fn migrate(from: u64, to: u64) -> Result<(), NotMovable> {
    let refused = NotMovable { pfn: from };
    let (Some(old), Some(new)) = (owner(from), owner(to)) else { return Err(refused) };
    // A fault on this CPU would wait for ever for a move that is not running.
    let _stay = tasks::no_preempt();
    let number = old.load(Ordering::Acquire);
    let free_to_move = number != 0 && number & (PINNED | MOVING) == 0;
    if !free_to_move
        || old.compare_exchange(number, number | MOVING, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        return Err(refused);
    }
    let virt = MOVABLE + u64::from(number - 1) * PAGE;
    if !paging::begin_move(virt) {
        old.store(number, Ordering::Release);
        return Err(refused);
    }
    tlb::flush_page_everywhere(virt);
    // SAFETY: nobody reaches `from` any more, `to` is the caller's, and both are in the direct map.
    unsafe { direct(to * PAGE).copy_from_nonoverlapping(direct(from * PAGE), PAGE as usize) };
    new.store(number, Ordering::Release);
    paging::end_move(virt, to * PAGE);
    old.store(0, Ordering::Release);
    Ok(())
}

/// Called by the page-fault handler for an address of the area that was not present: waits while the page is being
/// moved. `false` when there is no page.
pub fn wait_for_move(address: u64) -> bool {
    loop {
        match paging::residence(address) {
            Residence::Present(_) => return true,
            Residence::Absent => return false,
            Residence::Moving => {
                // The mover may be waiting for this CPU, whose interrupts are off.
                tlb::acknowledge();
                core::hint::spin_loop();
            }
        }
    }
}
