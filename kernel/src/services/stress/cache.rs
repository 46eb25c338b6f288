//! A cache that only grows by itself, and that reclaim shrinks.

use super::{Run, STEP_NANOS};
use crate::memory::OutOfMemory;
use crate::memory::shortage;
use crate::memory::vmalloc::Movable;
use crate::services::selftests::random::Random;
use crate::sync::IrqMutex;
use crate::tasks;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use mm::reclaim::Shrinker;

const PIECE: u64 = 256 << 10;
/// All memory is filled in this many seconds.
const FILL_SECONDS: f64 = 20.0;

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

pub(super) fn cache(run: &Arc<Run>, _random: Random) -> Result<(), OutOfMemory> {
    let mut filled = 0;
    let result = loop {
        if !run.goes_on() {
            break Ok(());
        }
        let wanted = (run.seconds() / FILL_SECONDS * run.room as f64) as u64 / PIECE;
        if filled < wanted {
            filled += 1;
            match Movable::new(PIECE) {
                Ok(piece) => CACHE.0.lock().push_back(piece),
                Err(error) => break Err(run.refused(error)),
            }
            run.holds(CACHE.count());
        } else {
            tasks::sleep_nanos(STEP_NANOS);
        }
    };
    CACHE.shrink(u64::MAX);
    result
}
