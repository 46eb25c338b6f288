//! The kernel's page tables. One address space, 4 KiB and 2 MiB pages, no page both writable and executable.

use super::frames;
use super::layout::{self, PAGE, Part};
use super::{Access, OutOfMemory};
use crate::sync::IrqMutex;
use bootloader_api::info::MemoryRegion;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::structures::paging::page_table::{PageTable, PageTableEntry, PageTableFlags as Flags};
use x86_64::{PhysAddr, VirtAddr};

const LARGE: u64 = 2 << 20;

/// Physical address of the top-level table; 0 until `init`.
static ROOT: IrqMutex<u64> = IrqMutex::new(0);
/// The same, for the page-fault handler, which may not wait for the lock.
static ROOT_FOR_FAULTS: AtomicU64 = AtomicU64::new(0);

impl Access {
    fn flags(self) -> Flags {
        let base = Flags::PRESENT;
        match self {
            Access::Execute => base,
            Access::Read => base | Flags::NO_EXECUTE,
            Access::Write => base | Flags::NO_EXECUTE | Flags::WRITABLE,
            Access::Device => {
                base | Flags::NO_EXECUTE | Flags::WRITABLE | Flags::NO_CACHE | Flags::WRITE_THROUGH
            }
        }
    }
}

/// Builds the real tables: the kernel image with its parts' rights, and the direct map over all memory of the
/// firmware's map. The image's read-only parts are read-only in the direct map too. Then switches to them.
pub fn init(regions: &[MemoryRegion]) -> Result<(), OutOfMemory> {
    let mut root = ROOT.lock();
    *root = frames::table()?;
    ROOT_FOR_FAULTS.store(*root, Ordering::Release);
    for (part, access) in
        [(Part::Text, Access::Execute), (Part::Rodata, Access::Read), (Part::Data, Access::Write)]
    {
        let range = layout::part(part);
        map_in(*root, range.start, range.start - layout::KERNEL_BASE, range.end - range.start, access)?;
    }
    unmap_page(*root, layout::boot_stack_guard());

    let phys = |part| {
        let range = layout::part(part);
        range.start - layout::KERNEL_BASE..range.end - layout::KERNEL_BASE
    };
    let read_only = phys(Part::Text).start..phys(Part::Rodata).end;
    // The first MiB whole: firmware leaves tables there that its map does not always list.
    direct_map(*root, 0..1 << 20, &read_only)?;
    for region in regions.iter().filter(|region| is_memory(region)) {
        direct_map(*root, region.start..region.end, &read_only)?;
    }
    // SAFETY: the new tables map the running code, the boot stack and all data at their present addresses.
    unsafe {
        let frame = x86_64::structures::paging::PhysFrame::containing_address(PhysAddr::new(*root));
        x86_64::registers::control::Cr3::write(frame, x86_64::registers::control::Cr3Flags::empty());
    }
    Ok(())
}

/// Regions worth mapping: memory and ACPI tables, not the reserved holes where devices are.
fn is_memory(region: &MemoryRegion) -> bool {
    use bootloader_api::info::MemoryRegionKind as Kind;
    const ACPI_RECLAIMABLE: u32 = 3;
    const ACPI_NVS: u32 = 4;
    matches!(
        region.kind,
        Kind::Usable | Kind::Bootloader | Kind::UnknownBios(ACPI_RECLAIMABLE) | Kind::UnknownBios(ACPI_NVS)
    )
}

/// Maps a physical range at the direct map: writable, except for what overlaps `read_only`.
fn direct_map(root: u64, range: Range<u64>, read_only: &Range<u64>) -> Result<(), OutOfMemory> {
    let start = range.start / PAGE * PAGE;
    let end = range.end.next_multiple_of(PAGE);
    let pieces = [
        (start..end.min(read_only.start), Access::Write),
        (start.max(read_only.start)..end.min(read_only.end), Access::Read),
        (start.max(read_only.end)..end, Access::Write),
    ];
    for (piece, access) in pieces.into_iter().filter(|(piece, _)| piece.start < piece.end) {
        map_in(root, layout::DIRECT_MAP + piece.start, piece.start, piece.end - piece.start, access)?;
    }
    Ok(())
}

