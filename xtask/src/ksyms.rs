//! The kernel's symbol table for backtraces, written into the section that the kernel keeps free for it.
//!
//! Format of `.ksyms` (little endian), as `kernel/src/ksyms.rs` reads it: magic `KSYM`, `u32` count, then count ×
//! { `u64` address, `u32` name offset, `u32` name length } by ascending address, then the names, to which the
//! offsets are relative. Function symbols only; names are demangled, without the hash.

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

const SECTION: &str = ".ksyms";
const MAGIC: &[u8; 4] = b"KSYM";
const HEADER: usize = 8;
const ENTRY: usize = 16;

/// Fills `.ksyms` of the kernel in `elf` from its own symbol table. Returns how many functions are in it.
pub fn fill(elf: &mut [u8]) -> Result<usize> {
    let (table, count, offset, room) = {
        let file = object::File::parse(&*elf).context("the kernel is no readable ELF file")?;
        let section = file.section_by_name(SECTION).context("the kernel has no .ksyms section")?;
        let (offset, room) = section.file_range().context("the kernel's .ksyms takes no room in the file")?;
        let functions = functions(&file);
        (encode(&functions)?, functions.len(), offset, room)
    };
    if table.len() as u64 > room {
        bail!(
            "the symbol table takes {} bytes, the kernel's .ksyms has {room}: enlarge it in kernel/src/ksyms.rs",
            table.len()
        );
    }
    let start = usize::try_from(offset)?;
    let place =
        elf.get_mut(start..start + table.len()).context("the kernel's .ksyms lies past the file's end")?;
    place.copy_from_slice(&table);
    Ok(count)
}

/// The functions of `file`, by ascending address, one name for each address.
fn functions(file: &object::File<'_>) -> Vec<(u64, String)> {
    let mut functions: Vec<(u64, String)> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| {
            Some((symbol.address(), format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?))))
        })
        .filter(|(_, name)| !name.is_empty())
        .collect();
    functions.sort();
    functions.dedup_by_key(|(address, _)| *address);
    functions
}

fn encode(functions: &[(u64, String)]) -> Result<Vec<u8>> {
    let mut table = Vec::with_capacity(HEADER + functions.len() * (ENTRY + 32));
    table.extend_from_slice(MAGIC);
    table.extend_from_slice(&u32::try_from(functions.len())?.to_le_bytes());
    let mut names = Vec::new();
    for (address, name) in functions {
        table.extend_from_slice(&address.to_le_bytes());
        table.extend_from_slice(&u32::try_from(names.len())?.to_le_bytes());
        table.extend_from_slice(&u32::try_from(name.len())?.to_le_bytes());
        names.extend_from_slice(name.as_bytes());
    }
    table.extend_from_slice(&names);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_back() {
        let functions = [(0x1000, "a::first".to_owned()), (0x2000, "b".to_owned())];
        let table = encode(&functions).unwrap();
        assert_eq!(&table[..8], b"KSYM\x02\0\0\0");
        let names = HEADER + 2 * ENTRY;
        for (i, (address, name)) in functions.iter().enumerate() {
            let entry = &table[HEADER + i * ENTRY..][..ENTRY];
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(u64::from_le_bytes(entry[..8].try_into().unwrap()), *address);
            assert_eq!(&table[names + word(8)..][..word(12)], name.as_bytes());
        }
    }

    #[test]
    fn our_own_functions_are_found_demangled() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(&*program).unwrap();
        let functions = functions(&file);
        assert!(functions.iter().any(|(_, name)| name == "xtask::ksyms::encode"), "{}", functions.len());
        assert!(functions.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_file_without_the_section_is_refused() {
        let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(fill(&mut program).unwrap_err().to_string().contains("no .ksyms section"));
        assert!(fill(&mut [0; 64]).is_err());
    }
}
