//! Multiboot2: GRUB, on BIOS and on UEFI machines.

use super::{Handover, MemoryMap, command_line, read_phys};

const TAG_END: u32 = 0;
const TAG_COMMAND_LINE: u32 = 1;
const TAG_MODULE: u32 = 3;
const TAG_MEMORY_MAP: u32 = 6;
const TAG_RSDP_1: u32 = 14;
const TAG_RSDP_2: u32 = 15;

#[repr(C)]
#[derive(Clone, Copy)]
struct Tag {
    kind: u32,
    size: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

/// What the entry code has mapped.
const MAPPED: u64 = 4 << 30;

/// Reads the boot information at physical address `info` (Multiboot2 specification, 3.6).
pub fn read(info: u64) -> Handover {
    // SAFETY: called once, by `boot::start`.
    let mut handover = Handover { map: unsafe { MemoryMap::new() }, rsdp: None, ramdisk: None };
    // SAFETY: the structure begins with its total size; GRUB puts it below 4 GiB.
    let total: u32 = unsafe { read_phys(info) };
    let end = (info + u64::from(total)).min(MAPPED);
    let mut at = info + 8;
    while at + 8 <= end {
        // SAFETY: `at..at + 8` lies inside the structure.
        let tag: Tag = unsafe { read_phys(at) };
        // One that does not fit ends the list: nothing behind it can be found.
        if tag.kind == TAG_END || tag.size < 8 || at + u64::from(tag.size) > end {
            break;
        }
        read_tag(tag, at + 8, u64::from(tag.size) - 8, &mut handover);
        at += u64::from(tag.size).next_multiple_of(8);
    }
    // The RSDP stays where GRUB copied it, in this structure.
    handover.map.reserve(info, end);
    handover
}

/// Reads one tag whose `len` bytes of content begin at physical address `body`.
fn read_tag(tag: Tag, body: u64, len: u64, handover: &mut Handover) {
    match tag.kind {
        TAG_COMMAND_LINE => {
            // SAFETY: inside the tag.
            let byte = |offset| unsafe { read_phys::<u8>(body + offset) };
            command_line::store((0..len).map(byte).take_while(|&byte| byte != 0));
        }
        TAG_MODULE if len >= 8 && handover.ramdisk.is_none() => {
            // SAFETY: inside the tag.
            let [start, end]: [u32; 2] = unsafe { read_phys(body) };
            handover.ramdisk = Some((start.into(), u64::from(end.saturating_sub(start))));
        }
        TAG_MEMORY_MAP if len >= 8 => {
            // SAFETY: inside the tag.
            let entry_size = u64::from(unsafe { read_phys::<u32>(body) });
            let mut at = 8;
            while entry_size >= size_of::<MapEntry>() as u64 && at + entry_size <= len {
                // SAFETY: inside the tag, by the loop's condition.
                let entry: MapEntry = unsafe { read_phys(body + at) };
                handover.map.add(entry.address, entry.size, entry.kind);
                at += entry_size;
            }
        }
        // The tag holds a copy of the RSDP; version 2 wins.
        TAG_RSDP_1 if len >= 20 && handover.rsdp.is_none() => handover.rsdp = Some(body),
        TAG_RSDP_2 if len >= 36 => handover.rsdp = Some(body),
        _ => {}
    }
}
