//! `cargo xtask bench crash`: what an update of the predictor costs on this host.
//!
//! An update comes ten times a second, and between two of them a machine does other things. So it is timed twice: one after the other,
//! and after the caches have been filled with something else.

use super::host::{self, Arm};
use crate::machine_report::host as machine;
use ai_insights::crash_predictor::{FITTED, Predictor, Sample, Tree};
use std::hint::black_box;
use std::time::Instant;

/// Larger than the caches of most machines, in bytes.
const ELSEWHERE: usize = 64 << 20;
const COLD_UPDATES: usize = 100;
const ROUNDS: usize = 20;

/// Prints the times.
pub fn bench() {
    println!("machine  {}", machine());
    println!(
        "predictor {} bytes, {} trees of {} bytes; native, one thread, the clock's own time taken off\n",
        size_of::<Predictor>(),
        FITTED.trees.len(),
        size_of::<Tree>()
    );
    let run = host::simulate("leak", 1, Arm::Control).run;
    println!("{:<44} {:>8} {:>8} {:>8}", "ns per update", "median", "99 %", "most");
    let mut hot = Vec::new();
    for _ in 0..ROUNDS {
        let mut predictor = Predictor::new();
        hot.extend(run.samples.iter().map(|sample| timed(|| predictor.sample(*sample))));
    }
    row(&format!("one after the other ({} samples of a leak)", run.samples.len()), &mut hot);
    let mut elsewhere = vec![0u8; ELSEWHERE];
    let mut cold = Vec::new();
    let mut predictor = Predictor::new();
    for sample in run.samples.iter().take(COLD_UPDATES) {
        elsewhere.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&elsewhere);
        cold.push(timed(|| predictor.sample(*sample)));
    }
    row(&format!("after {} MiB elsewhere", ELSEWHERE >> 20), &mut cold);
    let mut reference = Vec::new();
    for _ in 0..ROUNDS {
        reference.extend(run.samples.iter().map(|sample| timed(|| below_a_tenth(sample))));
    }
    row("for comparison: is a tenth free?", &mut reference);
    println!("\nIn the kernel: `crashctl stats`, and `cargo xtask eval crash --only-guest`.");
}

/// earlyoom's rule.
fn below_a_tenth(sample: &Sample) -> bool {
    (sample.free_pages + sample.reclaimable_pages) * 10 < sample.total_pages
}

fn timed<T>(work: impl FnOnce() -> T) -> u64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_nanos() as u64
}

fn row(name: &str, times: &mut [u64]) {
    let mut clock: Vec<u64> = (0..1000).map(|_| timed(|| ())).collect();
    clock.sort_unstable();
    times.sort_unstable();
    let idle = clock.get(clock.len() / 2).copied().unwrap_or(0);
    let at = |part: usize| times.get((times.len() - 1) * part / 100).map_or(0, |t| t.saturating_sub(idle));
    println!("{name:<44} {:>8} {:>8} {:>8}", at(50), at(99), at(100));
}
