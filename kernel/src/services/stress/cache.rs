//! A cache of files that reclaim can shrink: what a workload finds when it begins, and a family of its own, drawn as the
//! host's `cache-growth`.

use super::level::Pieces;
use super::random::Random;
use super::{Run, STEP_NANOS};
use crate::memory::OutOfMemory;
use crate::memory::vmalloc::Movable;
use crate::memory::{frames, shortage};
use crate::sync::IrqMutex;
use crate::tasks;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use mm::Pressure;
use mm::reclaim::Shrinker;

const PIECE: u64 = 128 << 10;

struct Cache(IrqMutex<VecDeque<Movable>>);

static CACHE: Cache = Cache(IrqMutex::new(VecDeque::new()));

impl Shrinker for Cache {
    fn name(&self) -> &'static str {
        "stress cache"
    }

    fn count(&self) -> u64 {
        self.0.lock().len() as u64 * PIECE
    }

    fn shrink(&self, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes {
            // Dropped after the lock is let go: giving memory back waits for other CPUs.
            let oldest = self.0.lock().pop_front();
            let Some(oldest) = oldest else { break };
            drop(oldest);
            freed += PIECE;
        }
        freed
    }
}

pub(super) fn register() {
    shortage::register(&CACHE);
}

/// Reads a piece. Where memory is short the oldest makes room: reading ahead starves nobody.
fn read() -> Result<(), OutOfMemory> {
    if frames::pressure() != Pressure::None && CACHE.shrink(PIECE) == 0 {
        return Ok(());
    }
    let piece = Movable::new(PIECE)?;
    // The list cannot wait for memory under its lock, which is let go before a piece that found no room is dropped.
    let mut list = CACHE.0.lock();
    list.try_reserve(1).map_err(|_| OutOfMemory { bytes: PIECE })?;
    list.push_back(piece);
    Ok(())
}

/// Reads `bytes` of files.
pub(super) fn fill(bytes: f64) -> Result<(), OutOfMemory> {
    (0..bytes.max(0.0) as u64 / PIECE).try_for_each(|_| read())
}

/// Empties it.
pub(super) fn clear() {
    CACHE.shrink(u64::MAX);
}

/// A program beside the files that are read.
struct Beside {
    base: f64,
    swing: f64,
    period: f64,
    /// Bytes a second: some programs also grow.
    drift: f64,
}

impl Beside {
    fn drawn(room: f64, random: &mut Random) -> Self {
        Self {
            base: room * random.between(0.1, 0.5),
            swing: room * random.between(0.0, 0.25),
            period: random.log_between(3.0, 40.0),
            drift: if random.chance(0.5) { room / random.log_between(30.0, 200.0) } else { 0.0 },
        }
    }

    fn holds(&self, seconds: f64) -> f64 {
        let wave = 0.5 - 0.5 * libm::cos(core::f64::consts::TAU * seconds / self.period);
        (seconds / 2.0).min(1.0) * self.base + self.swing * wave + self.drift * seconds
    }
}

/// Files are read without end; beside it a program that works.
pub(super) fn cache(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let room = run.room as f64;
    let (reading, beside) = match seed {
        Some(mut random) => (room / random.log_between(3.0, 60.0), Some(Beside::drawn(room, &mut random))),
        // Without a seed memory is filled in 20 s, and nothing else happens.
        None => (room / 20.0, None),
    };
    let (mut pieces, mut pace, mut unread) = (Pieces::default(), run.pace(), 0.0);
    while run.goes_on() {
        let tick = pace.tick();
        unread += reading * tick.step;
        while unread >= PIECE as f64 && run.goes_on() {
            read().map_err(|error| run.refused(error))?;
            unread -= PIECE as f64;
        }
        match &beside {
            Some(beside) => pieces.set(run, beside.holds(tick.seconds))?,
            None => run.holds(CACHE.count()),
        }
        tasks::sleep_nanos(STEP_NANOS);
    }
    Ok(())
}
