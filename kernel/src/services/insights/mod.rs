//! What the kernel measures about itself: the registry of metrics, sampled once a second, and the memory forecast.

mod inference;

use super::slm;
use crate::arch::{irq, percpu, time};
use crate::drivers::serial::COM1;
use crate::memory::{self, frames};
use crate::tasks::{self, SpawnError};
use ai_insights::forecast::{MemoryForecast, Sample};
use ai_insights::metrics::{Gauge, Metric, Registry, Unit};
use core::sync::atomic::Ordering;

const PERIOD_NANOS: u64 = 1_000_000_000;
/// How far ahead memory is predicted.
const HORIZON_NANOS: u64 = 10_000_000_000;

static MEMORY_TOTAL: Gauge =
    Gauge::new("auton_memory_total_bytes", Unit::Bytes, "Memory that the page allocator manages.");
static MEMORY_FREE: Gauge =
    Gauge::new("auton_memory_free_bytes", Unit::Bytes, "Memory free in the page allocator.");
static MEMORY_PREDICTED: Gauge =
    Gauge::new("auton_memory_predicted_bytes", Unit::Bytes, "Free memory expected in 10 s.");
static MEMORY_EXHAUSTION: Gauge = Gauge::new(
    "auton_memory_exhaustion_seconds",
    Unit::Seconds,
    "Time until memory runs out if the trend goes on; NaN where no trend stands out.",
);
static HEAP_USED: Gauge = Gauge::new("auton_heap_used_bytes", Unit::Bytes, "Kernel heap allocated.");
static HEAP_CLAIMED: Gauge =
    Gauge::new("auton_heap_claimed_bytes", Unit::Bytes, "Kernel heap claimed from the page allocator.");
static THREADS: Gauge = Gauge::new("auton_threads", Unit::None, "Threads that exist.");
static CPUS: Gauge = Gauge::new("auton_cpus", Unit::None, "CPUs that run.");
static SWITCHES: Gauge =
    Gauge::new("auton_sched_switches", Unit::None, "Thread switches since boot, all CPUs.");
static INTERRUPTS: Gauge = Gauge::new("auton_irq_taken", Unit::None, "Interrupts since boot, all CPUs.");
static UNEXPECTED: Gauge =
    Gauge::new("auton_irq_unexpected", Unit::None, "Interrupts that no driver expected.");
static OVERRUNS: Gauge =
    Gauge::new("auton_serial_overruns", Unit::None, "Times that a serial port lost bytes.");
static SLM_LOADED: Gauge = Gauge::new("auton_slm_loaded", Unit::None, "1 while the model is loaded.");
static SLM_NEURAL: Gauge =
    Gauge::new("auton_slm_neural_queries", Unit::None, "Questions that the model answered.");
static SLM_RULES: Gauge =
    Gauge::new("auton_slm_rules_queries", Unit::None, "Questions that the rule engine answered.");
static SLM_SPEED: Gauge = Gauge::new(
    "auton_slm_decode_rate",
    Unit::None,
    "Tokens per second of the last answer; NaN before the first.",
);

static REGISTRY: Registry = Registry::new(&[
    Metric::Gauge(&MEMORY_TOTAL),
    Metric::Gauge(&MEMORY_FREE),
    Metric::Gauge(&MEMORY_PREDICTED),
    Metric::Gauge(&MEMORY_EXHAUSTION),
    Metric::Gauge(&HEAP_USED),
    Metric::Gauge(&HEAP_CLAIMED),
    Metric::Gauge(&THREADS),
    Metric::Gauge(&CPUS),
    Metric::Gauge(&SWITCHES),
    Metric::Gauge(&INTERRUPTS),
    Metric::Gauge(&UNEXPECTED),
    Metric::Gauge(&OVERRUNS),
    Metric::Gauge(&SLM_LOADED),
    Metric::Gauge(&SLM_NEURAL),
    Metric::Gauge(&SLM_RULES),
    Metric::Gauge(&SLM_SPEED),
    Metric::Gauge(&inference::RUNNING),
    Metric::Gauge(&inference::WAITING),
    Metric::Gauge(&inference::SUBMITTED),
    Metric::Gauge(&inference::REJECTED),
    Metric::Gauge(&inference::COMPLETED),
    Metric::Gauge(&inference::CANCELLED),
    Metric::Gauge(&inference::FAILED),
    Metric::Gauge(&inference::LATE),
    Metric::Gauge(&inference::TOKENS),
    Metric::Gauge(&inference::STEPS),
    Metric::Gauge(&inference::STREAM_CHUNKS),
    Metric::Gauge(&inference::STREAM_CHUNK_TOKENS),
    Metric::Gauge(&inference::GRAPH_DROPS),
    Metric::Gauge(&inference::MISSES),
    Metric::Gauge(&inference::JITTER),
    Metric::Gauge(&inference::ADMITTED),
    Metric::Gauge(&inference::REFUSED),
    Metric::Gauge(&inference::RESERVED),
    Metric::Gauge(&inference::FIRST_TOKEN),
    Metric::Gauge(&inference::AUDITED),
]);

/// The kernel's metrics.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// Checks the registry and starts the sampler.
pub fn start() -> Result<(), SpawnError> {
    if let Err(error) = REGISTRY.validate() {
        log::error!("metrics: {error}");
    }
    tasks::spawn("insights", options(), || {
        let mut forecast = MemoryForecast::new(frames::stats().total_bytes(), HORIZON_NANOS);
        loop {
            sample(&mut forecast);
            tasks::sleep_nanos(PERIOD_NANOS);
        }
    })?;
    Ok(())
}

/// A reservation keeps the samples coming at their times, however busy the machine is.
#[cfg(feature = "deterministic")]
fn options() -> tasks::Options {
    let class = sched::Class::Reserved(sched::Reservation { budget: 10_000_000, period: 200_000_000 });
    tasks::Options { class, ..tasks::Options::default() }
}

#[cfg(not(feature = "deterministic"))]
fn options() -> tasks::Options {
    tasks::Options::default()
}

fn sample(forecast: &mut MemoryForecast) {
    let pages = frames::stats();
    forecast.sample(Sample { t_ns: time::uptime_nanos(), free_bytes: pages.free_bytes() });
    MEMORY_TOTAL.set(pages.total_bytes() as f64);
    MEMORY_FREE.set(pages.free_bytes() as f64);
    MEMORY_PREDICTED.set(forecast.predicted_free().unwrap_or(f64::NAN));
    MEMORY_EXHAUSTION.set(forecast.seconds_to_exhaustion().unwrap_or(f64::NAN));
    let heap = memory::heap_stats();
    HEAP_USED.set(heap.allocated as f64);
    HEAP_CLAIMED.set(heap.claimed as f64);
    THREADS.set(tasks::list().len() as f64);
    CPUS.set(percpu::count() as f64);
    SWITCHES.set(percpu::all().map(|cpu| cpu.switches.load(Ordering::Relaxed)).sum::<u64>() as f64);
    INTERRUPTS.set(percpu::all().map(|cpu| cpu.interrupts.load(Ordering::Relaxed)).sum::<u64>() as f64);
    UNEXPECTED.set(irq::unexpected() as f64);
    OVERRUNS.set(COM1.overruns() as f64);
    let slm = slm::status();
    SLM_LOADED.set(if slm.state == shell::slm::SlmState::Loaded { 1.0 } else { 0.0 });
    SLM_NEURAL.set(slm.neural_queries as f64);
    SLM_RULES.set(slm.rules_queries as f64);
    SLM_SPEED.set(slm.last_tokens_per_second.unwrap_or(f64::NAN));
    inference::sample();
}
