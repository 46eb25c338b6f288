//! `cargo xtask size`: how big the kernel is, for each combination of features and with the model.

use crate::kernel_image::{self, FEATURES, Variant};
use anyhow::{Context, Result};
use object::elf::{self, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::{Object, ObjectSection, SectionFlags};
use std::path::Path;

/// Bytes of one kernel by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Code.
    pub text: u64,
    /// Constants, without the model and the symbol table.
    pub rodata: u64,
    /// Initialised variables.
    pub data: u64,
    /// Zeroed variables; take no room in the file.
    pub bss: u64,
    /// Room for backtrace symbols.
    pub symbols: u64,
    /// The embedded model.
    pub model: u64,
    /// The ELF file, debug information included.
    pub file: u64,
}

/// Every combination of the kernel's features, from none to all.
pub fn feature_combinations() -> Vec<Vec<&'static str>> {
    (0..1u32 << FEATURES.len())
        .map(|mask| {
            FEATURES.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, f)| *f).collect()
        })
        .collect()
}

/// Builds all combinations and prints the table.
pub fn print_table() -> Result<()> {
    println!(
        "{:<32} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}   (KiB)",
        "kernel", "text", "rodata", "data", "bss", "symbols", "model", "file"
    );
    let mut combinations = feature_combinations();
    combinations.sort_by_key(Vec::len);
    for features in combinations {
        let name = if features.is_empty() { "no features".to_owned() } else { features.join(" ") };
        print_row(&name, &Variant::with_features(&features))?;
    }
    print_row("default, with the default model", &Variant::with_default_model())
}

fn print_row(name: &str, variant: &Variant) -> Result<()> {
    let sizes = measure(&kernel_image::build(variant)?)?;
    let kib = |bytes: u64| bytes.div_ceil(1024);
    println!(
        "{name:<32} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}",
        kib(sizes.text),
        kib(sizes.rodata),
        kib(sizes.data),
        kib(sizes.bss),
        kib(sizes.symbols),
        kib(sizes.model),
        kib(sizes.file)
    );
    Ok(())
}

/// The sizes of the kernel at `elf`, by its section headers.
pub fn measure(elf: &Path) -> Result<Sizes> {
    let bytes = std::fs::read(elf).with_context(|| format!("{} cannot be read", elf.display()))?;
    let file =
        object::File::parse(&*bytes).with_context(|| format!("{} is no readable ELF file", elf.display()))?;
    let mut sizes = Sizes { file: bytes.len() as u64, ..Sizes::default() };
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, sh_type } = section.flags() else { continue };
        let has = |flag: elf::SectionFlags| sh_flags.0 & flag.0 != 0;
        if !has(SHF_ALLOC) {
            continue; // debug information and the like
        }
        let kind = match section.name().unwrap_or_default() {
            ".ksyms" => &mut sizes.symbols,
            name if name.starts_with(".slm_") => &mut sizes.model,
            _ if has(SHF_EXECINSTR) => &mut sizes.text,
            _ if sh_type == SHT_NOBITS => &mut sizes.bss,
            _ if has(SHF_WRITE) => &mut sizes.data,
            _ => &mut sizes.rodata,
        };
        *kind += section.size();
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_are_all_there_once() {
        let combinations = feature_combinations();
        assert_eq!(combinations.len(), 8);
        assert!(combinations.contains(&vec![]));
        assert!(combinations.contains(&FEATURES.to_vec()));
    }

    #[test]
    fn our_own_program_has_text_and_constants() {
        let sizes = measure(&std::env::current_exe().unwrap()).unwrap();
        assert!(sizes.text > 0 && sizes.rodata > 0 && sizes.file > sizes.text);
        assert_eq!(sizes.model, 0);
    }
}
