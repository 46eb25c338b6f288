//! A working set that grows to its size and stays, in a straight line or slower and slower. Drawn as the host's `plateau`: never
//! more than 85 % of what is there, after 0.15 s to 3 s.

use super::level::follow;
use super::random::Random;
use super::{MIB, Run};
use crate::memory::OutOfMemory;
use alloc::sync::Arc;

pub(super) fn plateau(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let (size, ramp, slowing, churn, random) = match seed {
        Some(mut random) => {
            let size = run.usable() * random.between(0.3, 0.85);
            let (ramp, slowing) = (random.log_between(0.15, 3.0), random.chance(0.5));
            (size, ramp, slowing, random.between(0.0, 12.0 * MIB), random)
        }
        None => (run.room as f64 * 0.875, 14.0, false, 0.0, Random::new(0)),
    };
    follow(run, churn, random, |tick| {
        let x = tick.seconds / ramp;
        size * if slowing { 1.0 - libm::exp(-3.0 * x) } else { x.min(1.0) }
    })
}
