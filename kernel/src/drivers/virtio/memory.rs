//! Memory that devices read and write: blocks of frames, which the direct map shows and whose physical addresses are one run.

use crate::memory::layout::{DIRECT_MAP, PAGE};
use crate::memory::{OutOfMemory, direct, frames};
use core::ptr::NonNull;
use mm::{Block, MigrateType};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// Zeroed memory for a device's buffers. It goes back when dropped: the device must be done with it by then.
pub struct DmaMemory {
    block: Block,
    start: NonNull<u8>,
}

// SAFETY: an owned block; who accesses it is up to its owner.
unsafe impl Send for DmaMemory {}

impl DmaMemory {
    /// At least `bytes`, rounded up to a power of two of frames.
    pub fn new(bytes: usize) -> Result<Self, OutOfMemory> {
        let order = (bytes as u64).div_ceil(PAGE).next_power_of_two().trailing_zeros() as usize;
        let none = OutOfMemory { bytes: PAGE << order };
        let block = frames::alloc(order, MigrateType::Unmovable)?;
        let start = NonNull::new(direct(block.address())).ok_or(none)?;
        // SAFETY: frames of ours, in the direct map.
        unsafe { start.write_bytes(0, block.bytes() as usize) };
        Ok(Self { block, start })
    }

    /// Its first byte.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.block.bytes() as usize
    }
}

impl Drop for DmaMemory {
    fn drop(&mut self) {
        frames::free_as(self.block, MigrateType::Unmovable);
    }
}

/// How the crate `virtio-drivers` gets memory for its rings.
pub struct KernelHal;

// SAFETY: blocks come zeroed and page-aligned from the frame allocator and belong to nobody else until they are given back.
unsafe impl Hal for KernelHal {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // An address of 0 says that there is none.
        let Ok(memory) = DmaMemory::new(pages * PAGE as usize) else { return (0, NonNull::dangling()) };
        let memory = core::mem::ManuallyDrop::new(memory);
        (memory.block.address(), memory.start)
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        let order = pages.next_power_of_two().trailing_zeros() as usize;
        drop(DmaMemory { block: Block { pfn: paddr / PAGE, order }, start });
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, size: usize) -> NonNull<u8> {
        unreachable!("the transport maps its registers itself, not {size} bytes at {paddr:#x} in this way")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        // All buffers that we queue are parts of a `DmaMemory`, so they lie in the direct map.
        buffer.addr().get() as u64 - DIRECT_MAP
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
