//! A garbage-collected heap: grows to its limit, is collected, grows again. Drawn as the host's `sawtooth`: never more than 80 %
//! of what is there, and 0.15 s to 3 s from nothing to the limit, or as long as the machine needs.

use super::Run;
use super::level::follow;
use super::random::Random;
use crate::memory::OutOfMemory;
use alloc::sync::Arc;

pub(super) fn sawtooth(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let Some(mut random) = seed else {
        let room = run.room as f64;
        // Ten seconds up, then everything at once.
        return follow(run, 0.0, Random::new(0), |tick| room * 0.66 * (tick.seconds % 10.0) / 10.0);
    };
    // A heap's limit is set well below the memory.
    let high = run.usable() * random.between(0.25, 0.8);
    let low = high * random.between(0.1, 0.8);
    let rate = high / random.log_between(0.15, 3.0);
    let jitter = random.between(0.0, 0.3);
    let (mut size, mut limit) = (0.0, high);
    follow(run, 0.0, Random::new(0), |tick| {
        if size >= limit {
            size = low;
            limit = high * (1.0 - jitter * random.between(0.0, 1.0));
        }
        // A step may be long: the limit is reached before it is collected.
        size = f64::min(size + rate * tick.step * random.between(0.5, 1.5), limit.max(low));
        size
    })
}
