//! Threads that come faster than they go, until as many come as go. Drawn as the host's `fork-storm`: the population settles at
//! what fits, or would settle above it; the threads are fewer and larger than there.

use super::random::Random;
use super::{Run, STEP_NANOS, demand};
use crate::arch::time::uptime_nanos;
use crate::memory::vmalloc::Movable;
use crate::memory::{OutOfMemory, STACK_SIZE};
use crate::tasks::{self, JoinHandle, Options};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use mm::FRAME_SIZE;

type Child = JoinHandle<Result<(), OutOfMemory>>;

struct Storm {
    /// Bytes of a thread, its stack apart.
    working_set: u64,
    /// Mean seconds of a thread's life.
    life: f64,
    /// The population that the storm works towards, as a share of what fits.
    pressure: f64,
    /// Seconds until the rate is at its height.
    ramp: f64,
}

impl Storm {
    fn drawn(random: &mut Random) -> Self {
        Self {
            working_set: (32 + random.below(224) as u64) * FRAME_SIZE,
            life: random.log_between(2.0, 30.0),
            pressure: demand(random),
            ramp: random.log_between(1.0, 40.0),
        }
    }
}

pub(super) fn forks(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let plain = Storm { working_set: 96 * FRAME_SIZE, life: 30.0, pressure: 2.0, ramp: 20.0 };
    let storm = seed.clone().map_or(plain, |mut random| Storm::drawn(&mut random));
    let mut random = seed.unwrap_or_else(|| Random::new(uptime_nanos()));
    let each = storm.working_set + STACK_SIZE;
    let rate = storm.pressure * run.room as f64 / each as f64 / storm.life;
    let (mut children, mut pace, mut due) = (Vec::<Child>::new(), run.pace(), 0.0);
    // One that was ended for lack of memory ends the storm.
    while run.goes_on() && run.ooms() == 0 {
        let tick = pace.tick();
        children.retain(|child| !child.is_finished());
        due += rate * (tick.seconds / storm.ramp).min(1.0) * tick.step;
        while due >= 1.0 && run.goes_on() {
            due -= 1.0;
            let life = -storm.life * libm::log(random.between(1e-9, 1.0));
            match fork(run, storm.working_set, life) {
                Ok(child) => children.push(child),
                Err(error) => {
                    // As `fork` does: refused now, it is tried again later.
                    if let tasks::SpawnError::OutOfMemory(error) = error {
                        run.refused(error);
                    }
                    due += 1.0;
                    break;
                }
            }
        }
        run.holds(children.len() as u64 * each);
        tasks::sleep_nanos(STEP_NANOS);
    }
    run.stop.store(true, Ordering::Release);
    children.into_iter().for_each(|child| {
        let _ = child.join();
    });
    Ok(())
}

fn fork(run: &Arc<Run>, bytes: u64, life: f64) -> Result<Child, tasks::SpawnError> {
    let run = run.clone();
    let options = Options { killable: true, ..Options::default() };
    tasks::spawn("fork", options, move || {
        let mut held = Movable::new(bytes).map_err(|error| run.refused(error))?;
        held.as_mut_slice().iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let end = uptime_nanos().saturating_add((life * 1e9) as u64);
        while run.goes_on() && uptime_nanos() < end {
            tasks::sleep_nanos((end - uptime_nanos().min(end)).min(4 * STEP_NANOS));
        }
        Ok(())
    })
}
