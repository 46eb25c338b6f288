//! Greedy tokens of two golden prompts, for comparison with the host's.

use super::Outcome;
use crate::services::slm;
use alloc::string::ToString;

/// Names and texts as in the golden files.
const PROMPTS: [(&str, &str); 2] =
    [("g1_raw_pci", "PCI device 8086:10d3 is"), ("g3_raw_france", "The capital of France is")];
const TOKENS: usize = 32;

/// Prints one line for each prompt: `golden <name> <id> <id> …`.
pub fn run() -> Outcome {
    for (name, text) in PROMPTS {
        let ids = slm::greedy(text, TOKENS).map_err(|error| error.to_string())?;
        let again = slm::greedy(text, TOKENS).map_err(|error| error.to_string())?;
        if ids != again {
            return Err(alloc::format!("{name}: two greedy runs differ: {ids:?} and {again:?}"));
        }
        let mut line = alloc::format!("golden {name}");
        ids.iter().for_each(|id| line += &alloc::format!(" {id}"));
        crate::log::write_console(line.as_bytes());
        crate::log::write_console(b"\r\n");
    }
    Ok(alloc::format!("{} prompts of {TOKENS} tokens, each twice", PROMPTS.len()))
}
