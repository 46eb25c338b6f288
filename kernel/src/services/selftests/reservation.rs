//! A reservation against threads that want the same CPU, each kind of them in its own way.

use super::{Outcome, standstill};
use crate::arch::percpu;
use crate::tasks::{self, JoinHandle, Options};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use sched::{Class, Reservation};

/// 30 % of one CPU. With so long a period a host that takes the virtual CPU away for less than 70 ms does not change the share: what comes
/// late in a period is still in it, and what a standstill uses up is taken off the next budget.
const RESERVED: Reservation = Reservation { budget: 30_000_000, period: 100_000_000 };
/// Hostile threads of a kind. Without its reservation the thread would get a quarter, or less.
const HOSTILE: usize = 3;
/// Periods of the reservation that are measured beside each kind.
const PERIODS: u64 = 25;
/// A measurement during which the host took the CPU away for longer than this says nothing; so many are tried.
const STILL_NANOS: u64 = 20_000_000;
const TRIES: usize = 4;
/// A pause this long in the reserved thread is the wait for its next budget.
const PAUSE_NANOS: u64 = 35_000_000;
/// Shares that pass, in thousandths: 30 % and 2 % either way.
const PASSES: core::ops::RangeInclusive<u64> = 280..=320;

/// What the hostile threads do, until they are told to stop; all of them look at the clock all the time.
type Hostility = fn(&AtomicBool, Options);

const KINDS: [(&str, Hostility); 4] = [
    ("spinners", |stop, _| {
        while !stop.load(Ordering::Relaxed) {
            standstill::look();
        }
    }),
    ("yielders", |stop, _| {
        while !stop.load(Ordering::Relaxed) {
            standstill::look();
            tasks::yield_now();
        }
    }),
    ("sleepers", |stop, _| {
        while !stop.load(Ordering::Relaxed) {
            tasks::sleep_nanos(20_000);
            standstill::spin(50_000);
        }
    }),
    ("forkers", |stop, options| {
        while !stop.load(Ordering::Relaxed) {
            let children =
                (0..4).map(|_| tasks::spawn("hostile/child", options, || standstill::spin(100_000)));
            // One that cannot be made is not waited for.
            children.flatten().for_each(JoinHandle::join);
        }
    }),
];

/// Stops and joins its threads at the end, whatever it is.
pub(super) struct Hostile {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hostile {
    /// `HOSTILE` threads of each kind named, or of all of them, on a CPU.
    pub(super) fn start(cpu: usize, kind: Option<&str>) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut hostile = Self { stop, threads: Vec::new() };
        for (_, act) in KINDS.into_iter().filter(|(name, _)| kind.is_none_or(|kind| kind == *name)) {
            for _ in 0..HOSTILE {
                let (stop, options) = (hostile.stop.clone(), Options::on_cpu(cpu));
                let thread = tasks::spawn("hostile", options, move || act(&stop, options));
                hostile.threads.push(thread.map_err(|error| error.to_string())?);
            }
        }
        Ok(hostile)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(JoinHandle::join);
    }
}

/// A reserved thread gets its share of a CPU that others want, whatever they do, and no more; a reservation that does not fit is refused.
pub fn reservation() -> Outcome {
    let cpu = percpu::count() - 1;
    let mut line = alloc::format!("30 % reserved of CPU {cpu}, got beside {HOSTILE}");
    let (mut wrong, mut unknown) = (false, false);
    for (kind, name) in KINDS.iter().map(|(name, _)| (Some(*name), *name)).chain([(None, "of each")]) {
        match share_beside(cpu, kind)? {
            Some(share) => {
                wrong |= !PASSES.contains(&share);
                line += &alloc::format!(" {name} {}.{} %,", share / 10, share % 10);
            }
            None => {
                unknown = true;
                line += &alloc::format!(" {name} -,");
            }
        }
    }
    line += &alloc::format!(" refused: {}", refusal(cpu)?);
    match (wrong, unknown) {
        (true, _) => Err(line),
        (false, true) => Err(alloc::format!("nothing can be said, the host takes the CPU away: {line}")),
        (false, false) => Ok(line),
    }
}

/// What the reserved thread got, in thousandths of the CPU; `None` when the host did not let that be measured.
fn share_beside(cpu: usize, kind: Option<&str>) -> Result<Option<u64>, String> {
    let hostile = Hostile::start(cpu, kind)?;
    let options = Options { class: Class::Reserved(RESERVED), ..Options::on_cpu(cpu) };
    let reserved =
        tasks::spawn("reserved", options, move || measure(cpu)).map_err(|error| error.to_string())?;
    let measured = reserved.join();
    drop(hostile);
    Ok(measured.map(|(ran, elapsed)| ran * 1000 / elapsed.max(1)))
}

/// In the reserved thread, which wants all that it can get: its CPU time, and the time, from the beginning of a budget to the beginning of
/// one [`PERIODS`] later or more.
fn measure(cpu: usize) -> Option<(u64, u64)> {
    let mut last = standstill::look();
    let mut first: Option<(u64, u64, u64)> = None;
    let mut tries = 0;
    while tries < TRIES {
        let now = standstill::look();
        if now - last > PAUSE_NANOS {
            let (run, still) = (tasks::run_nanos(), standstill::time(cpu));
            match first {
                Some((_, from, _)) if now - from < PERIODS * RESERVED.period => {}
                Some((run_before, from, still_before)) if still - still_before <= STILL_NANOS => {
                    return Some((run - run_before, now - from));
                }
                _ => {
                    tries += usize::from(first.is_some());
                    first = Some((run, now, still));
                }
            }
        }
        last = now;
    }
    None
}

/// Asks for 30 %, and then for 95 % of the same CPU; what is said to that.
fn refusal(cpu: usize) -> Result<String, String> {
    let reserve = |reservation| {
        let options = Options { class: Class::Reserved(reservation), ..Options::on_cpu(cpu) };
        tasks::spawn("reserved", options, || tasks::sleep_nanos(1_000_000))
    };
    let fits = reserve(RESERVED).map_err(|error| error.to_string())?;
    let refused = reserve(Reservation { budget: 95_000_000, period: 100_000_000 });
    fits.join();
    match refused {
        Ok(thread) => {
            thread.join();
            Err("95 % were reserved beside 30 % of the same CPU".to_string())
        }
        Err(error) => Ok(error.to_string()),
    }
}
