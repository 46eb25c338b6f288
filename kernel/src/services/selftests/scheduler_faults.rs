//! The policy that learns, broken on purpose in the running kernel: the guard must notice, EEVDF must go on, and all threads with it.

use super::Outcome;
use crate::arch::{containment, percpu, time};
use crate::drivers::watchdog;
use crate::services::scheduling;
use crate::tasks::{self, Fault, Options};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sched::guard::{Reason, Rule, SwitchOver};
use shell::{FairPolicy, LearnedMode};

/// A fault, and what is to come of it.
struct Case {
    fault: Fault,
    name: &'static str,
    /// What the guard is to say of it.
    reason: Reason,
    /// Whether the candidate is to be given up.
    given_up: bool,
}

const fn case(fault: Fault, name: &'static str, reason: Reason, given_up: bool) -> Case {
    Case { fault, name, reason, given_up }
}

const CASES: [Case; 5] = [
    case(Fault::Panic, "panic", Reason::Panicked, true),
    case(Fault::Loop, "endless loop", Reason::Stopped, true),
    case(Fault::Recursion, "endless recursion", Reason::Panicked, true),
    case(Fault::NotRunnable, "a task that may not run", Reason::NotRunnable, false),
    case(Fault::NotFinite, "NaN", Reason::NotFinite, false),
];
/// How long a fault may take to show.
const PATIENCE_NANOS: u64 = 20_000_000_000;
/// Threads that must go on, on the CPU at hand.
const WITNESSES: usize = 3;

/// Plants every fault on every CPU, one after the other.
pub fn scheduler_faults() -> Outcome {
    let before = scheduling::current();
    let result = all();
    // Whatever came of it, the machine goes on with a whole policy, as it was.
    let mended = scheduling::set_policy(FairPolicy::Transformer)
        .and_then(|()| scheduling::set_mode(before.1))
        .and_then(|()| scheduling::set_policy(before.0));
    let line = result?;
    mended.map_err(|error| error.to_string())?;
    Ok(line)
}

fn all() -> Outcome {
    let ticks = watchdog::ticks();
    if !eventually(|| watchdog::ticks() > ticks + 1) {
        return Err("the watchdog's timer does not tick: a loop could not be stopped".to_string());
    }
    let stops = containment::stops();
    let mut longest = 0;
    for cpu in 0..percpu::count() {
        for case in &CASES {
            longest = longest.max(one(cpu, case)?);
        }
    }
    let stops = containment::stops() - stops;
    Ok(alloc::format!(
        "{} faults on {} CPUs ended the policy's rule each time, {stops} by NMI, the slowest after {} ms; EEVDF went on",
        CASES.len() * percpu::count(),
        percpu::count(),
        longest / 1_000_000
    ))
}

/// Threads of one CPU that count their rounds, so that one sees them go on.
struct Witnesses {
    stop: Arc<AtomicBool>,
    rounds: Arc<[AtomicU64; WITNESSES]>,
    threads: Vec<tasks::JoinHandle<()>>,
}

impl Witnesses {
    fn start(cpu: usize) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new([const { AtomicU64::new(0) }; WITNESSES]);
        let mut witnesses = Self { stop, rounds, threads: Vec::new() };
        for number in 0..WITNESSES {
            let (stop, rounds) = (witnesses.stop.clone(), witnesses.rounds.clone());
            let thread = tasks::spawn("witness", Options::on_cpu(cpu), move || {
                while !stop.load(Ordering::Relaxed) {
                    rounds[number].fetch_add(1, Ordering::Relaxed);
                    // Some compute, some block.
                    match number {
                        0 => tasks::yield_now(),
                        1 => tasks::sleep_nanos(300_000),
                        _ => time::spin_nanos(100_000),
                    }
                }
            });
            // When one cannot be started, dropping the witnesses stops the others.
            witnesses.threads.push(thread.map_err(|error| error.to_string())?);
        }
        Ok(witnesses)
    }

    fn rounds(&self) -> [u64; WITNESSES] {
        core::array::from_fn(|at| self.rounds[at].load(Ordering::Relaxed))
    }

    /// Waits until each has done another round.
    fn go_on(&self) -> bool {
        let before = self.rounds();
        eventually(|| self.rounds().iter().zip(&before).all(|(now, before)| now > before))
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join());
    }
}

fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let end = time::uptime_nanos() + PATIENCE_NANOS;
    while !condition() {
        if time::uptime_nanos() > end {
            return false;
        }
        tasks::sleep_nanos(1_000_000);
    }
    true
}

/// Plants a fault on a CPU; how long it took to end the policy's rule, in nanoseconds.
fn one(cpu: usize, &Case { fault, name, reason, given_up }: &Case) -> Result<u64, String> {
    let failed = |what: &str| alloc::format!("{name} on CPU {cpu}: {what}");
    let begin = time::uptime_nanos();
    // A new candidate, if the one before was given up.
    scheduling::set_policy(FairPolicy::Transformer).map_err(|error| failed(&error.to_string()))?;
    scheduling::set_mode(LearnedMode::On).map_err(|error| failed(&error.to_string()))?;
    let witnesses = Witnesses::start(cpu)?;
    if !witnesses.go_on() {
        return Err(failed("threads stood still before it"));
    }
    let planted = time::uptime_nanos();
    let done = tasks::with_learned(cpu, |guard| {
        // It may have gone back to watching, for reasons of its own; it acts from here on until the fault.
        guard.set_rule(Rule::Acting);
        guard.candidate_mut().map(|candidate| candidate.plant(fault)).is_some()
    });
    if done != Some(true) {
        return Err(failed("there is no candidate to plant it in"));
    }
    let noticed = |change: SwitchOver| change.time >= begin && change.reason == reason;
    if !eventually(|| tasks::with_learned(cpu, |guard| guard.log().any(noticed)) == Some(true)) {
        return Err(failed("the guard did not notice"));
    }
    let took = time::uptime_nanos() - planted;
    let broken = tasks::with_learned(cpu, |guard| (guard.broken(), guard.rule()));
    match broken {
        Some((broken, rule)) if broken == given_up && (rule != Rule::Acting || !broken) => {}
        other => return Err(failed(&alloc::format!("the guard says (broken, rule) {other:?}"))),
    }
    if !witnesses.go_on() {
        return Err(failed("a thread stood still after it"));
    }
    Ok(took)
}
