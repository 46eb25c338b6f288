//! The memory functions that compiled code calls and no library provides here.
//!
//! Loops are written in assembly so that the compiler cannot turn them back into calls of themselves. `rep movsb`
//! would be shorter, but emulators run it a byte at a time.

use core::arch::asm;

/// C's `memcpy`.
///
/// # Safety
/// As in C: `n` bytes readable at `src`, writable at `dest`, not overlapping.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(dest: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's contract covers every byte touched; xmm0–3 are declared clobbered.
    unsafe {
        asm!(
            "cmp {n}, 64", "jb 3f",
            "2:",
            "movups xmm0, [{s}]", "movups xmm1, [{s} + 16]", "movups xmm2, [{s} + 32]", "movups xmm3, [{s} + 48]",
            "movups [{d}], xmm0", "movups [{d} + 16], xmm1", "movups [{d} + 32], xmm2", "movups [{d} + 48], xmm3",
            "add {s}, 64", "add {d}, 64", "sub {n}, 64", "cmp {n}, 64", "jae 2b",
            "3:", "cmp {n}, 8", "jb 5f",
            "4:", "mov {t}, [{s}]", "mov [{d}], {t}", "add {s}, 8", "add {d}, 8", "sub {n}, 8", "cmp {n}, 8", "jae 4b",
            "5:", "test {n}, {n}", "jz 7f",
            "6:", "mov {t:l}, [{s}]", "mov [{d}], {t:l}", "inc {s}", "inc {d}", "dec {n}", "jnz 6b",
            "7:",
            s = inout(reg) src => _, d = inout(reg) dest => _, n = inout(reg) n => _, t = out(reg) _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            options(nostack),
        );
    }
    dest
}

/// C's `memmove`.
///
/// # Safety
/// As in C: `n` bytes readable at `src`, writable at `dest`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(dest: *mut u8, src: *const u8, n: usize) -> *mut u8 {
    if (dest as usize).wrapping_sub(src as usize) >= n {
        // Copying upwards never writes a byte that is still to be read (64-byte steps load before they store).
        // SAFETY: the caller's contract.
        return unsafe { memcpy(dest, src, n) };
    }
    // SAFETY: the caller's contract; downwards, since dest lies inside src..src + n.
    unsafe {
        asm!(
            "2:", "cmp {n}, 8", "jb 3f",
            "sub {n}, 8", "mov {t}, [{s} + {n}]", "mov [{d} + {n}], {t}", "jmp 2b",
            "3:", "test {n}, {n}", "jz 4f",
            "dec {n}", "mov {t:l}, [{s} + {n}]", "mov [{d} + {n}], {t:l}", "jmp 3b",
            "4:",
            s = in(reg) src, d = in(reg) dest, n = inout(reg) n => _, t = out(reg) _,
            options(nostack),
        );
    }
    dest
}

/// C's `memset`.
///
/// # Safety
/// As in C: `n` bytes writable at `dest`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(dest: *mut u8, value: i32, n: usize) -> *mut u8 {
    let pattern = u64::from(value as u8) * 0x0101_0101_0101_0101;
    // SAFETY: the caller's contract covers every byte touched.
    unsafe {
        asm!(
            "movq xmm0, {v}", "punpcklqdq xmm0, xmm0",
            "cmp {n}, 64", "jb 3f",
            "2:", "movups [{d}], xmm0", "movups [{d} + 16], xmm0", "movups [{d} + 32], xmm0", "movups [{d} + 48], xmm0",
            "add {d}, 64", "sub {n}, 64", "cmp {n}, 64", "jae 2b",
            "3:", "cmp {n}, 8", "jb 5f",
            "4:", "mov [{d}], {v}", "add {d}, 8", "sub {n}, 8", "cmp {n}, 8", "jae 4b",
            "5:", "test {n}, {n}", "jz 7f",
            "6:", "mov [{d}], {v:l}", "inc {d}", "dec {n}", "jnz 6b",
            "7:",
            d = inout(reg) dest => _, n = inout(reg) n => _, v = in(reg) pattern, out("xmm0") _,
            options(nostack),
        );
    }
    dest
}

/// C's `memcmp`.
///
/// # Safety
/// As in C: `n` bytes readable at both.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut at = 0;
    while at + 8 <= n {
        // SAFETY: `at + 8 <= n`, and the caller's contract.
        let (x, y) =
            unsafe { (a.add(at).cast::<u64>().read_unaligned(), b.add(at).cast::<u64>().read_unaligned()) };
        if x != y {
            break;
        }
        at += 8;
    }
    while at < n {
        // SAFETY: `at < n`, and the caller's contract.
        let (x, y) = unsafe { (*a.add(at), *b.add(at)) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

/// BSD's `bcmp`: zero if equal.
///
/// # Safety
/// As `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, n) }
}

/// Named by the unwind tables; never called, for panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Named by the precompiled `core`; never called, for panics abort.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    x86_64::instructions::interrupts::disable();
    loop {
        x86_64::instructions::hlt();
    }
}
