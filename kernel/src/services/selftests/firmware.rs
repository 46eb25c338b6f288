//! The firmware's tables, damaged in many ways: reading them may find less, and must not fail otherwise.

use super::Outcome;
use super::random::Random;
use crate::drivers::acpi::{self, Ecam, Platform, Power};
use alloc::vec::Vec;

const ROUNDS: u64 = 3_000;

/// Flips bits in and cuts copies of this machine's own tables.
pub fn damaged_tables() -> Outcome {
    let tables = acpi::tables().ok_or("this machine has no ACPI tables")?;
    let mut random = Random::new(3);
    let (mut cpus, mut registers) = (0, 0);
    for _ in 0..ROUNDS {
        let mut copies: Vec<Vec<u8>> = tables.iter().map(|table| damage(table, &mut random)).collect();
        copies.truncate(16);
        for copy in &copies {
            cpus += Platform::from_madt(copy).cpus.len();
            registers += Ecam::from_mcfg(copy).len();
        }
        for fadt in &copies {
            let power = Power::from_fadt(fadt, copies.iter().map(Vec::as_slice));
            registers += usize::from(power.s5.is_some());
        }
    }
    Ok(alloc::format!(
        "{ROUNDS} rounds over {} tables ({cpus} CPUs, {registers} registers read)",
        tables.iter().count()
    ))
}

fn damage(table: &[u8], random: &mut Random) -> Vec<u8> {
    let keep = match random.below(4) {
        0 => random.below(table.len() as u64 + 1) as usize,
        _ => table.len(),
    };
    // The DSDT is long; its beginning is as good as the whole.
    let mut copy: Vec<u8> = table.iter().copied().take(keep.min(4096)).collect();
    for _ in 0..random.below(8) {
        let len = copy.len() as u64;
        if len > 0 {
            let at = random.below(len) as usize;
            copy[at] = match random.below(3) {
                0 => 0,
                1 => 0xff,
                _ => random.next() as u8,
            };
        }
    }
    copy
}
