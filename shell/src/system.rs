//! What a command may ask of the machine: one trait and plain data, no types of the kernel.
//!
//! The kernel implements [`System`] (`kernel/src/services/`), tests implement it with fixed data. Every
//! method takes a snapshot: it may take the kernel's locks for a moment, and returns owned data, so that
//! no lock is held while the shell prints. All are called from the shell's thread, never from an
//! interrupt handler.

use crate::scheduler::Scheduling;
use crate::slm::{SlmError, SlmEvent, SlmPool, SlmRequest, SlmStatus, SlmSummary};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use thiserror::Error;

/// The machine under the shell; its scheduler is behind [`Scheduling`].
pub trait System: Scheduling {
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

/// Physical memory and what was made of it. All sizes in bytes unless a field says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All usable memory that the boot's memory map lists, kernel image included.
    pub total: u64,
    /// The page allocator.
    pub pages: PageStats,
    /// The kernel heap.
    pub heap: HeapStats,
    /// The SLM pool, if it was reserved (its pages are in use as far as `pages` knows).
    pub slm_pool: Option<SlmPool>,
}

/// State of the page allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageStats {
    /// Bytes in a frame: 4096.
    pub frame_size: u64,
    /// Frames that it manages.
    pub total_frames: u64,
    /// Frames that are free.
    pub free_frames: u64,
    /// Free blocks per order: `[k]` counts free blocks of `frame_size << k` bytes. Length = highest order + 1.
    pub free_blocks: Vec<u64>,
    /// Successful allocations since boot.
    pub allocations: u64,
    /// Frees since boot.
    pub frees: u64,
    /// Refused allocations since boot.
    pub failures: u64,
}

/// One zone of physical memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneState {
    /// `DMA32` or `Normal`.
    pub name: &'static str,
    /// Its counters.
    pub stats: mm::Stats,
    /// Its marks.
    pub watermarks: mm::Watermarks,
    /// Free blocks per order in partly used pageblocks, by migrate type (order of `mm::MigrateType::ALL`).
    pub by_type: [[u64; mm::ORDERS]; 3],
}

/// Memory management at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryState {
    /// The zones that have memory.
    pub zones: Vec<ZoneState>,
    /// How short memory is.
    pub pressure: mm::Pressure,
    /// Free frames that the CPUs keep for themselves.
    pub cached_frames: u64,
    /// Caches that reclaim may shrink: name and bytes.
    pub caches: Vec<(&'static str, u64)>,
    /// Totals of reclaim.
    pub reclaim: mm::reclaim::ReclaimStats,
    /// Time lost in waiting for memory.
    pub stall: mm::stall::StallStats,
    /// Compactions since boot.
    pub compactions: u64,
    /// Pages moved since boot.
    pub moved: u64,
    /// Times that memory ran out.
    pub ooms: u64,
    /// Tasks ended for it.
    pub kills: u64,
}

/// How a stress workload is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StressRequest {
    /// How long at most.
    pub duration: Duration,
    /// What all its parameters are drawn from; typical ones without it.
    pub seed: Option<u64>,
}

/// A stress workload under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StressState {
    /// Time since it began.
    pub elapsed: Duration,
    /// Bytes that it holds.
    pub held: u64,
    /// Free memory.
    pub free: u64,
}

/// What a stress workload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StressOutcome {
    /// Why it ended.
    pub end: StressEnd,
    /// When it began, after boot.
    pub start: Duration,
    /// How long it ran.
    pub duration: Duration,
    /// The most that it held.
    pub peak: u64,
    /// Its allocations that were refused.
    pub failures: u64,
    /// Times that memory ran out meanwhile.
    pub ooms: u64,
}

/// Why a stress workload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StressEnd {
    /// Its time was over.
    Time,
    /// Memory ran out, and it was ended for it.
    Killed,
    /// Memory ran out, and its allocation was refused.
    Refused,
    /// Ctrl-C.
    Interrupted,
}

impl StressEnd {
    /// As `memctl stress` prints it.
    pub fn name(self) -> &'static str {
        match self {
            StressEnd::Time => "time",
            StressEnd::Killed => "killed",
            StressEnd::Refused => "refused",
            StressEnd::Interrupted => "interrupted",
        }
    }
}

/// Why a stress workload did not run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StressError {
    /// There is no such family.
    #[error("there is no stress family `{0}`; `memctl stress` lists them")]
    Unknown(String),
    /// It could not be started.
    #[error("the workload could not be started: {0}")]
    NotStarted(String),
}

/// The crash predictor at one moment.
#[cfg(feature = "ai-ops")]
#[derive(Clone, Debug, PartialEq)]
pub struct CrashState {
    /// What it says; `None` before its first sample.
    pub assessment: Option<ai_insights::crash_predictor::Assessment>,
    /// What drives it, largest first.
    pub factors: [ai_insights::crash_predictor::Factor; ai_insights::crash_predictor::FACTORS],
    /// The threshold.
    pub threshold: f32,
    /// Who acts.
    pub mode: ai_insights::crash_predictor::Mode,
    /// Pages in all.
    pub total_pages: u64,
    /// Free pages of the last samples, oldest first.
    pub free_pages: Vec<u64>,
    /// How good it has been.
    pub score: ai_insights::crash_predictor::Score,
    /// What its guard has done.
    pub guard: ai_insights::crash_predictor::GuardScore,
    /// Alarms and misses, newest first.
    pub history: Vec<ai_insights::crash_predictor::Record>,
    /// Samples taken.
    pub samples: u64,
    /// Longest time of a sample.
    pub slowest: Duration,
    /// Mean time of a sample.
    pub mean: Duration,
    /// Half of the samples took no longer.
    pub median: Duration,
    /// 99 of 100 samples took no longer.
    pub p99: Duration,
    /// Growth that is held back.
    pub held: HeldBack,
}

