//! `schedctl bench`: real threads under each policy, measured by real clocks.
//!
//! A workload is drawn from a seed, so that it asks for the same under every policy. Its bursts are a loop that computes until the thread
//! has used so much CPU time, by the kernel's accounting: a host that takes CPUs away slows the loop down (the table says by how
//! much), and the load that the policies see stays what was asked for. Runs are short, and each round plays all policies, beginning with another one each
//! time, so that what the host does hits them alike. No run repeats what another one of the same policy drew: a policy that learns is
//! scored on what it has not seen. It keeps what it learned from run to run; so it begins with what the machine's own threads taught it.

mod bursts;
mod channel;
mod draw;
mod figures;
mod hackbench;
mod mixed;
mod run;
mod schbench;
mod spin;

pub use bursts::{is_trace, set_given};

use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::tasks;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use figures::{Burst, figures};
use run::{Record, Run};
use shell::{
    BenchError, BenchOutcome, BenchProgress, BenchRequest, BenchRow, BenchTable, FairPolicy, Flow,
    LearnedMode, Scheduling, SchedulingError,
};
use spin::Spin;

/// Length of a run; a workload is measured in as many as fit into the time asked for.
const RUN_NANOS: u64 = 5_000_000_000;
/// How often the caller is asked whether to go on.
const WATCH_NANOS: u64 = 100_000_000;

/// A workload: its name, what it is, and what starts it.
struct Workload {
    name: &'static str,
    summary: fn() -> String,
    start: fn(&Arc<Run>, u64) -> Result<(), String>,
}

const WORKLOADS: [Workload; 4] = [
    Workload { name: "mixed", summary: mixed::summary, start: mixed::start },
    Workload { name: "schbench", summary: schbench::summary, start: schbench::start },
    Workload { name: "hackbench", summary: hackbench::summary, start: hackbench::start },
    Workload { name: "bursts", summary: bursts::summary, start: bursts::start },
];

/// Runs what was asked for; see [`Scheduling::scheduler_bench`].
pub fn run(
    scheduling: &dyn Scheduling,
    request: &BenchRequest,
    watch: &mut dyn FnMut(&BenchProgress) -> Flow,
) -> Result<BenchOutcome, BenchError> {
    let workloads = chosen(&request.workloads)?;
    let start = uptime_nanos();
    let length = u64::try_from(request.duration.as_nanos()).unwrap_or(u64::MAX).max(1);
    let rounds = length.div_ceil(RUN_NANOS).max(1);
    let before = Restore::new(scheduling);
    // A policy that may never act would be measured as the one that acts for it.
    let mode = match before.mode {
        LearnedMode::On => LearnedMode::On,
        _ => LearnedMode::Auto,
    };
    let mut bench = Bench {
        scheduling,
        mode,
        spin: Spin::calibrate(),
        length: length / rounds,
        load: f64::from(request.load) / 100.0,
        start,
        done: 0,
        runs: workloads.len() as u32 * rounds as u32 * request.policies.len() as u32,
        interrupted: false,
        watch,
    };
    let mut tables = Vec::new();
    for workload in &workloads {
        tables.push(bench.table(workload, request, rounds)?);
        if bench.interrupted {
            break;
        }
    }
    Ok(BenchOutcome {
        cpus: percpu::count() as u32,
        interrupted: bench.interrupted,
        elapsed: Duration::from_nanos(uptime_nanos() - start),
        tables,
    })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Workload>, BenchError> {
    if names.is_empty() {
        return Ok(WORKLOADS.iter().collect());
    }
    let find = |name: &String| {
        let found = WORKLOADS.iter().find(|workload| workload.name == name);
        found.ok_or_else(|| BenchError::UnknownWorkload(name.clone()))
    };
    names.iter().map(find).collect()
}

/// Sets the policy and the mode that were there before, when it goes.
struct Restore<'a> {
    scheduling: &'a dyn Scheduling,
    policy: FairPolicy,
    mode: LearnedMode,
}

impl<'a> Restore<'a> {
    fn new(scheduling: &'a dyn Scheduling) -> Self {
        let status = scheduling.scheduler();
        Self { scheduling, policy: status.policy, mode: status.mode }
    }
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // Setting a mode sets the transformer, too: the policy comes last.
        let restored = match set_mode(self.scheduling, self.mode) {
            Ok(()) => self.scheduling.set_policy(self.policy),
            Err(error) => Err(error),
        };
        if let Err(error) = restored {
            log::error!("sched: the bench could not set {} again: {error}", self.policy);
        }
    }
}

/// Sets a mode, unless it is set: setting one starts a cooldown anew.
fn set_mode(scheduling: &dyn Scheduling, mode: LearnedMode) -> Result<(), SchedulingError> {
    match scheduling.scheduler().mode == mode {
        true => Ok(()),
        false => scheduling.set_learned_mode(mode),
    }
}

/// What was measured of one policy so far.
#[derive(Default)]
struct Measured {
    runs: u32,
    bursts: Vec<Burst>,
    switches: u64,
    /// Time that the CPUs were there, and that they idled.
    time: u64,
    idle: u64,
    makespan: u64,
    iterations: u64,
    computed: u64,
    /// Decisions under the transformer, and those that it made itself.
    decisions: u64,
    acted: u64,
}

