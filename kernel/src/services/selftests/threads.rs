//! Threads under stress.

use super::Outcome;
use super::random::Random;
use crate::arch::{percpu, time};
use crate::tasks::{self, JoinHandle, Options, WaitQueue};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Distance of timer interrupts during the storm.
const STORM_NANOS: u64 = 20_000;
/// Interrupts that make a storm, on each CPU.
const STORM_INTERRUPTS: u64 = 2_000;
/// Length of the storm at most.
const STORM_LIMIT_NANOS: u64 = 20_000_000_000;
/// Computing threads on each CPU.
const COMPUTERS: usize = 3;

/// Threads compute the same checksums again and again, in precompiled code of `core` that uses the red zone, while
/// the timer interrupts them as often as it can. Any interrupt that touches a stack or a register changes a sum.
pub fn redzone() -> Outcome {
    let expected = checksum();
    let interrupts =
        || -> Vec<u64> { percpu::all().map(|cpu| cpu.interrupts.load(Ordering::Relaxed)).collect() };
    let before = interrupts();
    percpu::all().for_each(|cpu| cpu.tick_cap.store(STORM_NANOS, Ordering::Relaxed));
    let enough = Arc::new(AtomicU64::new(0));
    let threads = spawn_on_every_cpu(COMPUTERS, |_| {
        let enough = enough.clone();
        move || {
            let mut rounds = 0u64;
            while enough.load(Ordering::Relaxed) == 0 {
                if checksum() != expected {
                    return Err(rounds);
                }
                rounds += 1;
            }
            Ok(rounds)
        }
    });
    let end = time::uptime_nanos() + STORM_LIMIT_NANOS;
    let stormed = || interrupts().iter().zip(&before).all(|(now, before)| now - before >= STORM_INTERRUPTS);
    while threads.is_ok() && !stormed() && time::uptime_nanos() < end {
        tasks::sleep_nanos(10_000_000);
    }
    enough.store(1, Ordering::Relaxed);
    let results: Vec<Result<u64, u64>> = threads?.into_iter().map(JoinHandle::join).collect();
    percpu::all().for_each(|cpu| cpu.tick_cap.store(u64::MAX, Ordering::Relaxed));
    let taken: u64 = interrupts().iter().zip(&before).map(|(now, before)| now - before).sum();
    if let Some(round) = results.iter().find_map(|result| result.err()) {
        return Err(alloc::format!("a checksum changed in round {round} after {taken} interrupts"));
    }
    if !stormed() {
        return Err(alloc::format!("only {taken} interrupts came: that was no storm"));
    }
    let rounds: u64 = results.into_iter().flatten().sum();
    Ok(alloc::format!(
        "{rounds} checksums by {} threads under {taken} interrupts",
        COMPUTERS * percpu::count()
    ))
}

/// A sum over what several routines of `core` compute: UTF-8 validation, number parsing, sorting, formatting, and
/// floating point in vector registers.
fn checksum() -> u64 {
    let text =
        core::hint::black_box("Größe 3.14159e2 – ½ 東京 plain ascii and more of it, long enough for blocks");
    let mut sum = core::str::from_utf8(text.as_bytes()).map_or(0, |text| text.chars().map(u64::from).sum());
    let number: f64 = core::hint::black_box("271.828182845904523e-2").parse().unwrap_or(0.0);
    let mut floats = [0f64; 32];
    for (index, float) in floats.iter_mut().enumerate() {
        *float = number * index as f64 + 1.0 / (index as f64 + 1.0);
    }
    sum = sum.wrapping_mul(31).wrapping_add(floats.iter().sum::<f64>().to_bits());
    let mut numbers: [u32; 24] = core::array::from_fn(|index| (index as u32).wrapping_mul(2_654_435_761));
    core::hint::black_box(&mut numbers).sort_unstable();
    numbers.iter().fold(sum, |sum, &number| sum.wrapping_mul(31).wrapping_add(number.into()))
}

fn spawn_on_every_cpu<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
    each: usize,
    mut body: impl FnMut(usize) -> F,
) -> Result<Vec<JoinHandle<T>>, String> {
    let mut threads = Vec::new();
    for cpu in 0..percpu::count() {
        for number in 0..each {
            let thread = tasks::spawn("selftest", Options::on_cpu(cpu), body(number));
            threads.push(thread.map_err(|error| error.to_string())?);
        }
    }
    Ok(threads)
}

/// Waves of threads, and threads in a wave.
const WAVES: u64 = 50;
const WAVE: u64 = 48;

/// What the threads of a wave share.
struct Shared {
    started: AtomicU64,
    /// Threads may pass once this reaches their number.
    gate: AtomicU64,
    queue: WaitQueue,
}

