//! Names of the kernel's functions, for backtraces.
//!
//! The section `.ksyms` is reserved here and filled in the linked ELF by `cargo xtask`: magic `KSYM`, `u32` count,
//! then `count` × {`u64` address, `u32` name offset, `u32` name length} in order of address, then the names. All
//! little-endian; name offsets count from the first name. An image that was not filled has no names.
//!
//! Used while reporting a fault, so: no allocation, no locks, and no trust in the table.

use crate::memory::layout::{Part, linker_address, part};

/// Room for the table: about 20,000 functions; code that isn't optimised has more.
const RESERVED: usize = if cfg!(debug_assertions) { 4 << 20 } else { 1 << 20 };
const HEADER: usize = 8;
const ENTRY: usize = 16;

// Reserved in assembly: to the compiler a constant of zeros would be known to be zero.
core::arch::global_asm!(
    ".section .ksyms, \"a\", @progbits",
    ".balign 16",
    ".skip {size}",
    ".text",
    size = const RESERVED,
);

/// The function that contains `address`, and the offset into it.
///
/// `None` if the address is not in kernel text, lies before the first function, or the image has no table.
pub fn lookup(address: u64) -> Option<(&'static str, u64)> {
    if !part(Part::Text).contains(&address) {
        return None;
    }
    let table = Table::find()?;
    // The last function that starts at or before the address.
    let (mut low, mut high) = (0, table.count);
    while low < high {
        let middle = low + (high - low) / 2;
        if table.entry(middle)?.0 <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (start, name) = table.entry(low.checked_sub(1)?)?;
    Some((name, address - start))
}

/// How many functions have a name.
pub fn count() -> usize {
    Table::find().map_or(0, |table| table.count)
}

struct Table {
    entries: &'static [u8],
    names: &'static [u8],
    count: usize,
}

impl Table {
    fn find() -> Option<Self> {
        let (start, end) = (linker_address!(__ksyms_start), linker_address!(__ksyms_end));
        // SAFETY: the linker script puts the section, read-only and never moved, between the two symbols.
        let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, (end - start) as usize) };
        let body = bytes.strip_prefix(b"KSYM")?;
        let count = u32_at(body, 0)? as usize;
        let entries_end = HEADER.checked_add(count.checked_mul(ENTRY)?)?;
        Some(Self { entries: bytes.get(HEADER..entries_end)?, names: bytes.get(entries_end..)?, count })
    }

    /// Address and name of function `index`.
    fn entry(&self, index: usize) -> Option<(u64, &'static str)> {
        let entry = self.entries.get(index.checked_mul(ENTRY)?..)?.get(..ENTRY)?;
        let address = u64::from_le_bytes(entry.get(..8)?.try_into().ok()?);
        let (offset, len) = (u32_at(entry, 8)? as usize, u32_at(entry, 12)? as usize);
        let name = self.names.get(offset..offset.checked_add(len)?)?;
        Some((address, core::str::from_utf8(name).unwrap_or("(name is not UTF-8)")))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
