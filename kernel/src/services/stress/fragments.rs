//! Mixed orders: small blocks come and go, some that can be moved and some that cannot, a few stay for good, and now and then
//! somebody needs a large block in one piece (a ring buffer, a DMA area), which there are fewer and fewer of.

use super::random::Random;
use super::{Run, STEP_NANOS};
use crate::arch::time::uptime_nanos;
use crate::memory::vmalloc::Movable;
use crate::memory::{OutOfMemory, frames, shortage};
use crate::tasks::{self, Task};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mm::{Block, FRAME_SIZE, MigrateType, PAGEBLOCK_ORDER};

/// Orders of the small blocks, one as likely as another.
const ORDERS: [usize; 10] = [0, 0, 0, 1, 1, 2, 2, 3, 3, 4];

/// An unmovable block that its holder's end frees.
struct Unmovable {
    block: Block,
    holder: Arc<Task>,
}

impl Unmovable {
    fn new(order: usize) -> Result<Self, OutOfMemory> {
        let block = shortage::alloc(order, MigrateType::Unmovable)?;
        let holder = tasks::current();
        holder.hold(block.bytes());
        Ok(Self { block, holder })
    }
}

impl Drop for Unmovable {
    fn drop(&mut self) {
        self.holder.release(self.block.bytes());
        match self.block.order {
            0 => frames::free_frame(self.block.pfn, MigrateType::Unmovable),
            _ => frames::free(self.block),
        }
    }
}

/// What keeps a small block; dropped to free it.
#[allow(dead_code, reason = "held for their Drop")]
enum Keeper {
    Block(Unmovable),
    Pages(Movable),
}

struct Small {
    bytes: u64,
    _keeper: Keeper,
}

impl Small {
    fn new(movable: bool, order: usize) -> Result<Self, OutOfMemory> {
        let bytes = FRAME_SIZE << order;
        let keeper =
            if movable { Keeper::Pages(Movable::new(bytes)?) } else { Keeper::Block(Unmovable::new(order)?) };
        Ok(Self { bytes, _keeper: keeper })
    }
}

struct Mix {
    /// Bytes that it works towards.
    target: f64,
    /// Seconds until it is there.
    fill: f64,
    /// The part of it that is given back and taken again, and the seconds that this takes. What is given back lies
    /// here and there.
    swing: f64,
    period: f64,
    /// Share of the small blocks that may be moved.
    movable: f64,
    /// Share of the small blocks that are given back in a second.
    churn: f64,
    /// Share of them that never are.
    kept: f64,
    large_order: usize,
    large_seconds: f64,
    /// Large blocks that are held at once.
    large_most: usize,
}

impl Mix {
    fn drawn(room: f64, random: &mut Random) -> Self {
        Self {
            target: room * random.between(0.6, 0.97),
            fill: random.log_between(4.0, 40.0),
            swing: random.between(0.0, 0.6),
            period: random.log_between(8.0, 40.0),
            // Drivers' buffers, or mostly the pages of programs.
            movable: if random.chance(0.5) { random.between(0.0, 0.1) } else { random.between(0.3, 0.8) },
            churn: random.between(0.05, 0.3),
            kept: random.between(0.0, 0.03),
            large_order: 5 + random.below(5),
            large_seconds: random.log_between(0.5, 6.0),
            large_most: if random.chance(0.4) { 8 } else { 0 },
        }
    }
}

pub(super) fn fragments(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let room = run.room as f64;
    let plain = Mix {
        target: room * 0.8,
        fill: 30.0,
        swing: 0.0,
        period: 1.0,
        movable: 0.0,
        churn: 0.2,
        kept: 0.01,
        large_order: PAGEBLOCK_ORDER,
        large_seconds: 0.25,
        large_most: 8,
    };
    let mut random = seed.clone().unwrap_or_else(|| Random::new(uptime_nanos()));
    let mix = if seed.is_some() { Mix::drawn(room, &mut random) } else { plain };
    let (mut small, mut kept, mut large) = (Vec::<Small>::new(), Vec::<Small>::new(), Vec::new());
    let (mut bytes, mut pace) = (0, run.pace());
    let mut next_large = random.between(0.0, 3.0);
    while run.goes_on() {
        let tick = pace.tick();
        let after = (tick.seconds - mix.fill).max(0.0) / mix.period;
        let ebb = mix.swing * (0.5 - 0.5 * libm::cos(core::f64::consts::TAU * after));
        let target = mix.target * (tick.seconds / mix.fill).min(1.0) * (1.0 - ebb);
        let churned = random.count(small.len() as f64 * mix.churn * tick.step);
        for turn in 0..small.len() {
            if turn >= churned && bytes as f64 <= target {
                break;
            }
            let one = small.swap_remove(random.below(small.len()));
            bytes -= one.bytes;
        }
        // Looked at for each block: finding one may take long when memory is short.
        while (bytes as f64) < target && run.goes_on() {
            let order = ORDERS[random.below(ORDERS.len())];
            let one = Small::new(random.chance(mix.movable), order).map_err(|error| run.refused(error))?;
            bytes += one.bytes;
            if random.chance(mix.kept) { kept.push(one) } else { small.push(one) }
        }
        if tick.seconds >= next_large && run.goes_on() {
            next_large = tick.seconds + mix.large_seconds;
            large.push(Unmovable::new(mix.large_order).map_err(|error| run.refused(error))?);
            if large.len() > mix.large_most {
                large.remove(0);
            }
        }
        run.holds(bytes + large.iter().map(|one| one.block.bytes()).sum::<u64>());
        tasks::sleep_nanos(STEP_NANOS);
    }
    Ok(())
}
