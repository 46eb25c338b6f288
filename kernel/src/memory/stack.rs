//! Stacks of threads, interrupts and exceptions, each with unmapped pages below it.
//!
//! A stack that is given back stays mapped and serves the next thread, so ending a thread needs no TLB shootdown.

use super::layout::STACKS;
use super::{Access, OutOfMemory, frames, paging};
use crate::sync::IrqMutex;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::MigrateType;

/// Bytes of a stack: `4 KiB << ORDER`.
pub const STACK_SIZE: u64 = 4096 << ORDER;
const ORDER: usize = 4;
/// Distance of two stacks: the lower half of each slot is the guard.
const SLOT: u64 = 2 * STACK_SIZE;
/// Where the slots end; an address above is no stack.
const SLOTS_END: u64 = STACKS + (1 << 36);

/// Slots ever used.
static USED: AtomicU64 = AtomicU64::new(0);
/// Slots with a mapped stack that nobody uses.
static FREE: IrqMutex<Vec<u64>> = IrqMutex::new(Vec::new());

/// A mapped stack.
#[derive(Debug)]
pub struct Stack {
    slot: u64,
}

impl Stack {
    /// A stack of [`STACK_SIZE`] bytes, contents undefined.
    pub fn new() -> Result<Self, OutOfMemory> {
        if let Some(slot) = FREE.lock().pop() {
            return Ok(Self { slot });
        }
        let block = frames::alloc(ORDER, MigrateType::Unmovable)?;
        let slot = USED.fetch_add(1, Ordering::Relaxed);
        let stack = Self { slot };
        let bottom = stack.top() - STACK_SIZE;
        match paging::map(bottom, block.address(), STACK_SIZE, Access::Write) {
            Ok(()) => Ok(stack),
            Err(error) => {
                // Nothing has used the slot: what was mapped of it can go without telling other CPUs.
                paging::unmap(bottom, STACK_SIZE);
                core::mem::forget(stack);
                frames::free(block);
                Err(error)
            }
        }
    }

    /// Where the stack begins, growing downwards; 64-byte aligned.
    pub fn top(&self) -> u64 {
        STACKS + (self.slot + 1) * SLOT
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let slot = self.slot;
        let mut free = FREE.lock();
        // Growing the list could fail for lack of memory; then the stack leaks, which is no error.
        if free.try_reserve(1).is_ok() {
            free.push(slot);
        }
    }
}

/// Whether an address lies in the guard below some stack.
pub fn is_guard(address: u64) -> bool {
    (STACKS..SLOTS_END).contains(&address) && (address - STACKS) % SLOT < SLOT - STACK_SIZE
}
