//! Replay of a `.bursts` trace: threads that wake, compute and sleep as recorded, however long they had to wait in between.
//!
//! A trace can be passed as the boot's ramdisk (`cargo xtask run --initrd lisa.bursts.csv`). Without one, a trace of ours is drawn from
//! the seed: programs of known median sizes with log-normal spread, several threads of each.

use super::draw::{Draw, nanos};
use super::run::Run;
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::tasks::Options;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use conquer_once::spin::OnceCell;

/// What a trace begins with.
const HEAD: &str = "tid,comm,wake_us,block_us,run_us,preemptions,sleep_before_us";

const MS: f64 = 1e6;
/// The longest time that a trace may name, in microseconds: an hour.
const LONGEST: f64 = 3.6e9;
/// Programs of a drawn trace: name, median burst in ms, spread of its logarithm, part of the load that is its threads'.
const PROGRAMS: [(&str, f64, f64, f64); 9] = [
    ("kworker", 0.15, 0.6, 0.03),
    ("sh", 0.3, 0.4, 0.04),
    ("sshd", 0.5, 0.5, 0.05),
    ("nginx", 0.8, 0.3, 0.08),
    ("cron", 1.0, 0.3, 0.02),
    ("postgres", 3.0, 0.7, 0.12),
    ("python", 6.0, 0.8, 0.12),
    ("gzip", 15.0, 0.2, 0.12),
    ("rustc", 40.0, 0.5, 0.2),
];
/// Threads of each, for each CPU.
const THREADS: usize = 2;

/// The trace that the boot brought.
static GIVEN: OnceCell<&'static str> = OnceCell::uninit();

/// A thread of a trace. Times in nanoseconds.
struct Thread {
    program: String,
    /// When it wakes first, from the start of the trace.
    first: u64,
    /// Bursts, and the sleep before each but the first.
    bursts: Vec<(u64, u64)>,
}

/// Whether a file is such a trace.
pub fn is_trace(bytes: &[u8]) -> bool {
    bytes.starts_with(HEAD.as_bytes())
}

/// Keeps a trace that the boot brought.
pub fn set_given(bytes: &'static [u8]) {
    match core::str::from_utf8(bytes) {
        Ok(text) => GIVEN.init_once(|| text),
        Err(error) => log::warn!("sched: the trace in the ramdisk is not text: {error}"),
    }
}

/// In one line.
pub fn summary() -> String {
    match GIVEN.get() {
        Some(text) => {
            format!("replay of the ramdisk's trace, {} bursts", text.lines().count().saturating_sub(1))
        }
        None => format!("replay of bursts drawn for {} programs", PROGRAMS.len()),
    }
}

/// Starts everything.
pub fn start(run: &Arc<Run>, seed: u64) -> Result<(), String> {
    let threads = match GIVEN.get() {
        Some(text) => parse(text)?,
        None => drawn(seed, run.end - run.start, run.load),
    };
    for thread in threads {
        let name = thread.program.clone();
        run.spawn(&name, Options::default(), move |run| replay(run, &thread))?;
    }
    Ok(())
}

fn replay(run: &Run, thread: &Thread) {
    let mut release = run.start.saturating_add(thread.first);
    for (index, &(sleep, size)) in thread.bursts.iter().enumerate() {
        if index > 0 {
            release = uptime_nanos().saturating_add(sleep);
        }
        if !run.sleep_until(release) || !run.burst(release, size, false) {
            return;
        }
    }
}

/// A trace of ours.
fn drawn(seed: u64, length: u64, load: f64) -> Vec<Thread> {
    let mut draw = Draw::new(seed);
    let mut threads = Vec::new();
    let shares: f64 = PROGRAMS.iter().map(|(.., share)| share).sum();
    for _ in 0..percpu::count() {
        for (name, median, spread, share) in PROGRAMS {
            let share = share * load / shares;
            let mean = median * libm::exp(spread * spread / 2.0);
            let pause = mean * (THREADS as f64 / share - 1.0);
            for _ in 0..THREADS {
                let first = nanos(draw.unit() * pause * MS);
                let (mut bursts, mut time) = (Vec::new(), first);
                while time < length {
                    let (sleep, size) =
                        (nanos(draw.exponential(pause * MS)), nanos(draw.around(median, spread) * MS));
                    bursts.push((sleep, size));
                    time = time.saturating_add(sleep).saturating_add(size);
                }
                threads.push(Thread { program: name.into(), first, bursts });
            }
        }
    }
    threads
}

/// A recorded trace. A row may lack the wake-up; the thread then slept at most until it must have begun.
fn parse(text: &str) -> Result<Vec<Thread>, String> {
    let mut threads: BTreeMap<u32, (Thread, f64)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let row = row(line).ok_or_else(|| format!("line {} of the trace is not a burst", number + 1))?;
        if !row.in_range() {
            return Err(format!(
                "line {} of the trace has a time that is no number or longer than an hour",
                number + 1
            ));
        }
        let run = micros(row.run);
        match threads.get_mut(&row.thread) {
            Some((thread, blocked)) => {
                let sleep = row.sleep_before.unwrap_or(row.block - row.run - *blocked);
                thread.bursts.push((micros(sleep), run));
                *blocked = row.block;
            }
            None => {
                // "kworker/0:2" and "kworker/3:0" are one program.
                let program = row.name.split(['/', ':']).next().unwrap_or_default().into();
                let first = micros(row.wake.unwrap_or(row.block - row.run));
                threads.insert(
                    row.thread,
                    (Thread { program, first, bursts: Vec::from([(0, run)]) }, row.block),
                );
            }
        }
    }
    Ok(threads.into_values().map(|(thread, _)| thread).collect())
}

struct Row<'a> {
    thread: u32,
    name: &'a str,
    wake: Option<f64>,
    block: f64,
    run: f64,
    sleep_before: Option<f64>,
}

impl Row<'_> {
    /// Whether all its times can be added up and waited for. Text like "inf" and "nan" is read as a number.
    fn in_range(&self) -> bool {
        let times = [self.wake, Some(self.block), Some(self.run), self.sleep_before];
        // Not so of what is not a number.
        times.into_iter().flatten().all(|time| time.abs() <= LONGEST)
    }
}

fn row(line: &str) -> Option<Row<'_>> {
    // A name may contain commas: the fields are counted from both ends.
    let (thread, rest) = line.split_once(',')?;
    let mut fields = rest.rsplitn(6, ',');
    let sleep_before = fields.next()?.trim().parse().ok();
    let _preemptions = fields.next()?;
    let run = fields.next()?.trim().parse().ok()?;
    let block = fields.next()?.trim().parse().ok()?;
    let wake = fields.next()?.trim().parse().ok();
    Some(Row { thread: thread.trim().parse().ok()?, name: fields.next()?, wake, block, run, sleep_before })
}

/// Whole nanoseconds of microseconds; of what is negative, none.
fn micros(us: f64) -> u64 {
    (us.max(0.0) * 1000.0) as u64
}