/// Each thread computes, sleeps, yields and waits for its turn at a gate that is opened step by step; its result and
/// the length of its sleep are checked.
pub fn churn() -> Outcome {
    let mut random = Random::new(4);
    let mut early = 0u64;
    for wave in 0..WAVES {
        let shared =
            Arc::new(Shared { started: AtomicU64::new(0), gate: AtomicU64::new(0), queue: WaitQueue::new() });
        let mut threads = Vec::new();
        for number in 1..=WAVE {
            let (shared, seed) = (shared.clone(), random.next());
            let thread = tasks::spawn("churn", Options::default(), move || one_life(&shared, number, seed));
            threads.push(thread.map_err(|error| alloc::format!("wave {wave}: {error}"))?);
        }
        // Open the gate in uneven steps, with spurious wake-ups between them.
        let mut open = 0;
        while open < WAVE {
            open = (open + random.below(9)).min(WAVE);
            shared.gate.store(open, Ordering::Release);
            match random.below(3) {
                0 => shared.queue.wake_all(),
                _ => (0..=random.below(4)).for_each(|_| {
                    shared.queue.wake_one();
                }),
            }
            tasks::sleep_nanos(random.below(300_000));
        }
        shared.queue.wake_all();
        for (number, thread) in (1..).zip(threads) {
            // Woken threads before the gate block again, so all must be woken until the last one is through.
            while !thread.is_finished() {
                shared.queue.wake_all();
                tasks::sleep_nanos(50_000);
            }
            let (result, overslept) = thread.join();
            if result != expected(number) {
                return Err(alloc::format!("wave {wave}: thread {number} computed {result}"));
            }
            early += u64::from(!overslept);
        }
        if shared.started.load(Ordering::Relaxed) != WAVE {
            return Err(alloc::format!("wave {wave}: not every thread ran exactly once"));
        }
    }
    match early {
        0 => Ok(alloc::format!("{} threads in {WAVES} waves on {} CPUs", WAVES * WAVE, percpu::count())),
        early => Err(alloc::format!("{early} sleeps ended too early")),
    }
}

/// Times that the threads of [`wakeups`] wait.
const ROUNDS: u64 = 500;
/// Times that each of them is woken without a reason in every round.
const SPURIOUS: u64 = 16;
/// Longest time that a round may take.
const ROUND_LIMIT_NANOS: u64 = 20_000_000_000;

/// A thread on every CPU waits for each round, while wake-ups without a reason rain down on the moments in which it
/// decides to block. After that there is one for every round, and nobody helps: a thread that was lost in the rain
/// waits for ever.
pub fn wakeups() -> Outcome {
    struct Rounds {
        round: AtomicU64,
        checked: AtomicU64,
        passed: AtomicU64,
        queue: WaitQueue,
    }
    let rounds = Arc::new(Rounds {
        round: AtomicU64::new(0),
        checked: AtomicU64::new(0),
        passed: AtomicU64::new(0),
        queue: WaitQueue::new(),
    });
    let threads = spawn_on_every_cpu(1, |_| {
        let rounds = rounds.clone();
        move || {
            for round in 1..=ROUNDS {
                rounds.queue.wait_until(|| {
                    rounds.checked.fetch_add(1, Ordering::Relaxed);
                    rounds.round.load(Ordering::Acquire) >= round
                });
                rounds.passed.fetch_add(1, Ordering::AcqRel);
            }
        }
    })?;
    let all = threads.len() as u64;
    for round in 1..=ROUNDS {
        let limit = time::uptime_nanos() + ROUND_LIMIT_NANOS;
        let lost = || time::uptime_nanos() > limit;
        while rounds.checked.load(Ordering::Relaxed) < round * SPURIOUS * all && !lost() {
            (0..64).for_each(|_| rounds.queue.wake_all());
            // The waiter of this CPU needs it too.
            tasks::yield_now();
        }
        rounds.round.store(round, Ordering::Release);
        rounds.queue.wake_all();
        while rounds.passed.load(Ordering::Acquire) < round * all && !lost() {
            tasks::yield_now();
        }
        if lost() {
            return Err(alloc::format!("round {round}: a thread slept through its wake-up"));
        }
    }
    threads.into_iter().for_each(JoinHandle::join);
    let checked = rounds.checked.load(Ordering::Relaxed);
    Ok(alloc::format!("{ROUNDS} rounds on {} CPUs, conditions looked at {checked} times", percpu::count()))
}

/// Rounds of [`churn`] that went well in the background, and whether one did not.
static BACKGROUND: (AtomicU64, AtomicBool, AtomicBool) =
    (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));

/// Starts threads that repeat [`churn`] until the machine ends, for soaks; called again, tells how far they are.
pub fn background_churn() -> Outcome {
    let (rounds, started, failed) = &BACKGROUND;
    if started.swap(true, Ordering::AcqRel) {
        let rounds = rounds.load(Ordering::Acquire);
        let line = alloc::format!("{} threads in {rounds} rounds", rounds * WAVES * WAVE);
        return if failed.load(Ordering::Acquire) { Err(line + ", then a fault") } else { Ok(line) };
    }
    let forever = move || loop {
        if let Err(fault) = churn() {
            log::error!("background churn: FAILED: {fault}");
            failed.store(true, Ordering::Release);
            return;
        }
        rounds.fetch_add(1, Ordering::AcqRel);
    };
    tasks::spawn("background-churn", Options::default(), forever).map_err(|error| error.to_string())?;
    Ok(String::from("started"))
}

/// Returns the result, and whether the sleep was as long as asked.
fn one_life(shared: &Shared, number: u64, seed: u64) -> (u64, bool) {
    shared.started.fetch_add(1, Ordering::Relaxed);
    let mut random = Random::new(seed);
    let mut value = number as f64;
    let mut slept_enough = true;
    for step in 0..STEPS {
        value = value * 1.000_001 + step as f64;
        match random.below(STEPS / 4) {
            0 => tasks::yield_now(),
            1 => {
                let (nanos, start) = (random.below(500_000), time::uptime_nanos());
                tasks::sleep_nanos(nanos);
                slept_enough &= time::uptime_nanos() - start >= nanos;
            }
            _ => {}
        }
    }
    shared.queue.wait_until(|| shared.gate.load(Ordering::Acquire) >= number);
    (value.to_bits(), slept_enough)
}

const STEPS: u64 = 64;

fn expected(number: u64) -> u64 {
    (0..STEPS).fold(number as f64, |value, step| value * 1.000_001 + step as f64).to_bits()
}
