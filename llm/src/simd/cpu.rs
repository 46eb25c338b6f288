//! Which vector instructions this machine, as it is set up now, can run.
//!
//! CPUID says what the CPU has, XCR0 which registers the operating system saves and restores; both must agree.

use core::sync::atomic::{AtomicU8, Ordering};

/// AVX2 and F16C.
pub const AVX2: u8 = 1;
/// `vpdpbusd` on 256-bit registers.
pub const AVX_VNNI: u8 = 2;
/// `vpdpbusd` on 512-bit registers, with the byte and word instructions around it.
pub const AVX512_VNNI: u8 = 4;
/// `vdpbf16ps` on 512-bit registers.
pub const AVX512_BF16: u8 = 8;
/// The answer has been found.
const KNOWN: u8 = 0x80;

/// Remembers the answer: CPUID is slow under virtualisation (an exit each).
static FEATURES: AtomicU8 = AtomicU8::new(0);

/// Whether the CPU and the operating system have the feature, one of the constants of this module.
#[inline(always)]
pub fn has(feature: u8) -> bool {
    let known = match FEATURES.load(Ordering::Relaxed) {
        0 => ask(),
        known => known,
    };
    known & feature != 0
}

#[cold]
fn ask() -> u8 {
    let features = KNOWN | detect();
    FEATURES.store(features, Ordering::Relaxed);
    features
}

#[cfg(target_arch = "x86_64")]
fn detect() -> u8 {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    const OSXSAVE_AVX_F16C: u32 = 1 << 27 | 1 << 28 | 1 << 29;
    const LEAF7_AVX2: u32 = 1 << 5;
    const LEAF7_AVX512: u32 = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31;
    const LEAF7_AVX512_VNNI: u32 = 1 << 11;
    const LEAF7_1_AVX_VNNI: u32 = 1 << 4;
    const LEAF7_1_AVX512_BF16: u32 = 1 << 5;
    /// SSE and AVX state.
    const YMM: u64 = 1 << 1 | 1 << 2;
    /// And masks, upper halves and upper registers of AVX-512.
    const ZMM: u64 = YMM | 1 << 5 | 1 << 6 | 1 << 7;

    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: XGETBV with index 0 is defined wherever CPUID reports OSXSAVE, which the caller checked.
        unsafe { _xgetbv(0) }
    }

    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE_AVX_F16C != OSXSAVE_AVX_F16C {
        return 0;
    }
    // SAFETY: OSXSAVE is set, so XGETBV is enabled.
    let saved = unsafe { xcr0() };
    let leaf7 = __cpuid_count(7, 0);
    if saved & YMM != YMM || leaf7.ebx & LEAF7_AVX2 == 0 {
        return 0;
    }
    let mut features = AVX2;
    if leaf7.eax >= 1 && __cpuid_count(7, 1).eax & LEAF7_1_AVX_VNNI != 0 {
        features |= AVX_VNNI;
    }
    let avx512 = leaf7.ebx & LEAF7_AVX512 == LEAF7_AVX512 && leaf7.ecx & LEAF7_AVX512_VNNI != 0;
    if saved & ZMM == ZMM && avx512 {
        features |= AVX512_VNNI;
        if leaf7.eax >= 1 && __cpuid_count(7, 1).eax & LEAF7_1_AVX512_BF16 != 0 {
            features |= AVX512_BF16;
        }
    }
    features
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> u8 {
    0
}
