//! The long-running threads that wire the libraries together, one file per loop.
//!
//! Boot order: [`start`] after all CPUs run, then [`selftests::run_from_command_line`], then [`console::start`].

#[cfg(feature = "llm")]
mod clock;
pub mod console;
mod control;
#[cfg(feature = "ai-ops")]
mod crash;
mod disk;
#[cfg(feature = "ai-ops")]
mod insights;
#[cfg(feature = "llm")]
mod parallel;
mod processor;
mod ramdisk;
mod sched_bench;
pub mod scheduling;
pub mod selftests;
pub mod slm;
mod stress;
mod system;

use crate::tasks::SpawnError;
use bootloader_api::BootInfo;

/// Starts everything but the shell: the model (which is loaded when this returns), the control plane, the sampler.
/// In a thread, with interrupts on. A service that cannot start is logged and missing, no more.
pub fn start(boot: &BootInfo) {
    system::init(boot);
    log::debug!("Init: {} functions have names", crate::ksyms::count());
    report("reclaim", crate::memory::shortage::start());
    report("scheduler", scheduling::start());
    stress::init();
    #[cfg(feature = "llm")]
    report("model workers", parallel::start());
    ramdisk::hand_out(boot);
    report("model", slm::start());
    #[cfg(feature = "ai-ops")]
    report("metrics", insights::start());
    #[cfg(feature = "ai-ops")]
    report("crash predictor", crash::start());
    report("control plane", control::start());
}

fn report(service: &str, result: Result<(), SpawnError>) {
    if let Err(error) = result {
        log::error!("Init: the {service} did not start: {error}");
    }
}
