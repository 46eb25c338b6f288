//! Saving the FPU, SSE and AVX registers: FXSAVE, XSAVE or XSAVEOPT, as CPUID allows.
//!
//! Kernel code uses vector registers freely, so every trap that may switch tasks saves them into the running
//! task's [`Area`]; its size comes from CPUID leaf 0xD for the states enabled in XCR0.

use super::cpu::features;
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

/// How the trap entry code saves the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Method {
    /// FXSAVE64: x87 and SSE only.
    Fxsave = 0,
    /// XSAVE64: everything enabled in XCR0.
    Xsave = 1,
    /// XSAVEOPT64: the same, skipping what did not change.
    Xsaveopt = 2,
}

/// The best method that this CPU has.
pub fn method() -> Method {
    match (features().xsave, features().xsaveopt) {
        (true, true) => Method::Xsaveopt,
        (true, false) => Method::Xsave,
        _ => Method::Fxsave,
    }
}

/// Bytes of a save area on this CPU.
pub fn area_size() -> usize {
    match method() {
        Method::Fxsave => 512,
        // EBX: size for the states enabled in XCR0 right now (all CPUs enable the same ones).
        _ => core::arch::x86_64::__cpuid_count(0xd, 0).ebx as usize,
    }
}

/// The save area of one task, in its initial state.
pub struct Area {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain owned memory.
unsafe impl Send for Area {}
// SAFETY: the memory is accessed only by the trap code of the CPU that runs the task.
unsafe impl Sync for Area {}

impl Area {
    /// An area whose registers are in their reset state (x87 control word 0x37f, MXCSR 0x1f80).
    pub fn new() -> Option<Self> {
        let layout = Layout::from_size_align(area_size(), 64).ok()?;
        // SAFETY: the size is at least 512.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // SAFETY: both fields lie in the legacy region, the first 512 bytes. For XRSTOR a zeroed header means
        // "initial state", but MXCSR is loaded from memory even then.
        unsafe {
            start.cast::<u16>().write(0x37f);
            start.add(24).cast::<u32>().write(0x1f80);
        }
        Some(Self { start, layout })
    }

    /// Its address, 64-byte aligned.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