struct Bench<'a> {
    scheduling: &'a dyn Scheduling,
    mode: LearnedMode,
    spin: Spin,
    length: u64,
    load: f64,
    start: u64,
    done: u32,
    runs: u32,
    interrupted: bool,
    watch: &'a mut dyn FnMut(&BenchProgress) -> Flow,
}

/// Counters of the machine that a run is measured by.
struct Counters {
    time: u64,
    switches: u64,
    idle: u64,
    decisions: u64,
    acted: u64,
}

impl Bench<'_> {
    /// One workload under all policies.
    fn table(
        &mut self,
        workload: &Workload,
        request: &BenchRequest,
        rounds: u64,
    ) -> Result<BenchTable, BenchError> {
        let mut measured: Vec<Measured> = request.policies.iter().map(|_| Measured::default()).collect();
        'rounds: for round in 0..rounds {
            let policies = request.policies.len();
            for turn in 0..policies {
                let index = (turn + round as usize) % policies;
                let (Some(&policy), Some(measured)) = (request.policies.get(index), measured.get_mut(index))
                else {
                    continue;
                };
                let seed = request.seed.wrapping_mul(1_000_003).wrapping_add(round);
                self.measure(workload, policy, seed, measured)?;
                if self.interrupted {
                    break 'rounds;
                }
                self.done += 1;
            }
        }
        let rows = request.policies.iter().zip(&measured);
        Ok(BenchTable {
            workload: workload.name,
            summary: (workload.summary)(),
            rows: rows.filter_map(|(&policy, measured)| self.row(policy, measured)).collect(),
        })
    }

    /// One run.
    fn measure(
        &mut self,
        workload: &Workload,
        policy: FairPolicy,
        seed: u64,
        measured: &mut Measured,
    ) -> Result<(), BenchError> {
        if policy == FairPolicy::Transformer {
            set_mode(self.scheduling, self.mode)?;
        }
        self.scheduling.set_policy(policy)?;
        let before = self.counters();
        let run = Run::new(self.spin, self.length, self.load).map_err(BenchError::Failed)?;
        let started = (workload.start)(&run, seed);
        if started.is_err() {
            run.stop();
        }
        while !run.is_done() {
            tasks::sleep_nanos(WATCH_NANOS);
            let progress = BenchProgress {
                elapsed: Duration::from_nanos(uptime_nanos() - self.start),
                done: self.done,
                runs: self.runs,
                workload: workload.name,
                policy,
            };
            if !self.interrupted && (self.watch)(&progress) == Flow::Stop {
                self.interrupted = true;
                run.stop();
            }
        }
        let after = self.counters();
        started.map_err(BenchError::Failed)?;
        let record = run.take_record().map_err(BenchError::Failed)?;
        if self.interrupted { Ok(()) } else { measured.add(&before, &after, record) }
    }

    fn counters(&self) -> Counters {
        let learned = self.scheduling.scheduler_stats().learned;
        let cpus = self.scheduling.activity().idle;
        Counters {
            time: uptime_nanos(),
            switches: percpu::all().map(|cpu| cpu.switches.load(Ordering::Relaxed)).sum(),
            idle: cpus.iter().map(|idle| u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX)).sum(),
            decisions: learned.iter().map(|cpu| cpu.counts.decisions).sum(),
            acted: learned.iter().map(|cpu| cpu.counts.candidate).sum(),
        }
    }

    fn row(&self, policy: FairPolicy, measured: &Measured) -> Option<BenchRow> {
        let figures = figures(&measured.bursts)?;
        let runs = u64::from(measured.runs.max(1));
        let acted = measured.acted as f64 / measured.decisions.max(1) as f64;
        Some(BenchRow {
            policy,
            runs: measured.runs,
            bursts: measured.bursts.len() as u64,
            mean: Duration::from_nanos(figures.mean as u64),
            p99: Duration::from_nanos(figures.p99),
            slowdown: figures.slowdown,
            switches_per_burst: measured.switches as f64 / measured.bursts.len() as f64,
            jain: figures.jain,
            busy: 1.0 - measured.idle as f64 / measured.time.max(1) as f64,
            speed: self.spin.speed(measured.iterations, measured.computed),
            completion: figures.completion.map(|time| Duration::from_nanos(time as u64)),
            makespan: figures.completion.map(|_| Duration::from_nanos(measured.makespan / runs)),
            acted: (policy == FairPolicy::Transformer).then_some(acted),
        })
    }
}

impl Measured {
    fn add(&mut self, before: &Counters, after: &Counters, record: Record) -> Result<(), BenchError> {
        let no_memory =
            |_| BenchError::Failed(String::from("there is no memory for the record of its bursts"));
        self.bursts.try_reserve(record.bursts.len()).map_err(no_memory)?;
        self.runs += 1;
        self.bursts.extend(record.bursts);
        self.switches += after.switches - before.switches;
        self.time += (after.time - before.time) * percpu::count() as u64;
        self.idle += after.idle - before.idle;
        self.makespan += record.makespan;
        self.iterations += record.iterations;
        self.computed += record.computed;
        self.decisions += after.decisions - before.decisions;
        self.acted += after.acted - before.acted;
        Ok(())
    }
}
