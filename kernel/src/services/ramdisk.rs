//! The file that the boot loader passed beside the kernel: a trace of bursts, or else a model.

use super::{sched_bench, slm};
use bootloader_api::BootInfo;

/// Gives it, if there is one, to whom it is for. Before the model is looked for.
pub fn hand_out(boot: &BootInfo) {
    let Some(address) = boot.ramdisk_addr.into_option() else { return };
    // SAFETY: the boot code reserved the ramdisk in the memory map and gives its direct-map address.
    let bytes = unsafe { core::slice::from_raw_parts(address as *const u8, boot.ramdisk_len as usize) };
    match sched_bench::is_trace(bytes) {
        true => sched_bench::set_given(bytes),
        false => slm::set_ramdisk(bytes),
    }
}
