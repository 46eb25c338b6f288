//! Memory that follows a level which changes with time: what most families are.

use super::random::Random;
use super::{Run, STEP_NANOS, Tick};
use crate::memory::OutOfMemory;
use crate::memory::vmalloc::Movable;
use crate::tasks;
use alloc::vec::Vec;

/// Memory is taken and given back in pieces of this size.
pub const PIECE: u64 = 128 << 10;

/// Pieces of movable memory.
#[derive(Default)]
pub struct Pieces(Vec<Movable>);

impl Pieces {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64 * PIECE
    }

    /// Grows or shrinks to `bytes`; stops growing when the run is over.
    pub fn set(&mut self, run: &Run, bytes: f64) -> Result<(), OutOfMemory> {
        let wanted = bytes.max(0.0) as u64 / PIECE;
        while (self.0.len() as u64) < wanted && run.goes_on() {
            self.grow(run)?;
        }
        self.0.truncate(wanted as usize);
        run.holds(self.bytes());
        Ok(())
    }

    /// Gives `bytes` back, here and there, and takes them again.
    pub fn churn(&mut self, run: &Run, bytes: f64, random: &mut Random) -> Result<(), OutOfMemory> {
        let n = random.count(bytes / PIECE as f64).min(self.0.len());
        for _ in 0..n {
            let at = random.below(self.0.len());
            drop(self.0.swap_remove(at));
        }
        (0..n).try_for_each(|_| self.grow(run))
    }

    fn grow(&mut self, run: &Run) -> Result<(), OutOfMemory> {
        let listed = self.0.try_reserve(1).map_err(|_| OutOfMemory { bytes: PIECE });
        let mut piece = listed.and_then(|()| Movable::new(PIECE)).map_err(|error| run.refused(error))?;
        piece.as_mut_slice().iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        self.0.push(piece);
        run.holds(self.bytes());
        Ok(())
    }
}

/// Holds `level` bytes, asked for at every step, and churns `churn` bytes a second.
pub fn follow(
    run: &Run,
    churn: f64,
    mut random: Random,
    mut level: impl FnMut(&Tick) -> f64,
) -> Result<(), OutOfMemory> {
    let (mut pieces, mut pace) = (Pieces::default(), run.pace());
    while run.goes_on() {
        let tick = pace.tick();
        pieces.set(run, level(&tick))?;
        pieces.churn(run, churn * tick.step, &mut random)?;
        tasks::sleep_nanos(STEP_NANOS);
    }
    Ok(())
}
