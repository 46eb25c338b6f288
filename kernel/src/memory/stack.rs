//! Stacks of threads, interrupts and exceptions, each with unmapped pages below it.
//!
//! A stack that is given back stays mapped and serves the next thread, so ending a thread needs no TLB shootdown.

use super::layout::{PAGE, STACKS};
use super::paging::Residence;
use super::{Access, OutOfMemory, frames, paging};
use crate::arch::tlb;
use crate::sync::IrqMutex;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::{Block, MigrateType};

/// Bytes of a stack: `4 KiB << ORDER`.
pub const STACK_SIZE: u64 = 4096 << ORDER;
/// 64 KiB; twice that for code that isn't optimised, which moves what it builds several times.
const ORDER: usize = if cfg!(debug_assertions) { 5 } else { 4 };
/// Distance of two stacks: the lower half of each slot is the guard.
const SLOT: u64 = 2 * STACK_SIZE;
/// Where the slots end; an address above is no stack.
const SLOTS_END: u64 = STACKS + (1 << 36);

/// Slots ever used.
static USED: AtomicU64 = AtomicU64::new(0);
/// Slots with a mapped stack that nobody uses.
static SPARE: IrqMutex<Vec<u64>> = IrqMutex::new(Vec::new());
/// Slots that were used once and have no stack now.
static EMPTY: IrqMutex<Vec<u64>> = IrqMutex::new(Vec::new());

/// A mapped stack.
#[derive(Debug)]
pub struct Stack {
    slot: u64,
}

impl Stack {
    /// A stack of [`STACK_SIZE`] bytes, contents undefined.
    pub fn new() -> Result<Self, OutOfMemory> {
        if let Some(slot) = take_spare() {
            return Ok(Self { slot });
        }
        let block = frames::alloc_emergency(ORDER, MigrateType::Unmovable)?;
        let slot = EMPTY.lock().pop().unwrap_or_else(|| USED.fetch_add(1, Ordering::Relaxed));
        let stack = Self { slot };
        let bottom = stack.top() - STACK_SIZE;
        match paging::map(bottom, block.address(), STACK_SIZE, Access::Write) {
            Ok(()) => Ok(stack),
            Err(error) => {
                // Nothing has used the slot: what was mapped of it can go without telling other CPUs.
                paging::unmap(bottom, STACK_SIZE);
                core::mem::forget(stack);
                frames::free(block);
                keep_empty(slot);
                Err(error)
            }
        }
    }

    /// Where the stack begins, growing downwards; 64-byte aligned.
    pub fn top(&self) -> u64 {
        Self::top_of(self.slot)
    }

    fn top_of(slot: u64) -> u64 {
        STACKS + (slot + 1) * SLOT
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let slot = self.slot;
        let mut free = SPARE.lock();
        // Growing the list could fail for lack of memory; then the stack leaks, which is no error.
        if free.try_reserve(1).is_ok() {
            free.push(slot);
        }
    }
}

/// Bytes of the stacks that nobody uses.
pub fn spare_bytes() -> u64 {
    SPARE.lock().len() as u64 * STACK_SIZE
}

fn take_spare() -> Option<u64> {
    SPARE.lock().pop()
}

/// Gives about `bytes` of unused stacks back to the page allocator; how many. In a thread, with interrupts on.
pub fn free_spare(bytes: u64) -> u64 {
    const AT_ONCE: usize = 64;
    let wanted = (bytes.div_ceil(STACK_SIZE) as usize).min(AT_ONCE);
    let mut taken = heapless::Vec::<(u64, u64), AT_ONCE>::new();
    while taken.len() < wanted
        && let Some(slot) = take_spare()
    {
        let bottom = Stack::top_of(slot) - STACK_SIZE;
        if let Residence::Present(phys) = paging::residence(bottom) {
            paging::unmap(bottom, STACK_SIZE);
            let _ = taken.push((slot, phys));
        }
    }
    if taken.is_empty() {
        return 0;
    }
    tlb::flush_everywhere();
    for &(slot, phys) in &taken {
        frames::free(Block { pfn: phys / PAGE, order: ORDER });
        keep_empty(slot);
    }
    taken.len() as u64 * STACK_SIZE
}

fn keep_empty(slot: u64) {
    let mut empty = EMPTY.lock();
    // Without room for it the slot's addresses are lost, of which there are plenty.
    if empty.try_reserve(1).is_ok() {
        empty.push(slot);
    }
}

/// Whether an address lies in the guard below some stack.
pub fn is_guard(address: u64) -> bool {
    (STACKS..SLOTS_END).contains(&address) && (address - STACKS) % SLOT < SLOT - STACK_SIZE
}
