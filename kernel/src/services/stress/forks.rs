//! Threads that come faster than they go.

use super::{Run, STEP_NANOS};
use crate::memory::OutOfMemory;
use crate::memory::vmalloc::Movable;
use crate::services::selftests::random::Random;
use crate::tasks::{self, JoinHandle, Options};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// What each thread holds: this and up to as much again.
const LEAST: u64 = 256 << 10;

pub(super) fn forks(run: &Arc<Run>, mut random: Random) -> Result<(), OutOfMemory> {
    let mut children: Vec<JoinHandle<Result<(), OutOfMemory>>> = Vec::new();
    let mut rate = 1;
    let mut result = Ok(());
    // One that was ended for lack of memory ends the storm.
    while result.is_ok() && run.goes_on() && run.ooms() == 0 {
        for _ in 0..rate {
            let (shared, bytes) = (run.clone(), LEAST + random.below(LEAST));
            let options = Options { killable: true, ..Options::default() };
            let child = tasks::spawn("fork", options, move || {
                let _held = Movable::new(bytes).map_err(|error| shared.refused(error))?;
                while shared.goes_on() {
                    tasks::sleep_nanos(4 * STEP_NANOS);
                }
                Ok(())
            });
            match child {
                Ok(child) => children.push(child),
                // No more threads: they stay as they are until the time is over.
                Err(tasks::SpawnError::OutOfMemory(error)) => result = Err(run.refused(error)),
                Err(_) => break,
            }
        }
        rate += u64::from(random.below(20) == 0);
        run.holds(children.len() as u64 * (LEAST + LEAST / 2));
        tasks::sleep_nanos(STEP_NANOS);
    }
    run.stop.store(true, Ordering::Release);
    children.into_iter().for_each(|child| {
        let _ = child.join();
    });
    result
}
