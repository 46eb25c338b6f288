//! Blocks that cannot be moved, all over memory.

use super::{Run, STEP_NANOS};
use crate::memory::{OutOfMemory, frames, shortage};
use crate::services::selftests::random::Random;
use crate::tasks::{self, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mm::{Block, MigrateType, PAGEBLOCK_ORDER};

/// Blocks taken in a step.
const AT_ONCE: u64 = 96;

/// An unmovable block that its holder's end frees.
struct Held {
    block: Block,
    holder: Arc<Task>,
}

impl Held {
    fn new(order: usize) -> Result<Self, OutOfMemory> {
        let block = shortage::alloc(order, MigrateType::Unmovable)?;
        let holder = tasks::current();
        holder.hold(block.bytes());
        Ok(Self { block, holder })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holder.release(self.block.bytes());
        match self.block.order {
            0 => frames::free_frame(self.block.pfn, MigrateType::Unmovable),
            _ => frames::free(self.block),
        }
    }
}

/// Takes blocks of mixed orders and gives a third of them back, at random; now and then it needs a large block, which
/// there are fewer and fewer of.
pub(super) fn fragments(run: &Arc<Run>, mut random: Random) -> Result<(), OutOfMemory> {
    let mut held: Vec<Held> = Vec::new();
    let mut bytes = 0;
    let mut large: Vec<Held> = Vec::new();
    while run.goes_on() {
        for _ in 0..AT_ONCE {
            if bytes < run.room / 5 * 4 {
                let one = Held::new(random.below(5) as usize).map_err(|error| run.refused(error))?;
                bytes += one.block.bytes();
                held.push(one);
            }
            if random.below(3) == 0 && !held.is_empty() {
                let one = held.swap_remove(random.below(held.len() as u64) as usize);
                bytes -= one.block.bytes();
            }
        }
        if random.below(4) == 0 {
            large.push(Held::new(PAGEBLOCK_ORDER).map_err(|error| run.refused(error))?);
            if large.len() > 8 {
                large.remove(0);
            }
        }
        run.holds(bytes + large.iter().map(|one| one.block.bytes()).sum::<u64>());
        tasks::sleep_nanos(STEP_NANOS);
    }
    Ok(())
}
