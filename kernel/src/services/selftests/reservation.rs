//! A reservation against threads that want the same CPU.

use super::Outcome;
use crate::arch::{percpu, time};
use crate::tasks::{self, Options};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use sched::{Class, Reservation};

/// 30 % of one CPU.
const RESERVED: Reservation = Reservation { budget: 6_000_000, period: 20_000_000 };
/// Fair threads on the same CPU. Without its reservation the thread would get a quarter.
const HOGS: usize = 3;
const LENGTH_NANOS: u64 = 2_000_000_000;
/// Shares that pass, in thousandths: room for a host that takes the emulated CPU away, but not for a fair share.
const PASSES: core::ops::RangeInclusive<u64> = 270..=330;

/// A reserved thread gets its share of a crowded CPU, and no more; a reservation that does not fit is refused.
pub fn reservation() -> Outcome {
    let cpu = percpu::count() - 1;
    let stop = Arc::new(AtomicBool::new(false));
    let start = time::uptime_nanos();
    let spin = |options: Options| {
        let stop = stop.clone();
        tasks::spawn("reserved/fair", options, move || {
            while !stop.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
            tasks::run_nanos()
        })
    };
    let reserved = spin(Options { class: Class::Reserved(RESERVED), ..Options::on_cpu(cpu) });
    let hogs: Vec<_> = (0..HOGS).map(|_| spin(Options::on_cpu(cpu))).collect();
    let greedy = Reservation { budget: 19_000_000, period: 20_000_000 };
    let refused = spin(Options { class: Class::Reserved(greedy), ..Options::on_cpu(cpu) });
    tasks::sleep_nanos(LENGTH_NANOS);
    stop.store(true, Ordering::Relaxed);
    let ran = reserved.map_err(|error| error.to_string())?.join();
    let elapsed = time::uptime_nanos() - start;
    for hog in hogs.into_iter().flatten() {
        hog.join();
    }
    let refusal = match refused {
        Ok(thread) => {
            thread.join();
            return Err("95 % were reserved beside 30 % of the same CPU".to_string());
        }
        Err(error) => error.to_string(),
    };
    let share = ran * 1000 / elapsed.max(1);
    let line = alloc::format!(
        "{}.{} % of CPU {cpu} beside {HOGS} fair threads, 30 % reserved; refused: {refusal}",
        share / 10,
        share % 10
    );
    if PASSES.contains(&share) { Ok(line) } else { Err(line) }
}
