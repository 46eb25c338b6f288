//! The scheduler's policy in the running kernel: which one rules, when the transformer may decide, what the guards say, and the thread
//! that learns. `system/scheduler.rs` is how the shell gets here.
//!
//! What rules after boot is decided by a measurement ([`learn::start`]). A policy is exchanged on every CPU or on none; one change at a time.

mod learn;
mod weights;

pub use learn::{start, switches_by_second};
pub use weights::{load, roll_back, save, versions};

use crate::arch::percpu;
use crate::sync::IrqMutex;
use crate::tasks::{self, FairClass, Learned, Times};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use sched::guard::Rule;
use shell::{
    CpuSwitchOver, FairPolicy, GuardStatus, LearnedMode, LearnedStats, PolicyStats, SchedulerStats,
    SchedulingError,
};

/// What was asked for last.
static SET: IrqMutex<(FairPolicy, LearnedMode)> = IrqMutex::new((FairPolicy::Eevdf, LearnedMode::Auto));
/// A change is under way.
static CHANGING: AtomicBool = AtomicBool::new(false);

/// The right to change something; one at a time.
struct Change;

impl Change {
    fn begin() -> Result<Self, SchedulingError> {
        match CHANGING.swap(true, Ordering::Acquire) {
            false => Ok(Self),
            true => Err(SchedulingError::Failed("another change of policy is under way; try again".into())),
        }
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        CHANGING.store(false, Ordering::Release);
    }
}

impl From<FairPolicy> for FairClass {
    fn from(policy: FairPolicy) -> Self {
        match policy {
            FairPolicy::Eevdf => Self::Eevdf,
            FairPolicy::RoundRobin => Self::RoundRobin,
            FairPolicy::Mlfq => Self::Mlfq,
            FairPolicy::Transformer => Self::Transformer,
        }
    }
}

fn cpus() -> core::ops::Range<usize> {
    0..percpu::count()
}

/// The policy and the mode that were asked for last.
pub fn current() -> (FairPolicy, LearnedMode) {
    *SET.lock()
}

/// Another policy for the fair class, on all CPUs; the transformer in the mode that was set last. In a thread.
pub fn set_policy(policy: FairPolicy) -> Result<(), SchedulingError> {
    let _change = Change::begin()?;
    let (_, mode) = current();
    exchange(policy, mode)
}

/// When the transformer may decide; it takes over first, if another policy rules. In a thread.
pub fn set_mode(mode: LearnedMode) -> Result<(), SchedulingError> {
    let _change = Change::begin()?;
    let broken = |cpu| tasks::with_learned(cpu, |guard| guard.broken()) == Some(true);
    if mode != LearnedMode::Off && cpus().any(broken) {
        return Err(SchedulingError::Broken);
    }
    exchange(FairPolicy::Transformer, mode)
}

fn exchange(policy: FairPolicy, mode: LearnedMode) -> Result<(), SchedulingError> {
    let broke: Vec<usize> = match policy {
        FairPolicy::Transformer => {
            cpus().filter(|&cpu| tasks::with_learned(cpu, |guard| guard.broken()) == Some(true)).collect()
        }
        _ => Vec::new(),
    };
    tasks::set_policy(policy.into()).map_err(|error| SchedulingError::Failed(error.to_string()))?;
    // One that is new goes on with what was saved last.
    broke.into_iter().for_each(weights::restore);
    if policy == FairPolicy::Transformer {
        for cpu in cpus() {
            tasks::with_learned(cpu, |guard| apply(guard, mode));
        }
    }
    *SET.lock() = (policy, mode);
    Ok(())
}

fn apply(guard: &mut Learned, mode: LearnedMode) -> bool {
    match mode {
        LearnedMode::On => guard.set_rule(Rule::Acting),
        LearnedMode::Auto => guard.set_automatic(),
        LearnedMode::Shadow => guard.set_rule(Rule::Shadow),
        LearnedMode::Off => guard.set_rule(Rule::Off),
    }
}

/// The guard of a CPU, if its policy has one.
pub fn guard(cpu: usize) -> Option<GuardStatus> {
    if current().0 != FairPolicy::Transformer {
        return None;
    }
    tasks::with_learned(cpu, |guard| {
        let (classic, candidate) = guard.scores();
        GuardStatus {
            rule: guard.rule(),
            broken: guard.broken(),
            cooldown: guard.cooling(),
            foresight: guard.foresight(),
            classic,
            candidate,
            last: guard.log().last(),
        }
    })
}

/// What was measured since boot.
pub fn stats() -> SchedulerStats {
    let mut sums = [Times::default(); FairPolicy::ALL.len()];
    for times in cpus().filter_map(tasks::times) {
        for (sum, times) in sums.iter_mut().zip(&times) {
            sum.wakeup.merge(&times.wakeup);
            sum.decision.merge(&times.decision);
        }
    }
    let policies = FairPolicy::ALL.into_iter().map(|policy| {
        let Times { wakeup, decision } = sums[FairClass::from(policy) as usize];
        PolicyStats { policy, wakeup, decision }
    });
    SchedulerStats {
        switches_by_second: switches_by_second(),
        policies: policies.filter(|policy| policy.decision.count() > 0).collect(),
        learned: cpus().filter_map(learned).collect(),
    }
}

fn learned(cpu: usize) -> Option<LearnedStats> {
    tasks::with_learned(cpu, |guard| LearnedStats {
        cpu: cpu as u32,
        counts: guard.counts(),
        decision: guard.latency(),
        told: guard.told(),
        learning: guard.candidate().map(|it| it.transformer().learning()).unwrap_or_default(),
    })
}

/// The guards' last switch-overs of all CPUs, oldest first.
pub fn switch_overs() -> Vec<CpuSwitchOver> {
    let mut all: Vec<CpuSwitchOver> = Vec::new();
    for cpu in cpus() {
        // Collected without allocation under the queue's lock.
        let log = tasks::with_learned(cpu, |guard| guard.log().collect::<heapless::Vec<_, 32>>());
        all.extend(log.into_iter().flatten().map(|change| CpuSwitchOver { cpu: cpu as u32, change }));
    }
    all.sort_by_key(|entry| entry.change.time);
    all
}
