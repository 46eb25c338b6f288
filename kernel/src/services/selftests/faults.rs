//! Faults made on purpose. None of these returns: the exception's report ends the machine.

use super::Outcome;
use crate::memory::layout::{Part, part};
use crate::tasks;
use alloc::string::{String, ToString};

/// An address that nothing is mapped at: past the device mappings.
const UNMAPPED: u64 = 0xffff_ef00_dead_b000;

/// Recurses until the guard page of a thread's stack is hit.
pub fn stack_overflow() -> Outcome {
    // Not tail calls, and not to be computed at compile time.
    #[expect(unconditional_recursion, reason = "that is the test")]
    #[inline(never)]
    fn recurse(depth: u64) -> u64 {
        core::hint::black_box([depth; 32]).iter().sum::<u64>() + recurse(depth + 1)
    }
    let thread = tasks::spawn("stack-overflow", tasks::Options::default(), || recurse(0));
    let reached = thread.map_err(|error| error.to_string())?.join();
    Err(alloc::format!("the recursion ended ({reached}) without a fault"))
}

/// Reads where nothing is mapped.
pub fn page_fault() -> Outcome {
    // SAFETY: not safe: this must fault. The read has no other effect.
    let value = unsafe { (UNMAPPED as *const u64).read_volatile() };
    Err(alloc::format!("reading {UNMAPPED:#x} gave {value:#x} instead of a fault"))
}

/// Writes to the first byte of the kernel's code.
pub fn write_text() -> Outcome {
    let at = part(Part::Text).start as *mut u8;
    // SAFETY: not safe: this must fault. If it does not, the byte gets the value that it has.
    unsafe { at.write_volatile(at.read_volatile()) };
    Err(String::from("writing to the kernel's code did not fault"))
}

/// Panics.
pub fn panic() -> Outcome {
    panic!("asked to by the self test")
}
