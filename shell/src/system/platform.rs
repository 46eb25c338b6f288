//! What is running and on what: the kernel, its processors, and their switch.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use thiserror::Error;

/// Identity of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Name of the kernel, `AUTON`.
    pub name: &'static str,
    /// Its version, as in Cargo.toml.
    pub version: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// Cargo features it was built with, e.g. `["ai-ops", "llm"]`.
    pub features: Vec<&'static str>,
    /// How it was started: `PVH`, `Multiboot2`.
    pub boot_protocol: &'static str,
    /// Command line given by the loader.
    pub command_line: String,
}

/// One logical processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Number of the kernel, 0 = the one that booted.
    pub id: u32,
    /// Local APIC id.
    pub apic_id: u32,
    /// Whether it was started and runs threads.
    pub online: bool,
    /// CPUID vendor, e.g. `GenuineIntel`.
    pub vendor: String,
    /// CPUID brand string, trimmed.
    pub brand: String,
    /// Display family (extended family added in).
    pub family: u32,
    /// Display model (extended model added in).
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Feature names in lower case as Linux's `/proc/cpuinfo` spells them, e.g. `sse2`, `avx2`, `x2apic`.
    pub features: Vec<&'static str>,
    /// Calibrated frequency of the time stamp counter.
    pub tsc_hz: u64,
    /// Time spent in the idle thread.
    pub idle: Duration,
}

/// What [`System::power`](super::System::power) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// ACPI S5.
    Off,
    /// Reset.
    Reboot,
}

/// Why the machine is still on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PowerError(
    /// One sentence.
    pub String,
);
