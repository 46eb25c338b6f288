//! What this CPU can do (CPUID), its control registers, and stopping it.

use conquer_once::spin::OnceCell;
use raw_cpuid::CpuId;
use x86_64::instructions::port::Port;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// CPUID facts that the kernel acts on.
#[derive(Clone, Debug)]
pub struct Features {
    /// XSAVE family present: extended state beyond SSE can be used.
    pub xsave: bool,
    /// XSAVEOPT present.
    pub xsaveopt: bool,
    /// AVX (needs `xsave`).
    pub avx: bool,
    /// AVX-512 foundation.
    pub avx512: bool,
    /// The x2APIC register interface.
    pub x2apic: bool,
    /// SMEP: the kernel never executes user pages.
    pub smep: bool,
    /// UMIP.
    pub umip: bool,
}

static FEATURES: OnceCell<Features> = OnceCell::uninit();

/// Facts about the boot CPU (the others must be its equals).
pub fn features() -> &'static Features {
    FEATURES.get_or_init(detect)
}

fn detect() -> Features {
    let id = CpuId::new();
    let basic = id.get_feature_info();
    let has = |test: fn(&raw_cpuid::FeatureInfo) -> bool| basic.as_ref().is_some_and(test);
    let extended = id.get_extended_feature_info();
    let has_extended = |test: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(test);
    let xsave = has(|f| f.has_xsave());
    let avx = xsave && has(|f| f.has_avx());
    Features {
        xsave,
        xsaveopt: xsave && id.get_extended_state_info().is_some_and(|s| s.has_xsaveopt()),
        avx,
        avx512: avx && has_extended(|f| f.has_avx512f()),
        x2apic: has(|f| f.has_x2apic()),
        smep: has_extended(|f| f.has_smep()),
        umip: has_extended(|f| f.has_umip()),
    }
}

/// Width of a physical address: 36 bits where CPUID does not say (SDM volume 3, 4.1.4), never more than 52.
pub fn physical_address_bits() -> u32 {
    let said = CpuId::new().get_processor_capacity_feature_info();
    said.map_or(36, |info| u32::from(info.physical_address_bits())).clamp(32, 52)
}

/// Sets this CPU's control registers: write protection, FPU, global protections, extended state.
pub fn configure() {
    let features = features();
    // SAFETY: write protection and native FPU errors are what the kernel is built for; no mapping or code
    // relies on their absence.
    unsafe {
        Cr0::update(|cr0| {
            cr0.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR);
            cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
        });
        Cr4::update(|cr4| {
            cr4.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE);
            cr4.set(Cr4Flags::OSXSAVE, features.xsave);
            cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.smep);
            cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip);
        });
    }
    if features.xsave {
        let mut state = XCr0Flags::X87 | XCr0Flags::SSE;
        state.set(XCr0Flags::AVX, features.avx);
        state.set(
            XCr0Flags::OPMASK | XCr0Flags::ZMM_HI256 | XCr0Flags::HI16_ZMM,
            features.avx512 && avx512_state_supported(),
        );
        // SAFETY: only states that CPUID lists; `extended_state` saves all of them.
        unsafe { XCr0::write(state) };
    }
}

/// CPUID leaf 0xD lists the three AVX-512 state components.
fn avx512_state_supported() -> bool {
    core::arch::x86_64::__cpuid_count(0xd, 0).eax & 0xe0 == 0xe0
}

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

/// How a test run in QEMU ended; the process exits with `(code << 1) | 1`.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum QemuExit {
    /// Exit status 33.
    Success = 0x10,
    /// Exit status 65.
    Failure = 0x20,
}

/// Leaves QEMU through its isa-debug-exit device; returns if there is none.
pub fn exit_qemu(code: QemuExit) {
    // SAFETY: port 0xf4 is QEMU's debug exit or nothing.
    unsafe { Port::new(0xf4).write(code as u32) };
}
