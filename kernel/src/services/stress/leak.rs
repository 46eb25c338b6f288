//! A task that forgets to free: steady, in gusts, or ever faster, until it is ended. Drawn as the host's `leak`: memory would
//! last 8 s to 200 s, so that in a run of a minute about half of them come to no harm.

use super::level::follow;
use super::random::Random;
use super::{MIB, Run};
use crate::memory::OutOfMemory;
use alloc::sync::Arc;

struct Leak {
    /// Bytes a second at the start.
    rate: f64,
    /// What the rate grows by in a second.
    growth: f64,
    /// How far the rate of a step may be from the mean, as a share of it.
    gusts: f64,
    /// Bytes a second of ordinary work beside it.
    churn: f64,
}

impl Leak {
    fn drawn(room: f64, random: &mut Random) -> Self {
        Self {
            rate: room / random.log_between(8.0, 200.0),
            growth: if random.chance(0.3) { random.between(0.005, 0.04) } else { 0.0 },
            gusts: random.between(0.0, 0.8),
            churn: MIB,
        }
    }
}

pub(super) fn leak(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let room = run.room as f64;
    // Without a seed it takes all memory in 32 s.
    let steady = Leak { rate: room / 32.0, growth: 0.0, gusts: 0.0, churn: 0.0 };
    let mut random = seed.clone().unwrap_or_else(|| Random::new(0));
    let leak = if seed.is_some() { Leak::drawn(room, &mut random) } else { steady };
    let churn = random.clone();
    let (mut size, mut rate) = (0.0, leak.rate);
    follow(run, leak.churn, churn, |tick| {
        size += rate * tick.step * (1.0 + leak.gusts * random.between(-1.0, 1.0));
        rate *= 1.0 + leak.growth * tick.step;
        size
    })
}
