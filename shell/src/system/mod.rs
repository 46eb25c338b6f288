//! What a command may ask of the machine: one trait, and plain data in a file for each subject; no types of the kernel.
//!
//! The kernel implements [`System`] (`kernel/src/services/`), tests implement it with fixed data. Every method takes a
//! snapshot: it may take the kernel's locks for a moment, and returns owned data, so that no lock is held while the shell
//! prints. All are called from the shell's thread, never from an interrupt handler.

#[cfg(feature = "ai-ops")]
mod crash;
mod log;
mod memory;
mod pci;
mod platform;
mod self_test;
mod stress;
mod task;

#[cfg(feature = "ai-ops")]
pub use crash::*;
pub use log::*;
pub use memory::*;
pub use pci::*;
pub use platform::*;
pub use self_test::*;
pub use stress::*;
pub use task::*;

use crate::inference::{ControlKeys, Inference};
use crate::scheduler::Scheduling;
use crate::slm::{SlmError, SlmEvent, SlmRequest, SlmStatus, SlmSummary};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The machine under the shell; its scheduler is behind [`Scheduling`], the inference service and the control plane's keys behind
/// [`Inference`] and [`ControlKeys`].
pub trait System: Scheduling + Inference + ControlKeys {
    /// What is running.
    fn version(&self) -> Version;
    /// Time since reset.
    fn uptime(&self) -> Duration;
    /// Every CPU that ACPI lists, in order of `id`, online or not.
    fn cpus(&self) -> Vec<Cpu>;
    /// Physical memory, heap and SLM pool.
    fn memory(&self) -> Memory;
    /// Zones, watermarks, caches, and what reclaim and compaction have done.
    fn memory_state(&self) -> MemoryState;
    /// Moves all movable pages together; may take seconds.
    fn memory_compact(&self) -> mm::compact::Report;
    /// Has the caches free about `bytes`; one line per cache.
    fn memory_reclaim(&self, bytes: u64) -> Vec<mm::reclaim::Part>;
    /// The workloads that [`memory_stress`](System::memory_stress) knows: name, and what it does in one line.
    fn stress_families(&self) -> &'static [(&'static str, &'static str)];
    /// Runs a workload that may exhaust memory. `watch` is called about once a second, and ends it by [`Flow::Stop`].
    fn memory_stress(
        &self,
        family: &str,
        request: StressRequest,
        watch: &mut dyn FnMut(&StressState) -> Flow,
    ) -> Result<StressOutcome, StressError>;
    /// Every thread that exists, in order of `id`, idle threads included.
    fn tasks(&self) -> Vec<Task>;
    /// Every PCI function found, in order of address.
    fn pci_devices(&self) -> Vec<PciDevice>;
    /// The kernel log, oldest line first; as many as its ring still holds.
    fn log(&self) -> Vec<LogLine>;

    /// The crash predictor, its score and its guard.
    #[cfg(feature = "ai-ops")]
    fn crash_state(&self) -> CrashState;
    /// Sets the one threshold.
    #[cfg(feature = "ai-ops")]
    fn crash_tune(&self, threshold: f32) -> Result<(), ai_insights::crash_predictor::ThresholdError>;
    /// Sets who acts.
    #[cfg(feature = "ai-ops")]
    fn crash_auto(&self, mode: ai_insights::crash_predictor::Mode);
    /// Begins to record samples, with a predictor that knows nothing yet; or ends that. An error says why not.
    #[cfg(feature = "ai-ops")]
    fn crash_record(&self, on: bool) -> Result<(), String>;
    /// What was recorded.
    #[cfg(feature = "ai-ops")]
    fn crash_recording(&self) -> CrashRecording;

    /// The registry that the kernel lists its metrics in, gauges up to date.
    #[cfg(feature = "ai-ops")]
    fn metrics(&self) -> &'static ai_insights::metrics::Registry;

    /// The tests that the kernel can run on itself.
    fn self_tests(&self) -> Vec<SelfTest>;
    /// Runs one of [`self_tests`](System::self_tests) to its end; `Ok` carries one line that says what was
    /// checked (counts, sizes).
    fn run_self_test(&self, name: &str) -> Result<String, SelfTestError>;

    /// Switches off or restarts. The kernel returns only if it could not; a test double returns `Ok`, and
    /// [`run`](crate::run) then ends.
    fn power(&self, action: PowerAction) -> Result<(), PowerError>;

    /// Answers a question; see [`SlmRequest`] for who answers. Pieces go to `sink` as they come, in the
    /// thread of the caller; [`Flow::Stop`] ends the answer after the piece, and the summary then says
    /// [`SlmStop::Interrupted`](crate::slm::SlmStop::Interrupted).
    fn slm_query(
        &self,
        request: &SlmRequest,
        sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
    ) -> Result<SlmSummary, SlmError>;
    /// State of the model and its pool. Works in every state, and while a query runs elsewhere.
    fn slm_status(&self) -> SlmStatus;
    /// Loads the model that the boot provided (embedded or ramdisk) into the pool.
    fn slm_load(&self) -> Result<(), SlmError>;
    /// Gives every byte of the pool back; the rule engine answers from then on.
    fn slm_unload(&self) -> Result<(), SlmError>;
}

/// Go on or stop: the answer of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More, please.
    Continue,
    /// No more.
    Stop,
}
