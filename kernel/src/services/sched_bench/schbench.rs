//! The pattern of schbench (Chris Mason): on each CPU a messenger wakes its workers again and again, each of which handles a request and
//! waits for the next. More workers than CPUs, sizes nearly alike: what differs between policies is how soon a woken thread runs.

use super::channel::Channel;
use super::draw::{Draw, nanos};
use super::run::Run;
use crate::arch::percpu;
use crate::arch::time::uptime_nanos;
use crate::tasks::Options;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

const WORKERS: usize = 4;
/// Median of a request's CPU time, and the spread of its logarithm.
const REQUEST: (f64, f64) = (1e6, 0.1);
/// What the messenger computes for each round, and the pause after it.
const ROUND: u64 = 100_000;
const PAUSE: u64 = 6_000_000;

/// In one line.
pub fn summary() -> String {
    format!("a messenger and {WORKERS} workers for each CPU, requests of 1 ms every {} ms", PAUSE / 1_000_000)
}

/// Starts everything.
pub fn start(run: &Arc<Run>, seed: u64) -> Result<(), String> {
    for cpu in 0..percpu::count() {
        let requests = Channel::new(WORKERS)?;
        for worker in 0..WORKERS {
            let requests = requests.clone();
            let mut draw = Draw::new(seed.wrapping_mul(1000) + (cpu * WORKERS + worker) as u64);
            run.spawn("schbench/worker", Options::default(), move |run| {
                while let Some(sent) = requests.receive() {
                    let size = nanos(draw.around(REQUEST.0, REQUEST.1));
                    if !run.goes_on() || !run.burst(sent, size, false) {
                        break;
                    }
                }
                requests.close();
            })?;
        }
        run.spawn("schbench/messenger", Options::default(), move |run| {
            let mut release = run.start;
            // A full channel keeps the messenger from running ahead; a closed one says that a worker has left.
            while run.sleep_until(release)
                && run.burst(release, ROUND, false)
                && (0..WORKERS).all(|_| requests.send())
            {
                release = uptime_nanos() + PAUSE;
            }
            requests.close();
        })?;
    }
    Ok(())
}
