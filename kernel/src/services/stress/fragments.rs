//! Mixed orders: small blocks come and go, some that can be moved and some that cannot, a few are never found again, and now
//! and then somebody needs a large block in one piece (a ring buffer, a DMA area). Drawn as the host's `fragmentation`.

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
const ORDERS: [usize; 10] = [0, 0, 0, 0, 0, 1, 1, 2, 2, 3];

/// An unmovable block that its holder's end frees.
struct Unmovable {
    block: Block,
    holder: Arc<Task>,
}

impl Unmovable {
    fn new(order: usize) -> Result<Self, OutOfMemory> {
        Ok(Self::of(shortage::alloc(order, MigrateType::Unmovable)?))
    }

    /// One that does not wait for memory.
    fn now(order: usize) -> Option<Self> {
        frames::alloc(order, MigrateType::Unmovable).ok().map(Self::of)
    }

    fn of(block: Block) -> Self {
        let holder = tasks::current();
        holder.hold(block.bytes());
        Self { block, holder }
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

/// Blocks in a part of [`Blocks`].
const PART: usize = 64;

/// Many small blocks, listed in parts: a list in one piece would be a large block itself, of which there may be none.
#[derive(Default)]
struct Blocks(Vec<Vec<Small>>);

impl Blocks {
    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PART + last.len())
    }

    fn push(&mut self, one: Small) {
        if self.0.last().is_none_or(|last| last.len() == PART) {
            self.0.push(Vec::with_capacity(PART));
        }
        if let Some(last) = self.0.last_mut() {
            last.push(one);
        }
    }

    /// Takes one out; the last one gets its place.
    fn take(&mut self, at: usize) -> Option<Small> {
        let part = self.0.last_mut()?;
        let last = part.pop()?;
        if part.is_empty() {
            self.0.pop();
        }
        match self.0.get_mut(at / PART).and_then(|part| part.get_mut(at % PART)) {
            Some(place) => Some(core::mem::replace(place, last)),
            None => Some(last),
        }
    }
}

struct Mix {
    /// Bytes that it works towards.
    target: f64,
    /// Seconds until it is there.
    fill: f64,
    /// Share of the small blocks that may be moved.
    movable: f64,
    /// Share of the small blocks that are given back in a second.
    churn: f64,
    /// Share of them that leak: they are never given back, nor counted among what the workload holds.
    leaked: f64,
    large_order: usize,
    large_seconds: f64,
    /// Large blocks that are held at once.
    large_most: usize,
    /// Share of the requests for large blocks that do not wait, and may be refused.
    atomic: f64,
}

impl Mix {
    fn drawn(room: f64, random: &mut Random) -> Self {
        Self {
            target: room * random.between(0.3, 0.85),
            fill: random.log_between(0.15, 3.0),
            movable: random.between(0.2, 0.8),
            churn: 0.5,
            leaked: random.between(-0.03, 0.03).max(0.0),
            large_order: 4 + random.below(5),
            large_seconds: random.log_between(0.5, 6.0),
            large_most: if random.chance(0.4) { 8 } else { 0 },
            atomic: random.between(-0.5, 0.5).max(0.0),
        }
    }
}

pub(super) fn fragments(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let room = run.room as f64;
    let plain = Mix {
        target: room * 0.8,
        fill: 30.0,
        movable: 0.0,
        churn: 0.2,
        leaked: 0.01,
        large_order: PAGEBLOCK_ORDER,
        large_seconds: 0.25,
        large_most: 8,
        atomic: 0.0,
    };
    let mut random = seed.clone().unwrap_or_else(|| Random::new(uptime_nanos()));
    let mix = if seed.is_some() { Mix::drawn(room, &mut random) } else { plain };
    let (mut small, mut leaked, mut large) = (Blocks::default(), Blocks::default(), Vec::new());
    let (mut bytes, mut lost, mut pace) = (0, 0, run.pace());
    let mut next_large = random.between(0.0, 3.0);
    while run.goes_on() {
        let tick = pace.tick();
        let target = mix.target * (tick.seconds / mix.fill).min(1.0);
        let churned = random.count(small.len() as f64 * mix.churn * tick.step);
        for _ in 0..churned.min(small.len()) {
            let one = small.take(random.below(small.len()));
            bytes -= one.map_or(0, |one| one.bytes);
        }
        // Looked at for each block: finding one may take long when memory is short.
        while (bytes as f64) < target && run.goes_on() {
            let order = ORDERS[random.below(ORDERS.len())];
            let one = Small::new(random.chance(mix.movable), order).map_err(|error| run.refused(error))?;
            if random.chance(mix.leaked) {
                lost += one.bytes;
                leaked.push(one);
            } else {
                bytes += one.bytes;
                small.push(one);
            }
        }
        if tick.seconds >= next_large && run.goes_on() {
            next_large = tick.seconds + mix.large_seconds;
            large.extend(match random.chance(mix.atomic) {
                true => Unmovable::now(mix.large_order),
                false => Some(Unmovable::new(mix.large_order).map_err(|error| run.refused(error))?),
            });
            if large.len() > mix.large_most {
                large.remove(0);
            }
        }
        run.holds(bytes + lost + large.iter().map(|one| one.block.bytes()).sum::<u64>());
        tasks::sleep_nanos(STEP_NANOS);
    }
    Ok(())
}
