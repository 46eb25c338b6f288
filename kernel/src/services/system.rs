//! The machine as the shell sees it: the kernel's side of [`shell::System`].

mod scheduler;

use super::{processor, selftests, slm, stress};
use crate::arch::{irq, percpu, time};
use crate::drivers::serial::COM1;
use crate::drivers::{acpi, pci};
use crate::memory::{self, compaction, frames, shortage};
use crate::{boot, tasks};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use mm::ZoneKind;
use shell::slm::{SlmError, SlmEvent, SlmRequest, SlmStatus, SlmSummary};
use shell::{
    Flow, HeapStats, LogLevel, LogLine, Memory, MemoryState, PageStats, PciBar, PciBarKind, PciDevice,
    PciInterrupt, PowerAction, PowerError, SelfTest, SelfTestError, StressError, StressOutcome, StressState,
    System, Task, Version, ZoneState,
};

/// Usable memory in the firmware's map, in bytes.
static TOTAL_MEMORY: AtomicU64 = AtomicU64::new(0);

/// Keeps what is shown of the boot information later.
pub fn init(boot: &BootInfo) {
    let ours = |kind| matches!(kind, MemoryRegionKind::Usable | MemoryRegionKind::Bootloader);
    let regions = boot.memory_regions.iter().filter(|region| ours(region.kind));
    TOTAL_MEMORY.store(regions.map(|region| region.end - region.start).sum(), Ordering::Relaxed);
}

/// Bytes of memory that this machine has, as far as its firmware calls them usable.
pub fn total_memory() -> u64 {
    TOTAL_MEMORY.load(Ordering::Relaxed)
}

/// This machine.
pub struct Machine;

impl System for Machine {
    fn version(&self) -> Version {
        Version {
            name: "AUTON",
            version: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            features: [
                ("ai-ops", cfg!(feature = "ai-ops")),
                ("llm", cfg!(feature = "llm")),
                ("deterministic", cfg!(feature = "deterministic")),
            ]
            .into_iter()
            .filter_map(|(name, on)| on.then_some(name))
            .collect(),
            boot_protocol: boot::protocol(),
            command_line: String::from(boot::command_line()),
        }
    }

    fn uptime(&self) -> Duration {
        Duration::from_nanos(time::uptime_nanos())
    }

    fn cpus(&self) -> Vec<shell::Cpu> {
        processor::list()
    }

    fn memory(&self) -> Memory {
        let pages = frames::stats();
        let heap = memory::heap_stats();
        Memory {
            total: total_memory(),
            pages: PageStats {
                frame_size: mm::FRAME_SIZE,
                total_frames: pages.total_frames,
                free_frames: pages.free_frames,
                free_blocks: pages.free_blocks.to_vec(),
                allocations: pages.allocs,
                frees: pages.frees,
                failures: pages.failures,
            },
            heap: HeapStats {
                size: heap.claimed as u64,
                used: heap.allocated as u64,
                peak: heap.peak as u64,
                live: heap.allocations as u64,
            },
            slm_pool: slm::status().pool,
        }
    }

    fn memory_state(&self) -> MemoryState {
        let zones = ZoneKind::ALL.into_iter().filter_map(|kind| {
            let state = frames::with_zones(|zones| ZoneState {
                name: kind.name(),
                stats: zones.zone_stats(kind),
                watermarks: zones.watermarks(kind),
                by_type: mm::MigrateType::ALL.map(|of| zones.buddy(kind).free_blocks_of(of)),
            })?;
            (state.stats.total_frames > 0).then_some(state)
        });
        let ((compactions, moved), (ooms, kills)) = (compaction::counts(), shortage::oom_counts());
        MemoryState {
            zones: zones.collect(),
            pressure: frames::pressure(),
            cached_frames: percpu::all().map(|cpu| cpu.frame_cache.lock().held()).sum(),
            caches: shortage::caches().into_iter().collect(),
            reclaim: shortage::reclaim_stats(),
            stall: shortage::stall_stats(),
            compactions,
            moved,
            ooms,
            kills,
        }
    }

    fn memory_compact(&self) -> mm::compact::Report {
        compaction::run(mm::compact::Goal::Everything)
    }

    fn memory_reclaim(&self, bytes: u64) -> Vec<mm::reclaim::Part> {
        shortage::reclaim(bytes).parts().copied().collect()
    }

