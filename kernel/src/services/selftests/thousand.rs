//! A thousand threads that sleep, compute and change their CPUs: all end, and not a nanosecond of their time is lost.

use super::Outcome;
use super::random::Random;
use crate::arch::{percpu, time};
use crate::tasks::{self, JoinHandle, Options, TaskInfo};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use sched::Accounting;

const THREADS: u64 = 1000;
const NAME: &str = "thousand";
const ROUNDS: u64 = 20;
/// Longest sleep and longest computation of a round, in nanoseconds.
const SLEEP: u64 = 5_000_000;
const COMPUTE: u64 = 200_000;
/// CPU time that may be in no account, in thousandths: the threads' ends after they looked, and the time between two looks.
const LOST: u64 = 50;

/// What a thread says of itself at its end.
struct Life {
    accounting: Accounting,
    /// When it said that.
    at: u64,
    /// How often it found itself on another CPU.
    moves: u64,
    rounds: u64,
}

/// Starts them, and checks what they say.
pub fn threads_1000() -> Outcome {
    let failed = |error: tasks::SpawnError| error.to_string();
    let steals = || percpu::all().map(|cpu| cpu.steals.load(Ordering::Relaxed)).sum::<u64>();
    let (stolen, before, start) = (steals(), tasks::list(), time::uptime_nanos());
    let mut random = Random::new(11);
    let mut threads = Vec::new();
    let mut refused = None;
    for _ in 0..THREADS {
        let (seed, earliest) = (random.next(), time::uptime_nanos());
        match tasks::spawn(NAME, Options::default(), move || live(seed)) {
            Ok(thread) => threads.push((earliest, time::uptime_nanos(), thread)),
            Err(error) => refused = Some(error),
        }
    }
    let lives: Vec<(u64, u64, Life)> =
        threads.into_iter().map(|(from, to, thread)| (from, to, JoinHandle::join(thread))).collect();
    let (after, elapsed) = (tasks::list(), time::uptime_nanos() - start);
    if let Some(error) = refused {
        return Err(failed(error));
    }
    for (earliest, latest, life) in &lives {
        check(*earliest, *latest, life)?;
    }
    // All that the CPUs did: for these threads, for others, and idling.
    let ran: u64 = lives.iter().map(|(_, _, life)| life.accounting.run).sum();
    let not_ours = after.iter().filter(|task| task.name != NAME);
    let others: u64 = not_ours.map(|task| task.accounting.run - run_before(&before, task)).sum();
    let capacity = elapsed * percpu::count() as u64;
    let accounted = (ran + others) * 1000 / capacity.max(1);
    let moves: u64 = lives.iter().map(|(_, _, life)| life.moves).sum();
    let moved = lives.iter().filter(|(_, _, life)| life.moves > 0).count();
    let line = alloc::format!(
        "{THREADS} threads ended in {} ms on {} CPUs; {moved} of them changed the CPU, {moves} times ({} steals); \
         each one's time adds up, and {}.{} % of the CPUs' time is accounted for",
        elapsed / 1_000_000,
        percpu::count(),
        steals() - stolen,
        accounted / 10,
        accounted % 10,
    );
    let sums_up = (1000 - LOST..=1000 + LOST).contains(&accounted);
    // With one CPU there is nowhere to go.
    if sums_up && (moved > 0 || percpu::count() == 1) { Ok(line) } else { Err(line) }
}

fn run_before(before: &[TaskInfo], task: &TaskInfo) -> u64 {
    before.iter().find(|old| old.id == task.id).map_or(0, |old| old.accounting.run)
}

fn live(seed: u64) -> Life {
    let mut random = Random::new(seed);
    let here = || {
        let _stay = tasks::no_preempt();
        percpu::this_cpu().index
    };
    let (mut cpu, mut moves, mut rounds) = (here(), 0, 0);
    for _ in 0..ROUNDS {
        match random.below(4) {
            0 => tasks::yield_now(),
            _ => tasks::sleep_nanos(random.below(SLEEP)),
        }
        time::spin_nanos(random.below(COMPUTE));
        let now = here();
        moves += u64::from(now != cpu);
        cpu = now;
        rounds += 1;
    }
    let (accounting, at) = tasks::own_accounting();
    Life { accounting, at, moves, rounds }
}

/// Run, wait and sleep add up to its life, to the nanosecond: it began between `earliest` and `latest`.
fn check(earliest: u64, latest: u64, life: &Life) -> Result<(), String> {
    let Accounting { run, wait, sleep, wakeups, voluntary, .. } = life.accounting;
    let sum = run + wait + sleep;
    // It may have ended before whoever made it got the CPU back.
    let shortest = life.at.saturating_sub(latest);
    if life.rounds != ROUNDS || !(shortest..=life.at - earliest).contains(&sum) {
        return Err(alloc::format!(
            "a thread of {} rounds has {run} + {wait} + {sleep} ns in its account, and lived between {shortest} and {} ns",
            life.rounds,
            life.at - earliest
        ));
    }
    if wakeups > voluntary {
        return Err(alloc::format!("a thread woke {wakeups} times, and gave up its CPU {voluntary} times"));
    }
    Ok(())
}
