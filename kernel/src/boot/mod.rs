//! Boot protocols. Each one fills a [`bootloader_api::BootInfo`]; the kernel proper starts from that one type.
//!
//! `BootInfo` has no room for the command line, which [`option`] gives.

mod command_line;
mod entry;
mod memory_map;
mod multiboot2;
mod pvh;

use bootloader_api::BootInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use command_line::{option, text as command_line};

use crate::memory::layout;
use memory_map::MemoryMap;

/// TSC at the first instruction of the kernel.
static FIRST_INSTRUCTION: AtomicU64 = AtomicU64::new(0);

/// TSC at the kernel's first instruction: where the time spent in firmware ends and ours begins.
pub fn first_instruction_tsc() -> u64 {
    FIRST_INSTRUCTION.load(Ordering::Relaxed)
}

/// Whether `start` was entered by PVH.
static BY_PVH: AtomicBool = AtomicBool::new(false);

/// The boot protocol, for people.
pub fn protocol() -> &'static str {
    if BY_PVH.load(Ordering::Relaxed) { "PVH" } else { "Multiboot2" }
}

/// What a boot protocol tells, before it is made a `BootInfo`.
struct Handover {
    map: MemoryMap,
    /// Physical address of ACPI's root pointer.
    rsdp: Option<u64>,
    /// Physical start and length of the ramdisk.
    ramdisk: Option<(u64, u64)>,
}

/// Called by the entry code on the boot stack, with the first 4 GiB mapped at the direct map.
extern "C" fn start(magic: u32, info: u32, tsc: u64) -> ! {
    FIRST_INSTRUCTION.store(tsc, Ordering::Relaxed);
    BY_PVH.store(magic == entry::PVH_MAGIC, Ordering::Relaxed);
    crate::log::init();
    let handover = match magic {
        entry::PVH_MAGIC => pvh::read(info.into()),
        entry::MULTIBOOT2_MAGIC => multiboot2::read(info.into()),
        other => panic!("entered by an unknown boot protocol (magic {other:#010x}); use PVH or Multiboot2"),
    };
    crate::kernel_main(boot_info(handover))
}

/// Makes the one hand-over type out of what the protocol told. `ramdisk_addr` is a direct-map address.
fn boot_info(mut handover: Handover) -> BootInfo {
    let image = layout::image_phys();
    handover.map.reserve(image.start, image.end);
    if let Some((start, len)) = handover.ramdisk {
        handover.map.reserve(start, start.saturating_add(len));
    }
    let mut info = BootInfo::new(handover.map.leak().into());
    info.physical_memory_offset = Some(layout::DIRECT_MAP).into();
    info.rsdp_addr = handover.rsdp.into();
    info.ramdisk_addr = handover.ramdisk.map(|(start, _)| start + layout::DIRECT_MAP).into();
    info.ramdisk_len = handover.ramdisk.map_or(0, |(_, len)| len);
    info.kernel_addr = image.start;
    info.kernel_len = image.end - image.start;
    info.kernel_image_offset = layout::KERNEL_BASE + image.start;
    info
}

/// Reads a `T` that the boot loader left at physical address `phys`.
///
/// # Safety
/// `phys` is below 4 GiB (what the entry code mapped) and holds a valid `T`; alignment does not matter.
unsafe fn read_phys<T: Copy>(phys: u64) -> T {
    // SAFETY: by the caller; the entry code maps physical 0..4 GiB at DIRECT_MAP.
    unsafe { ((phys + layout::DIRECT_MAP) as *const T).read_unaligned() }
}
