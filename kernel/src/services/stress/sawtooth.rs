//! A garbage-collected heap: grows to its limit, is collected, grows again. Never more than what is there.

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
    let high = run.usable() * random.between(0.25, 0.8);
    let low = high * random.between(0.1, 0.8);
    let usual_rate = (high - low) / random.log_between(1.0, 12.0);
    let jitter = random.between(0.0, 0.3);
    let churn = random.clone();
    let (mut size, mut limit, mut rate) = (0.0, high, usual_rate);
    follow(run, 0.0, churn, |tick| {
        size += rate * tick.step;
        if size >= limit {
            size = low;
            limit = high * (1.0 - jitter * random.between(0.0, 1.0));
            rate = usual_rate * random.between(0.5, 1.5);
        }
        size
    })
}
