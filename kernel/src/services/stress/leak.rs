//! A task that forgets to free: steady, in gusts, with pauses, or ever faster. Some are noticed and stop.

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
    /// How far the rate of a second may be from the mean, as a share of it.
    gusts: f64,
    /// Seconds of leaking, and of rest after it.
    spell: f64,
    rest: f64,
    /// Where it is stopped.
    most: f64,
    /// Bytes a second of ordinary work beside it.
    churn: f64,
}

impl Leak {
    fn drawn(room: f64, random: &mut Random) -> Self {
        let fill_seconds = random.log_between(8.0, 100.0);
        let mut leak = Self {
            rate: room / fill_seconds,
            growth: if random.chance(0.3) { random.between(0.005, 0.04) } else { 0.0 },
            gusts: random.between(0.0, 0.8),
            spell: f64::INFINITY,
            rest: 0.0,
            most: room * random.between(0.5, 2.0),
            churn: random.between(0.0, MIB),
        };
        if random.chance(0.25) {
            leak.spell = random.log_between(1.0, 10.0);
            leak.rest = leak.spell * random.between(0.1, 1.0);
        }
        leak
    }
}

pub(super) fn leak(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let room = run.room as f64;
    // Without a seed it takes all memory in 32 s.
    let steady = Leak {
        rate: room / 32.0,
        growth: 0.0,
        gusts: 0.0,
        spell: f64::INFINITY,
        rest: 0.0,
        most: f64::INFINITY,
        churn: 0.0,
    };
    let mut random = seed.clone().unwrap_or_else(|| Random::new(0));
    let leak = if seed.is_some() { Leak::drawn(room, &mut random) } else { steady };
    let churn = random.clone();
    let (mut size, mut rate, mut second, mut gust) = (0.0, leak.rate, f64::NAN, 1.0);
    follow(run, leak.churn, churn, |tick| {
        let number = libm::floor(tick.seconds);
        if number != second {
            (second, gust) = (number, 1.0 + leak.gusts * random.between(-1.0, 1.0));
        }
        if tick.seconds % (leak.spell + leak.rest) < leak.spell {
            size = f64::min(size + rate * gust * tick.step, leak.most);
        }
        rate *= 1.0 + leak.growth * tick.step;
        size
    })
}
