//! Workloads that hold movable memory up to a level which changes with time.

use super::{Run, STEP_NANOS};
use crate::memory::OutOfMemory;
use crate::memory::vmalloc::Movable;
use crate::services::selftests::random::Random;
use crate::tasks;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Memory is taken and given back in pieces of this size.
const PIECE: u64 = 256 << 10;
/// A leak takes all memory in this many seconds.
const LEAK_SECONDS: f64 = 32.0;
/// A plateau is reached after this many seconds.
const RISE_SECONDS: f64 = 14.0;

pub(super) fn leak(run: &Arc<Run>, _random: Random) -> Result<(), OutOfMemory> {
    follow(run, |seconds| seconds / LEAK_SECONDS)
}

pub(super) fn plateau(run: &Arc<Run>, _random: Random) -> Result<(), OutOfMemory> {
    follow(run, |seconds| 0.875 * (seconds / RISE_SECONDS).min(1.0))
}

pub(super) fn sawtooth(run: &Arc<Run>, _random: Random) -> Result<(), OutOfMemory> {
    // Ten seconds up, then everything at once.
    follow(run, |seconds| 0.66 * (seconds % 10.0) / 10.0)
}

pub(super) fn burst(run: &Arc<Run>, mut random: Random) -> Result<(), OutOfMemory> {
    let (mut job, mut share) = (0, 0.0);
    follow(run, |seconds| {
        // A job of five seconds needs up to 110 % of what is free, and grows to that in two.
        let (number, age) = ((seconds / 5.0) as u64 + 1, seconds % 5.0);
        if number != job {
            (job, share) = (number, random.below(110) as f64 / 100.0);
        }
        share * (age / 2.0).min(1.0)
    })
}

/// Holds `level(seconds)` of the room that there was at the start.
fn follow(run: &Run, mut level: impl FnMut(f64) -> f64) -> Result<(), OutOfMemory> {
    let mut pieces: Vec<Movable> = Vec::new();
    while run.goes_on() {
        let wanted = (level(run.seconds()).max(0.0) * run.room as f64) as u64 / PIECE;
        while (pieces.len() as u64) < wanted && run.goes_on() {
            let mut piece = Movable::new(PIECE).map_err(|error| run.refused(error))?;
            piece.as_mut_slice().iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            pieces.push(piece);
            run.holds(pieces.len() as u64 * PIECE);
        }
        pieces.truncate(wanted as usize);
        run.holds(pieces.len() as u64 * PIECE);
        tasks::sleep_nanos(STEP_NANOS);
    }
    Ok(())
}