    fn stress_families(&self) -> &'static [(&'static str, &'static str)] {
        stress::LIST
    }

    fn memory_stress(
        &self,
        family: &str,
        request: shell::StressRequest,
        watch: &mut dyn FnMut(&StressState) -> Flow,
    ) -> Result<StressOutcome, StressError> {
        stress::run(family, request, watch)
    }

    #[cfg(feature = "ai-ops")]
    fn crash_state(&self) -> shell::CrashState {
        super::crash::state()
    }

    #[cfg(feature = "ai-ops")]
    fn crash_tune(&self, threshold: f32) -> Result<(), ai_insights::crash_predictor::ThresholdError> {
        super::crash::tune(threshold)
    }

    #[cfg(feature = "ai-ops")]
    fn crash_auto(&self, mode: ai_insights::crash_predictor::Mode) {
        super::crash::set_mode(mode);
    }

    #[cfg(feature = "ai-ops")]
    fn crash_record(&self, on: bool) -> Result<(), String> {
        super::crash::record(on)
    }

    #[cfg(feature = "ai-ops")]
    fn crash_recording(&self) -> shell::CrashRecording {
        super::crash::recording()
    }

    fn tasks(&self) -> Vec<Task> {
        tasks::list().into_iter().map(task).collect()
    }

    fn pci_devices(&self) -> Vec<PciDevice> {
        pci::functions().iter().map(pci_device).collect()
    }

    fn log(&self) -> Vec<LogLine> {
        let lines = crate::log::lines().into_iter();
        lines
            .map(|line| LogLine {
                time: Duration::from_nanos(line.nanos),
                level: match line.level {
                    log::Level::Error => LogLevel::Error,
                    log::Level::Warn => LogLevel::Warn,
                    log::Level::Info => LogLevel::Info,
                    log::Level::Debug => LogLevel::Debug,
                    log::Level::Trace => LogLevel::Trace,
                },
                text: line.text,
            })
            .collect()
    }

    #[cfg(feature = "ai-ops")]
    fn metrics(&self) -> &'static ai_insights::metrics::Registry {
        super::insights::registry()
    }

    fn self_tests(&self) -> Vec<SelfTest> {
        selftests::list().collect()
    }

    fn run_self_test(&self, name: &str) -> Result<String, SelfTestError> {
        selftests::run(name)
    }

    fn power(&self, action: PowerAction) -> Result<(), PowerError> {
        let (unexpected, overruns) = (irq::unexpected(), COM1.overruns());
        if unexpected + overruns > 0 {
            log::warn!("Power: {unexpected} unexpected interrupts and {overruns} serial overruns since boot");
        }
        match action {
            PowerAction::Off => Err(PowerError(acpi::poweroff().to_string())),
            PowerAction::Reboot => {
                // `cargo run` tells a restart that was asked for from a triple fault by this line.
                log::info!("Power: restarting");
                acpi::reboot()
            }
        }
    }

    fn slm_query(
        &self,
        request: &SlmRequest,
        sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
    ) -> Result<SlmSummary, SlmError> {
        slm::query(request, sink)
    }

    fn slm_status(&self) -> SlmStatus {
        slm::status()
    }

    fn slm_load(&self) -> Result<(), SlmError> {
        slm::load()
    }

    fn slm_unload(&self) -> Result<(), SlmError> {
        slm::unload()
    }
}

fn task(info: tasks::TaskInfo) -> Task {
    let accounting = info.accounting;
    Task {
        id: info.id,
        state: scheduler::state(&info),
        cpu: info.cpu as u32,
        class: scheduler::class(&info),
        weight: info.nice.weight(),
        run_time: Duration::from_nanos(accounting.run),
        switches: accounting.voluntary + accounting.involuntary,
        stack_size: memory::STACK_SIZE,
        name: info.name,
    }
}

fn pci_device(function: &pci::Function) -> PciDevice {
    let [class, subclass, interface] = function.class;
    let (pin, line) = function.interrupt;
    PciDevice {
        segment: function.address.segment(),
        bus: function.address.bus(),
        device: function.address.device(),
        function: function.address.function(),
        vendor_id: function.vendor,
        device_id: function.device,
        class,
        subclass,
        interface,
        revision: function.revision,
        subsystem: Some(function.subsystem).filter(|&subsystem| subsystem != (0, 0)),
        bars: function.bars.iter().map(pci_bar).collect(),
        interrupt: (1..=4).contains(&pin).then_some(PciInterrupt { pin, line }),
        driver: function.driver(),
    }
}

fn pci_bar(bar: &pci::Bar) -> PciBar {
    let kind = match bar.kind {
        pci::BarKind::Io => PciBarKind::Io,
        pci::BarKind::Memory32 { prefetchable } => PciBarKind::Memory32 { prefetchable },
        pci::BarKind::Memory64 { prefetchable } => PciBarKind::Memory64 { prefetchable },
    };
    PciBar { index: bar.index, kind, address: bar.address, size: bar.size }
}