/// Physical address of the top-level table, below 4 GiB (the trampoline loads it in 32-bit code).
pub fn root() -> u64 {
    *ROOT.lock()
}

/// Maps `len` bytes at `virt` to `phys`, all multiples of 4 KiB. Pages already mapped stay as they are.
pub fn map(virt: u64, phys: u64, len: u64, access: Access) -> Result<(), OutOfMemory> {
    let root = ROOT.lock();
    map_in(*root, virt, phys, len, access)
}

/// Takes away the mapping of `len` bytes at `virt`. Other CPUs may still have it in their TLB.
pub fn unmap(virt: u64, len: u64) {
    let root = ROOT.lock();
    let mut at = virt;
    while at < virt + len {
        let step = match walk(*root, at) {
            Some((entry, size)) if size == LARGE && at.is_multiple_of(LARGE) && virt + len - at >= LARGE => {
                entry.set_unused();
                LARGE
            }
            Some((entry, PAGE)) => {
                entry.set_unused();
                PAGE
            }
            _ => PAGE,
        };
        x86_64::instructions::tlb::flush(VirtAddr::new(at));
        at += step;
    }
}

/// The physical address that `virt` is mapped to, and the rights of its page.
pub fn translate(virt: u64) -> Option<(u64, Flags)> {
    let root = ROOT.lock();
    if *root == 0 || VirtAddr::try_new(virt).is_err() {
        return None;
    }
    let (entry, size) = walk(*root, virt)?;
    Some((entry.addr().as_u64() + virt % size, entry.flags()))
}

/// What a page of the movable memory is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// In this frame (its physical address).
    Present(u64),
    /// On the way to another frame.
    Moving,
    /// Nothing is mapped.
    Absent,
}

/// Marks an entry whose page is being moved; the CPU ignores it, for the entry is not present.
const MOVING: Flags = Flags::BIT_9;

/// Where a page is. Takes no lock: page tables are never freed, and entries are read whole.
pub fn residence(virt: u64) -> Residence {
    let mut at = ROOT_FOR_FAULTS.load(Ordering::Acquire);
    for shift in [39, 30, 21, 12] {
        let entry: *const PageTableEntry = &raw const table(at)[index(virt, shift)];
        // SAFETY: an entry of a live table; others write it whole.
        let entry = unsafe { entry.read_volatile() };
        match (entry.flags().contains(Flags::PRESENT), shift) {
            (true, 12) => return Residence::Present(entry.addr().as_u64()),
            (true, _) => at = entry.addr().as_u64(),
            (false, 12) if entry.flags().contains(MOVING) => return Residence::Moving,
            (false, _) => return Residence::Absent,
        }
    }
    Residence::Absent
}

/// Takes a mapped 4 KiB page away for a move: accesses fault, and [`residence`] says `Moving`. TLBs still have it.
/// `false` when it is not mapped.
pub fn begin_move(virt: u64) -> bool {
    let root = ROOT.lock();
    let Some((entry, PAGE)) = walk(*root, virt) else { return false };
    entry.set_flags(MOVING);
    true
}

/// Ends a move: the page is in the frame at `phys` from now on.
pub fn end_move(virt: u64, phys: u64) {
    let root = ROOT.lock();
    // `walk` stops at entries that are not present.
    let Some(leaf) = leaf_table(*root, virt) else { return };
    leaf[index(virt, 12)].set_addr(PhysAddr::new(phys), Access::Write.flags());
}