/// Holding back the growth of tasks that agreed to be ended.
#[cfg(feature = "ai-ops")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeldBack {
    /// Whether a hold is in force.
    pub in_force: bool,
    /// Tasks that wait now.
    pub waiting: u32,
    /// Holds so far.
    pub holds: u64,
    /// Time that tasks waited, added up.
    pub time: Duration,
}

/// Samples as the crash predictor saw them.
#[cfg(feature = "ai-ops")]
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CrashRecording {
    /// Whether it goes on.
    pub on: bool,
    /// Oldest first.
    pub samples: Vec<ai_insights::crash_predictor::Sample>,
    /// When memory ran out, in nanoseconds after boot.
    pub ooms_ns: Vec<u64>,
    /// Samples for which there was no room.
    pub missed: u64,
}

/// State of the kernel heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes claimed from the page allocator.
    pub size: u64,
    /// Bytes of it that are allocated.
    pub used: u64,
    /// Most bytes ever allocated at once.
    pub peak: u64,
    /// Allocations that live now.
    pub live: u64,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number, never reused.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it does now.
    pub state: TaskState,
    /// CPU that it runs on or ran on last.
    pub cpu: u32,
    /// Who schedules it.
    pub class: TaskClass,
    /// Share within the fair class, 1024 = nice 0.
    pub weight: u32,
    /// CPU time used.
    pub run_time: Duration,
    /// Times that it was switched to.
    pub switches: u64,
    /// Bytes of stack.
    pub stack_size: u64,
}

/// State of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// On a CPU.
    Running,
    /// In a run queue.
    Ready,
    /// Waiting for a time.
    Sleeping,
    /// Waiting for an event.
    Blocked,
    /// Ended, not joined yet.
    Finished,
}

impl TaskState {
    /// As `ps` shows it.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Ready => "ready",
            TaskState::Sleeping => "sleeping",
            TaskState::Blocked => "blocked",
            TaskState::Finished => "finished",
        }
    }
}

/// Scheduling class of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskClass {
    /// EDF with a constant bandwidth server.
    Reserved,
    /// The fair policy.
    Fair,
    /// Runs when nothing else does.
    Idle,
}

impl TaskClass {
    /// As `ps` shows it.
    pub fn name(self) -> &'static str {
        match self {
            TaskClass::Reserved => "reserved",
            TaskClass::Fair => "fair",
            TaskClass::Idle => "idle",
        }
    }
}

/// One PCI function. Names are not in here: they come from `llm::knowledge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciDevice {
    /// Segment group, 0 on most machines.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device on the bus, 0..32.
    pub device: u8,
    /// Function of the device, 0..8.
    pub function: u8,
    /// Vendor id.
    pub vendor_id: u16,
    /// Device id.
    pub device_id: u16,
    /// Base class.
    pub class: u8,
    /// Sub-class.
    pub subclass: u8,
    /// Programming interface.
    pub interface: u8,
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor and id, where the header has them and they are not zero.
    pub subsystem: Option<(u16, u16)>,
    /// Base address registers that are in use.
    pub bars: Vec<PciBar>,
    /// Interrupt pin (1 = INTA) and line, where the function has a pin.
    pub interrupt: Option<PciInterrupt>,
    /// Driver of this kernel that uses it.
    pub driver: Option<&'static str>,
}

/// One base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciBar {
    /// Number of the register, 0..6 (a 64-bit one also takes the next).
    pub index: u8,
    /// What it decodes.
    pub kind: PciBarKind,
    /// First address or port.
    pub address: u64,
    /// Bytes or ports.
    pub size: u64,
}

/// Address space of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciBarKind {
    /// I/O ports.
    Io,
    /// 32-bit memory.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// 64-bit memory.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

/// Legacy interrupt of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciInterrupt {
    /// 1 = INTA … 4 = INTD.
    pub pin: u8,
    /// Line as the firmware programmed it; 255 = none.
    pub line: u8,
}

/// One line of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Time since reset.
    pub time: Duration,
    /// Severity.
    pub level: LogLevel,
    /// The message, without a line end.
    pub text: String,
}

/// Severity of a log line, gravest first (so `a <= b` means "at least as grave as b").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Progress.
    Info,
    /// Detail.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// All levels, gravest first.
    pub const ALL: [LogLevel; 5] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// As `dmesg --level` takes it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// A test that the kernel can run on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Its name: one word.
    pub name: &'static str,
    /// What it checks, in one line.
    pub summary: &'static str,
    /// Whether it ends the machine (a deliberate fault); such tests run only when named.
    pub fatal: bool,
}

/// Why a self test did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelfTestError {
    /// The kernel has no such test.
    #[error("this kernel has no self test `{0}`; `selftest` lists them")]
    Unknown(String),
    /// What was wrong.
    #[error("{0}")]
    Failed(String),
}

/// What [`System::power`] does.
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
