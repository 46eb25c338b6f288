//! The thread that does what no decision waits for: steps of learning, the guards' judgement, and telling what they did.

use super::{BOOT, cpus, exchange};
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks::{self, Options, SpawnError};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use sched::guard::{Reason, SwitchOver};

/// How often it looks. It does one step on each CPU then, which keeps that CPU's queue locked: for 4 µs natively, for 0.3 ms under emulation.
const PERIOD_NANOS: u64 = 10_000_000;
/// Seconds whose switches are remembered.
const SECONDS: usize = 60;

static SWITCHES: IrqMutex<heapless::Deque<u64, SECONDS>> = IrqMutex::new(heapless::Deque::new());

/// Sets the boot's policy, and starts the thread.
pub fn start() -> Result<(), SpawnError> {
    let (policy, mode) = BOOT;
    if let Err(error) = exchange(policy, mode) {
        log::error!("sched: the fair class stays with EEVDF: {error}");
    }
    tasks::spawn("sched-learn", Options::default(), learn)?;
    Ok(())
}

/// Switches of all CPUs in each of the last seconds, oldest first.
pub fn switches_by_second() -> Vec<u64> {
    let mut seconds = Vec::with_capacity(SECONDS);
    seconds.extend(SWITCHES.lock().iter().copied());
    seconds
}

fn learn() {
    let mut seen = [0; percpu::MAX_CPUS];
    let mut told = [0; percpu::MAX_CPUS];
    let mut second = (uptime_nanos(), switches());
    loop {
        for (cpu, seen) in percpu::all().zip(&mut seen) {
            let switches = cpu.switches.load(Ordering::Relaxed);
            if switches != *seen {
                *seen = switches;
                tasks::maintain(cpu.index);
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
