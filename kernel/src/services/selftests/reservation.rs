//! A reservation against threads that want the same CPU, each kind of them in its own way.

use super::Outcome;
use super::standstill::Standstill;
use crate::arch::percpu;
use crate::tasks::{self, JoinHandle, Options};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use sched::{Class, Reservation};

/// 30 % of one CPU.
const RESERVED: Reservation = Reservation { budget: 3_000_000, period: 10_000_000 };
/// Hostile threads of a kind. Without its reservation the thread would get a quarter, or less.
const HOSTILE: usize = 3;
/// Periods of the reservation that are measured, in which the host did not take the CPU away; and how long to try, in nanoseconds.
const PERIODS: u64 = 100;
const PATIENCE_NANOS: u64 = 20_000_000_000;
/// A pause this long in the reserved thread is the wait for its next budget.
const PAUSE_NANOS: u64 = 3_500_000;
/// Shares that pass, in thousandths: 30 % and 2 % either way.
const PASSES: core::ops::RangeInclusive<u64> = 280..=320;

/// What the hostile threads do, until they are told to stop. All of them look at the clock all the time.
type Hostility = fn(&AtomicBool, &Arc<Standstill>, Options);

const KINDS: [(&str, Hostility); 4] = [
    ("spinners", |stop, watch, _| {
        while !stop.load(Ordering::Relaxed) {
            watch.look();
        }
    }),
    ("yielders", |stop, watch, _| {
        while !stop.load(Ordering::Relaxed) {
            watch.look();
            tasks::yield_now();
        }
    }),
    ("sleepers", |stop, watch, _| {
        while !stop.load(Ordering::Relaxed) {
            tasks::sleep_nanos(20_000);
            watch.spin(50_000);
        }
    }),
    ("forkers", |stop, watch, options| {
        while !stop.load(Ordering::Relaxed) {
            let children = (0..4).map(|_| {
                let watch = watch.clone();
                tasks::spawn("hostile/child", options, move || watch.spin(100_000))
            });
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
    pub(super) fn start(cpu: usize, kind: Option<&str>, watch: &Arc<Standstill>) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut hostile = Self { stop, threads: Vec::new() };
        for (_, act) in KINDS.into_iter().filter(|(name, _)| kind.is_none_or(|kind| kind == *name)) {
            for _ in 0..HOSTILE {
                let (stop, watch, options) = (hostile.stop.clone(), watch.clone(), Options::on_cpu(cpu));
                let thread = tasks::spawn("hostile", options, move || act(&stop, &watch, options));
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
    let mut wrong = false;
    for (kind, name) in KINDS.iter().map(|(name, _)| (Some(*name), *name)).chain([(None, "of each")]) {
        let share = share_beside(cpu, kind)?;
        wrong |= !PASSES.contains(&share);
        line += &alloc::format!(" {name} {}.{} %,", share / 10, share % 10);
    }
    line += &alloc::format!(" refused: {}", refusal(cpu)?);
    if wrong { Err(line) } else { Ok(line) }
}

/// What the reserved thread got, in thousandths of the CPU, in periods in which the CPU did not stand still.
fn share_beside(cpu: usize, kind: Option<&str>) -> Result<u64, String> {
    let watch = Arc::new(Standstill::default());
    let hostile = Hostile::start(cpu, kind, &watch)?;
    let options = Options { class: Class::Reserved(RESERVED), ..Options::on_cpu(cpu) };
    let reserved =
        tasks::spawn("reserved", options, move || measure(&watch)).map_err(|error| error.to_string())?;
    let (periods, ran, elapsed) = reserved.join();
    drop(hostile);
    match periods {
        PERIODS => Ok(ran * 1000 / elapsed.max(1)),
        periods => {
            Err(alloc::format!("the CPU stood still in all but {periods} periods: nothing can be said"))
        }
    }
}

/// In the reserved thread, which wants all that it can get: periods measured, its CPU time in them, and their length.
fn measure(watch: &Standstill) -> (u64, u64, u64) {
    let (mut periods, mut ran, mut elapsed) = (0, 0, 0);
    let mut last = watch.look();
    let end = last + PATIENCE_NANOS;
    // When the last period began: the time, the CPU time until then, and for how long the CPU had stood still.
    let mut began: Option<(u64, u64, u64)> = None;
    while periods < PERIODS && last < end {
        let now = watch.look();
        if now - last > PAUSE_NANOS {
            let (run, still) = (tasks::run_nanos(), watch.time());
            if let Some((from, run_before, still_before)) = began
                && still == still_before
            {
                periods += 1;
                ran += run - run_before;
                elapsed += now - from;
            }
            began = Some((now, run, still));
        }
        last = now;
    }
    (periods, ran, elapsed)
}

/// Asks for 30 %, and then for 95 % of the same CPU; what is said to that.
fn refusal(cpu: usize) -> Result<String, String> {
    let reserve = |reservation| {
        let options = Options { class: Class::Reserved(reservation), ..Options::on_cpu(cpu) };
        tasks::spawn("reserved", options, || tasks::sleep_nanos(1_000_000))
    };
    let fits = reserve(RESERVED).map_err(|error| error.to_string())?;
    let refused = reserve(Reservation { budget: 9_500_000, period: 10_000_000 });
    fits.join();
    match refused {
        Ok(thread) => {
            thread.join();
            Err("95 % were reserved beside 30 % of the same CPU".to_string())
        }
        Err(error) => Ok(error.to_string()),
    }
}