/// The last-level table of `virt`, if there is one.
fn leaf_table(root: u64, virt: u64) -> Option<&'static mut PageTable> {
    let mut at = root;
    for shift in [39, 30, 21] {
        let entry = &table(at)[index(virt, shift)];
        if !entry.flags().contains(Flags::PRESENT) || entry.flags().contains(Flags::HUGE_PAGE) {
            return None;
        }
        at = entry.addr().as_u64();
    }
    Some(table(at))
}

/// Calls `visit` with the address, size and rights of every mapped page.
pub fn for_each_page(mut visit: impl FnMut(u64, u64, Flags)) {
    let root = *ROOT.lock();
    for (i4, e4) in present(root) {
        for (i3, e3) in present(e4.addr().as_u64()) {
            for (i2, e2) in present(e3.addr().as_u64()) {
                let at = VirtAddr::new_truncate(i4 << 39 | i3 << 30 | i2 << 21).as_u64();
                if e2.flags().contains(Flags::HUGE_PAGE) {
                    visit(at, LARGE, e2.flags());
                    continue;
                }
                present(e2.addr().as_u64()).for_each(|(i1, e1)| visit(at | i1 << 12, PAGE, e1.flags()));
            }
        }
    }
}

fn present(table_at: u64) -> impl Iterator<Item = (u64, &'static PageTableEntry)> {
    (0..).zip(table(table_at).iter()).filter(|(_, entry)| entry.flags().contains(Flags::PRESENT))
}

/// The table at a physical address.
fn table(phys: u64) -> &'static mut PageTable {
    // SAFETY: table frames come from `frames::table`, are in the direct map, never freed, and are changed only
    // under the lock of ROOT.
    unsafe { &mut *super::direct(phys).cast::<PageTable>() }
}

fn map_in(root: u64, virt: u64, phys: u64, len: u64, access: Access) -> Result<(), OutOfMemory> {
    debug_assert!([virt, phys, len].iter().all(|value| value.is_multiple_of(PAGE)));
    let mut done = 0;
    while done < len {
        let (at, to) = (virt + done, phys + done);
        let large = at.is_multiple_of(LARGE) && to.is_multiple_of(LARGE) && len - done >= LARGE;
        let directory = next(&mut next(&mut table(root)[index(at, 39)])?[index(at, 30)])?;
        let entry = &mut directory[index(at, 21)];
        if large && entry.is_unused() {
            entry.set_addr(PhysAddr::new(to), access.flags() | Flags::HUGE_PAGE);
            done += LARGE;
            continue;
        }
        if entry.flags().contains(Flags::HUGE_PAGE) {
            done += LARGE - at % LARGE;
            continue;
        }
        let leaf = &mut next(entry)?[index(at, 12)];
        if leaf.is_unused() {
            leaf.set_addr(PhysAddr::new(to), access.flags());
        }
        done += PAGE;
    }
    Ok(())
}

fn index(virt: u64, shift: u32) -> usize {
    (virt >> shift) as usize & 511
}

/// The table behind an entry, made if there is none. Rights are decided by the last level.
fn next(entry: &mut PageTableEntry) -> Result<&'static mut PageTable, OutOfMemory> {
    if entry.is_unused() {
        entry.set_addr(PhysAddr::new(frames::table()?), Flags::PRESENT | Flags::WRITABLE);
    }
    Ok(table(entry.addr().as_u64()))
}

/// The last-level entry of `virt` and its page's size.
fn walk(root: u64, virt: u64) -> Option<(&'static mut PageTableEntry, u64)> {
    let mut at = root;
    for shift in [39, 30, 21, 12] {
        let entry = &mut table(at)[index(virt, shift)];
        if !entry.flags().contains(Flags::PRESENT) {
            return None;
        }
        if shift == 12 || entry.flags().contains(Flags::HUGE_PAGE) {
            return Some((entry, 1 << shift));
        }
        at = entry.addr().as_u64();
    }
    None
}

fn unmap_page(root: u64, virt: u64) {
    if let Some((entry, PAGE)) = walk(root, virt) {
        entry.set_unused();
    }
}
