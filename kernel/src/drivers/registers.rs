//! A mapped range of device registers with bounds.
//!
//! An access outside the range acts like one to a device that is not there: it reads ones, and what is written is lost.
//! So offsets that a device names itself need no second check to be safe.

use crate::memory;
use core::ptr::NonNull;

/// The widths that registers have: a plain number each.
///
/// # Safety
/// Every pattern of bits is a value.
pub unsafe trait Width: Copy {
    /// All bits set.
    const ONES: Self;
}

// SAFETY: plain numbers.
unsafe impl Width for u8 {
    const ONES: Self = Self::MAX;
}
// SAFETY: as above.
unsafe impl Width for u16 {
    const ONES: Self = Self::MAX;
}
// SAFETY: as above.
unsafe impl Width for u32 {
    const ONES: Self = Self::MAX;
}

/// Registers of a device, mapped for ever.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping stands for ever on all CPUs, and access is volatile; what concurrent accesses mean is up to the device.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    /// Maps `len` bytes at the physical address `phys`, uncached. `None`, which is logged, when that cannot be.
    pub fn map(phys: u64, len: usize) -> Option<Self> {
        Some(Self { base: memory::map_device(phys, len as u64)?, len })
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where a register is, if it is inside and aligned.
    fn at<T: Width>(&self, offset: usize) -> Option<NonNull<T>> {
        let end = offset.checked_add(size_of::<T>())?;
        // SAFETY: inside the mapping, whose length was just looked at.
        let at = (end <= self.len).then(|| unsafe { self.base.add(offset) }.cast::<T>())?;
        at.is_aligned().then_some(at)
    }

    /// Reads a register.
    pub fn read<T: Width>(&self, offset: usize) -> T {
        // SAFETY: `at` checked bounds and alignment, and every pattern of bits is a `T`.
        self.at(offset).map_or(T::ONES, |at| unsafe { at.read_volatile() })
    }

    /// Writes a register. What that does to the device is the caller's affair; it cannot touch memory of ours other than what
    /// the device was told about before.
    pub fn write<T: Width>(&self, offset: usize, value: T) {
        if let Some(at) = self.at(offset) {
            // SAFETY: as in `read`.
            unsafe { at.write_volatile(value) };
        }
    }

    /// The part that begins at `offset`.
    pub fn skip(&self, offset: usize) -> Option<Self> {
        let len = self.len.checked_sub(offset)?;
        // SAFETY: inside the mapping.
        Some(Self { base: unsafe { self.base.add(offset) }, len })
    }
}
