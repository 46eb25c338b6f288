//! The thread that does what no decision waits for: steps of learning, the guards' judgement, and telling what they did.

use super::{cpus, exchange};
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks::{self, Options, SpawnError};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use sched::guard::{Candidate, Reason, SwitchOver};
use sched::transformer::Transformer;
use sched::{Class, Enqueue, Entity, Nice, Policy};
use shell::{FairPolicy, LearnedMode};

/// How often it looks.
const PERIOD_NANOS: u64 = 10_000_000;
/// After a step of learning there is none on that CPU for so many times as long: it takes 1 % of the time at most, also where it takes long.
const REST: u64 = 100;
/// But one of these at the most, whatever the host did meanwhile.
const LONGEST_REST_NANOS: u64 = 1_000_000_000;
/// Seconds whose switches are remembered.
const SECONDS: usize = 60;

static SWITCHES: IrqMutex<heapless::Deque<u64, SECONDS>> = IrqMutex::new(heapless::Deque::new());

/// What a decision among [`TASKS`] tasks may take for the transformer to be the policy after boot: half of its budget, so that a machine
/// that is held up now and then does not run over it. A processor takes 1 µs, an emulated one 15.
const WORTH_IT_NANOS: u64 = sched::guard::BUDGET / 2;
const TASKS: u32 = 16;

/// Chooses the boot's policy, and starts the thread. The transformer, where it is quick enough, decides when its guard finds that
/// promising.
pub fn start() -> Result<(), SpawnError> {
    let took = decision_nanos();
    let quick = took.is_some_and(|took| took <= WORTH_IT_NANOS);
    let policy = if quick { FairPolicy::Transformer } else { FairPolicy::Eevdf };
    if let Some(took) = took {
        crate::log::note(format_args!(
            "sched: a decision of the transformer takes {}.{} us here; the fair class begins with {policy}",
            took / 1000,
            took / 100 % 10
        ));
    }
    if let Err(error) = exchange(policy, LearnedMode::Auto) {
        log::error!("sched: the fair class stays with EEVDF: {error}");
    }
    tasks::spawn("sched-learn", Options::default(), learn)?;
    Ok(())
}

/// The quickest of a few decisions of an untrained transformer; `None` without memory for one.
fn decision_nanos() -> Option<u64> {
    let mut transformer = Transformer::new()?;
    for id in 0..TASKS {
        let entity = Entity::new(id, Nice::default(), Class::Fair, 0);
        transformer.register(&entity, 0).ok()?;
        transformer.enqueue(&entity, Enqueue::New, 0).ok()?;
    }
    let decide = |now| {
        let start = uptime_nanos();
        core::hint::black_box(transformer.prefer(now));
        uptime_nanos() - start
    };
    (0..5).map(decide).min()
}

/// Switches of all CPUs in each of the last seconds, oldest first.
pub fn switches_by_second() -> Vec<u64> {
    let mut seconds = Vec::with_capacity(SECONDS);
    seconds.extend(SWITCHES.lock().iter().copied());
    seconds
}

fn learn() {
    let mut seen = [0; percpu::MAX_CPUS];
    let mut rested = [0; percpu::MAX_CPUS];
    let mut told = [0; percpu::MAX_CPUS];
    let mut second = (uptime_nanos(), switches());
    loop {
        for ((cpu, seen), rested) in percpu::all().zip(&mut seen).zip(&mut rested) {
            let switches = cpu.switches.load(Ordering::Relaxed);
            if switches != *seen {
                *seen = switches;
                let now = uptime_nanos();
                let took = tasks::maintain(cpu.index, now >= *rested);
                *rested = (now + (took * REST).min(LONGEST_REST_NANOS)).max(*rested);
            }
        }
        cpus().zip(&mut told).for_each(|(cpu, told)| tell(cpu, told));
        let now = uptime_nanos();
        if now - second.0 >= 1_000_000_000 {
            let all = switches();
            let mut seconds = SWITCHES.lock();
            if seconds.is_full() {
                seconds.pop_front();
            }
            // There is room now.
            let _ = seconds.push_back((all - second.1) * 1_000_000_000 / (now - second.0));
            second = (now, all);
        }
        tasks::sleep_nanos(PERIOD_NANOS);
    }
}

fn switches() -> u64 {
    percpu::all().map(|cpu| cpu.switches.load(Ordering::Relaxed)).sum()
}

/// Logs the switch-overs of a CPU's guard that are new: loudly those that a fault has caused.
fn tell(cpu: usize, told: &mut u64) {
    let news = tasks::with_learned(cpu, |guard| {
        guard.log().filter(|change| change.time > *told).collect::<heapless::Vec<SwitchOver, 32>>()
    });
    for SwitchOver { time, to, reason } in news.into_iter().flatten() {
        *told = time;
        let line = format_args!("sched: CPU {cpu}: transformer {}: {reason}", to.name());
        match reason {
            Reason::Panicked | Reason::Stopped | Reason::NotRunnable | Reason::NotFinite => {
                log::warn!("{line}");
            }
            _ => crate::log::note(line),
        }
    }
}
