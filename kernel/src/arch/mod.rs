//! The x86_64 processor: descriptor tables, traps, timers, interrupt controllers, starting further CPUs.

pub mod apic;
pub mod backtrace;
pub mod containment;
pub mod cpu;
pub mod exceptions;
pub mod extended_state;
pub mod irq;
pub mod percpu;
pub mod segments;
pub mod smp;
pub mod time;
pub mod tlb;
pub mod traps;

pub use cpu::{exit_qemu, halt_forever};
