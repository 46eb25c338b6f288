//! Heap allocations that fail on purpose, each in turn.
//!
//! A small allocation cannot be refused: the thread waits and tries again. So whatever is done, by commands of the shell
//! and below them, must come to the same end as without failures.

use super::Outcome;
use crate::memory::heap;
use crate::memory::vmalloc::Movable;
use crate::memory::{Region, shortage};
use crate::services::system::Machine;
use crate::tasks::{self, Options};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use shell::reader::History;

/// So many attempts fail in a row: the first, and then those after reclaim too.
const BURSTS: [u64; 2] = [1, 3];
/// No step makes more allocations, or something is wrong with the count.
const MOST: u64 = 20_000;
/// Of a step with more allocations than this, each of these and then every `STRIDE`th fails.
const EACH: u64 = 150;
const STRIDE: u64 = 37;

/// Commands whose output is built in the heap.
const COMMANDS: [&str; 12] = [
    "version",
    "free --json",
    "ps",
    "ps --json",
    "memctl status",
    "memctl buddyinfo --json",
    "memctl compact --json",
    "slm status --json",
    "slm query --backend rules \"PCI device 8086:10d3 is\"",
    "lspci --json",
    "help memctl",
    "memctl stress nonsense",
];

/// Runs every command, and makes threads, regions and movable memory, with the heap refusing each allocation in turn.
pub fn heap_failures() -> Outcome {
    let mut sites = 0;
    for command in COMMANDS {
        sites += each_in_turn(command, || run(command))?;
    }
    sites += each_in_turn("threads", || {
        let thread = tasks::spawn("failures", Options::default(), || 7).map_err(|error| error.to_string())?;
        Ok(u64::from(thread.join() == 7))
    })?;
    sites += each_in_turn("region", || {
        Region::new(2 << 20).map(|region| region.len()).map_err(|error| error.to_string())
    })?;
    sites += each_in_turn("movable memory", || {
        let memory = Movable::new(64 << 10).map_err(|error| error.to_string());
        memory.map(|mut memory| memory.as_mut_slice().len() as u64)
    })?;
    let (ooms, _) = shortage::oom_counts();
    Ok(alloc::format!(
        "{sites} heap allocations of {} commands and 3 other steps failed in turn, {BURSTS:?} at a time; \
         {ooms} times out of memory since boot",
        COMMANDS.len()
    ))
}

/// Calls `step` with its allocations failing, each in turn, until it makes no more; how many. What it returns must not
/// change: for a command, whether it succeeds.
fn each_in_turn(name: &str, step: impl Fn() -> Result<u64, String>) -> Result<u64, String> {
    let wanted = step();
    let mut sites = 0;
    for burst in BURSTS {
        let mut number = 0;
        loop {
            heap::inject_failures(number, burst);
            let result = step();
            let failed = heap::end_of_failures();
            if result != wanted {
                return Err(alloc::format!(
                    "{name}, allocation {number}, {burst} failing: {result:?}, not {wanted:?}"
                ));
            }
            if failed == 0 {
                break;
            }
            sites += 1;
            number += if number < EACH { 1 } else { STRIDE };
            if number > MOST {
                return Err(alloc::format!("{name} makes more than {MOST} allocations"));
            }
        }
    }
    Ok(sites)
}

/// Runs a command; whether it succeeded.
fn run(command: &str) -> Result<u64, String> {
    let mut succeeded = 0;
    for words in shell::parse::split(command).map_err(|error| error.to_string())? {
        let mut nowhere = Nowhere;
        let words: Vec<String> = words;
        succeeded +=
            u64::from(shell::commands::execute(&words, &Machine, &mut nowhere, &History::new(0)).is_ok());
    }
    Ok(succeeded)
}

/// A console that nobody reads.
struct Nowhere;

impl fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}

impl shell::Console for Nowhere {
    fn read_byte(&mut self) -> u8 {
        shell::CTRL_C
    }

    fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> {
        None
    }

    fn interrupted(&mut self) -> bool {
        false
    }

    fn clear_interrupt(&mut self) {}
}
