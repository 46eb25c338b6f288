//! PVH: QEMU's `-kernel`, Firecracker, Cloud Hypervisor (Xen's `hvm_start_info`).

use super::{Handover, MemoryMap, command_line, entry, read_phys};

/// Xen public/arch-x86/hvm/start_info.h, version 1.
#[repr(C)]
#[derive(Clone, Copy)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Module {
    address: u64,
    size: u64,
    command_line: u64,
    reserved: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// Reads the `hvm_start_info` at physical address `info`.
pub fn read(info: u64) -> Handover {
    // SAFETY: the PVH protocol passes its structure in `ebx`, so below 4 GiB.
    let start: StartInfo = unsafe { read_phys(info) };
    assert!(start.magic == entry::PVH_MAGIC, "PVH start info has a wrong magic number: {:#x}", start.magic);
    assert!(start.version >= 1, "PVH start info of version 0 has no memory map; use a newer QEMU");
    // SAFETY: `read` is called once, by `boot::start`.
    let mut map = unsafe { MemoryMap::new() };
    for index in 0..u64::from(start.memory_map_entries) {
        // SAFETY: the protocol promises `memory_map_entries` entries below 4 GiB.
        let entry: MapEntry = unsafe { read_phys(start.memory_map + index * size_of::<MapEntry>() as u64) };
        map.add(entry.address, entry.size, entry.kind);
    }
    if start.command_line != 0 {
        // SAFETY: a zero-terminated string below 4 GiB, by the protocol; `store` reads at most 512 bytes.
        let byte = |offset| unsafe { read_phys::<u8>(start.command_line + offset) };
        command_line::store((0..).map(byte).take_while(|&byte| byte != 0));
    }
    let ramdisk = (start.modules > 0).then(|| {
        // SAFETY: the protocol promises `modules` entries below 4 GiB.
        let module: Module = unsafe { read_phys(start.module_list) };
        (module.address, module.size)
    });
    Handover { map, rsdp: Some(start.rsdp).filter(|&rsdp| rsdp != 0), ramdisk }
}
