//! Periodic threads with reservations that fit: none of their jobs is late, whatever the fair threads of their CPU do.
//!
//! `edf.seconds=600` on the kernel's command line makes it last 10 minutes.

use super::reservation::Hostile;
use super::{Outcome, standstill};
use crate::arch::{percpu, time};
use crate::tasks::{self, JoinHandle, Options};
use alloc::string::ToString;
use alloc::vec::Vec;
use sched::{Class, Latency, Reservation};

const MS: u64 = 1_000_000;
/// (Budget, period, CPU time of a job) in milliseconds: 65 % of a CPU, on which the kernel's own services have reserved up to 25 % before.
/// A job takes a third of its budget; the rest is for a host that takes the virtual CPU away in the middle of a job, which counts as run time.
const SET: [(u64, u64, u64); 4] = [(15, 100, 5), (30, 150, 10), (50, 250, 17), (50, 500, 17)];
const SECONDS: u64 = 10;

/// What became of a thread's jobs.
#[derive(Default)]
struct Jobs {
    done: u64,
    late: u64,
    /// Of these, late because the CPU stood still.
    excused: u64,
    /// From release to the first instruction of the job, and from release to its end at the worst, in thousandths of the period.
    jitter: Latency,
    worst: u64,
}

/// Runs the set beside hostile threads.
pub fn edf() -> Outcome {
    let cpu = percpu::count() - 1;
    let seconds = crate::boot::option("edf.seconds").and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let hostile = Hostile::start(cpu, None)?;
    let still = standstill::time(cpu);
    let end = time::uptime_nanos() + seconds * 1000 * MS;
    let mut threads = Vec::new();
    let mut result = Ok(());
    for (budget, period, work) in SET {
        let class = Class::Reserved(Reservation { budget: budget * MS, period: period * MS });
        let options = Options { class, ..Options::on_cpu(cpu) };
        match tasks::spawn("edf/job", options, move || {
            periodic(cpu, budget * MS, period * MS, work * MS, end)
        }) {
            Ok(thread) => threads.push(thread),
            Err(error) => result = Err(error.to_string()),
        }
    }
    let inadmissible = Class::Reserved(Reservation { budget: 500 * MS, period: 1000 * MS });
    let refused = tasks::spawn("edf/job", Options { class: inadmissible, ..Options::on_cpu(cpu) }, || ());
    let jobs: Vec<Jobs> = threads.into_iter().map(JoinHandle::join).collect();
    drop(hostile);
    let still = standstill::time(cpu) - still;
    result?;
    let refusal = match refused {
        Ok(thread) => {
            thread.join();
            return Err("50 % more were admitted".into());
        }
        Err(error) => error.to_string(),
    };
    let sum = |part: fn(&Jobs) -> u64| jobs.iter().map(part).sum::<u64>();
    let mut jitter = Latency::default();
    jobs.iter().for_each(|jobs| jitter.merge(&jobs.jitter));
    let worst = jobs.iter().map(|jobs| jobs.worst).max().unwrap_or(0);
    let line = alloc::format!(
        "{} jobs of {} threads in {seconds} s, {} late, {} of them because the CPU stood still ({} ms in all); jitter p99 {} us, \
         worst response {}.{} % of the period; refused: {refusal}",
        sum(|jobs| jobs.done),
        jobs.len(),
        sum(|jobs| jobs.late),
        sum(|jobs| jobs.excused),
        still / MS,
        jitter.quantile(0.99) / 1000,
        worst / 10,
        worst % 10,
    );
    // A late job moves the next release, and a CPU that stands still does nothing.
    let enough = jobs.iter().zip(SET).all(|(jobs, (_, period, _))| {
        (jobs.done + 2) * period >= (seconds * 1000).saturating_sub(10 * still / MS) / 2
    });
    let fine = sum(|jobs| jobs.late) == sum(|jobs| jobs.excused) && enough;
    if fine { Ok(line) } else { Err(line) }
}

/// One thread: a job is released every period, at times that are set beforehand.
fn periodic(cpu: usize, budget: u64, period: u64, work: u64, end: u64) -> Jobs {
    let mut jobs = Jobs::default();
    let mut release = time::uptime_nanos() + period;
    while release + period <= end {
        let still = standstill::time(cpu);
        tasks::sleep_nanos(release.saturating_sub(time::uptime_nanos()));
        jobs.jitter.add(standstill::look().saturating_sub(release));
        let ran = tasks::run_nanos();
        while tasks::run_nanos() - ran < work {
            standstill::look();
        }
        let done = standstill::look();
        let (response, still) = (done - release, standstill::time(cpu) - still);
        jobs.done += 1;
        jobs.worst = jobs.worst.max(response * 1000 / period);
        if response > period {
            jobs.late += 1;
            // It would have been in time, or it lost budget that it had need of and had to wait for the next one.
            jobs.excused += u64::from(response <= period + still || still > budget - work);
            // What was released meanwhile is not made up for.
            release = done;
        }
        release += period;
    }
    jobs
}
