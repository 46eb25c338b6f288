//! Large regions, contiguous in virtual memory, made of whatever 2 MiB blocks the buddy allocator has.
//!
//! The SLM pool is one: 256 MiB in one piece is not to be had on a machine of 512 MiB.

use super::layout::{MOVABLE, REGIONS};
use super::ranges::Ranges;
use super::{Access, OutOfMemory, frames, paging};
use crate::arch::tlb;
use alloc::vec::Vec;
use mm::{Block, MAX_ORDER, MigrateType, PAGEBLOCK_ORDER};

const GRANULE: u64 = 4096 << PAGEBLOCK_ORDER;

static RANGES: Ranges = Ranges::new(REGIONS, MOVABLE);

/// Mapped, writable memory; not zeroed.
#[derive(Debug)]
pub struct Region {
    start: u64,
    /// Bytes of addresses, a multiple of 2 MiB.
    taken: u64,
    /// Bytes that are mapped.
    len: u64,
    blocks: Vec<Block>,
}

impl Region {
    /// A region of at least `bytes`, rounded up to 2 MiB.
    pub fn new(bytes: u64) -> Result<Self, OutOfMemory> {
        let len = bytes.max(1).checked_next_multiple_of(GRANULE).ok_or(OutOfMemory { bytes })?;
        if frames::stats().free_bytes() < len {
            return Err(OutOfMemory { bytes });
        }
        let mut region = Self { start: RANGES.take(len)?, taken: len, len: 0, blocks: Vec::new() };
        // If this fails, dropping the region gives back what it got so far.
        while region.len < len {
            region.grow(len - region.len, bytes)?;
        }
        Ok(region)
    }

    fn grow(&mut self, missing: u64, wanted: u64) -> Result<(), OutOfMemory> {
        self.blocks.try_reserve(1).map_err(|_| OutOfMemory { bytes: wanted })?;
        let order = ((missing / 4096).ilog2() as usize).min(MAX_ORDER);
        let block = frames::alloc_at_most(order, MigrateType::Movable)?;
        if block.order < PAGEBLOCK_ORDER {
            frames::free(block);
            return Err(OutOfMemory { bytes: wanted });
        }
        let start = self.start + self.len;
        if let Err(error) = paging::map(start, block.address(), block.bytes(), Access::Write) {
            // A part of it may be mapped: these addresses will be another region's.
            paging::unmap(start, block.bytes());
            tlb::flush_everywhere();
            frames::free(block);
            return Err(error);
        }
        self.len += block.bytes();
        self.blocks.push(block);
        Ok(())
    }

    /// The memory. It is not zeroed: it may hold what an earlier owner left.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: mapped writable in full by `new`, owned by `self`.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, self.len as usize) }
    }

    /// The memory, as it is.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped in full by `new`, owned by `self`.
        unsafe { core::slice::from_raw_parts(self.start as *const u8, self.len as usize) }
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
}

impl Drop for Region {
    /// Must run in a thread with interrupts on: other CPUs have to forget the mapping.
    fn drop(&mut self) {
        if self.len > 0 {
            paging::unmap(self.start, self.len);
            tlb::flush_everywhere();
        }
        self.blocks.drain(..).for_each(frames::free);
        RANGES.give(self.start, self.taken);
    }
}
