//! Small blocks kept by a CPU for itself, so that most allocations take no lock (Linux: `per_cpu_pages`).

use crate::zones::Zones;
use crate::{FreeError, MigrateType, Reserve, ZoneKind, ZonesError};

/// Blocks of order 0 up to here are cached (Linux: `PAGE_ALLOC_COSTLY_ORDER`): 32 KiB.
pub const MAX_CACHED_ORDER: usize = 3;
/// Most blocks that are moved at once.
pub const MAX_BATCH: usize = 32;
/// Most blocks of a kind, as a multiple of the batch.
const HIGH_PER_BATCH: usize = 2;
const CAPACITY: usize = MAX_BATCH * HIGH_PER_BATCH;
const STACKS: usize = MigrateType::ALL.len() * (MAX_CACHED_ORDER + 1);

/// A stack of free blocks for each migrate type and order, for one CPU.
///
/// A plain struct without a lock: the kernel keeps one per CPU and uses it with interrupts off; only [`refill`](Self::refill) and
/// [`Zones::free_drained`] need the zones' lock. The block freed last is allocated first, for it is likely still in the
/// CPU's cache. Blocks held here are allocated as far as the zones know, so compaction can't move across them: drain
/// every CPU's cache first ([`drain_all`](Self::drain_all)).
///
/// A block is freed as the order and type that it was allocated for, or to the zones at once. One that is freed wrongly is
/// found when it is drained (a double free, with debug assertions, at once).
///
/// ```
/// use mm::{CpuCache, Frame, MigrateType::Movable, Reserve, Zones};
///
/// let mut frames = vec![Frame::RESERVED; 16384];
/// let mut zones = Zones::new(&mut frames, 0);
/// zones.add_free(0, 16384)?;
/// let mut cache = CpuCache::new(zones.stats().total_frames);
///
/// let pfn = match cache.alloc(0, Movable) {
///     Some(pfn) => pfn, // the usual way: no lock
///     None => cache.refill(&mut zones, 0, Movable, Reserve::None)?,
/// };
/// if let Some(drained) = cache.free(pfn, 0, Movable) {
///     zones.free_drained(drained)?; // now and then: a batch, under the lock
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CpuCache {
    stacks: [Stack; STACKS],
    batch: usize,
    allocs: u64,
    frees: u64,
    refills: u64,
    drains: u64,
}

/// The blocks of one order and migrate type: `blocks[..len]`, by first frame, the last one freed on top.
#[derive(Clone, Copy)]
struct Stack {
    blocks: [u64; CAPACITY],
    len: usize,
    /// Most that it holds.
    high: usize,
}

/// Blocks that have left a cache and belong to the zones: give them to [`Zones::free_drained`], or they are lost.
#[must_use = "these blocks are lost unless they are given to Zones::free_drained"]
#[derive(Debug)]
pub struct Drained {
    blocks: [u64; MAX_BATCH],
    len: usize,
    order: usize,
}

impl Drained {
    /// Number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.len << self.order
    }
}

/// Counters of one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Frames held now.
    pub held: u64,
    /// Blocks of each order held now.
    pub held_blocks: [u64; MAX_CACHED_ORDER + 1],
    /// Blocks handed out since boot, those of refills included.
    pub allocs: u64,
    /// Blocks taken back since boot.
    pub frees: u64,
    /// Batches fetched from the zones.
    pub refills: u64,
    /// Batches given back to the zones.
    pub drains: u64,
}

/// Number of the stack of this order and type; `None` for an order that is not cached.
#[inline]
fn stack_of(order: usize, kind: MigrateType) -> Option<usize> {
    (order <= MAX_CACHED_ORDER).then_some(order * MigrateType::ALL.len() + kind as usize)
}

impl CpuCache {
    /// An empty cache for a machine with this many frames. The batch is a 2048th of memory, but at most
    /// [`MAX_BATCH`] frames (Linux: a 4096th, up to 64); the cache holds up to two batches of each order and type.
    #[must_use]
    pub const fn new(total_frames: u64) -> Self {
        let stacks = [Stack { blocks: [0; CAPACITY], len: 0, high: 0 }; STACKS];
        let mut cache = Self { stacks, batch: 1, allocs: 0, frees: 0, refills: 0, drains: 0 };
        cache.fit(total_frames);
        cache
    }

    /// Becomes the cache for a machine with this many frames: for one that was made before that was known.
    pub const fn fit(&mut self, total_frames: u64) {
        let share = total_frames / 2048;
        self.batch = if share > MAX_BATCH as u64 {
            MAX_BATCH
        } else if share == 0 {
            1
        } else {
            share as usize
        };
        let mut at = 0;
        while at < STACKS {
            self.stacks[at].high = HIGH_PER_BATCH * batch_of(self.batch, at / MigrateType::ALL.len());
            at += 1;
        }
    }

    /// A block from this cache: its first frame. `None` when it holds none of this order and type, and
    /// [`refill`](Self::refill) is due.
    #[inline]
    pub fn alloc(&mut self, order: usize, kind: MigrateType) -> Option<u64> {
        let stack = &mut self.stacks[stack_of(order, kind)?];
        let top = stack.len.checked_sub(1)?;
        let pfn = *stack.blocks.get(top)?;
        stack.len = top;
        self.allocs += 1;
        Some(pfn)
    }

    /// Fetches a batch from the zones and hands out one block of it. Only that one may come from below the low
    /// mark: a cache hoards nothing that others are short of. An order that is not cached is allocated by the zones.
    ///
    /// # Errors
    /// As [`Zones::alloc`].
    pub fn refill(
        &mut self,
        zones: &mut Zones<'_>,
        order: usize,
        kind: MigrateType,
        reserve: Reserve,
    ) -> Result<u64, ZonesError> {
        let stack = stack_of(order, kind).map(|at| &mut self.stacks[at]);
        let Some(stack) = stack.filter(|stack| stack.len < CAPACITY) else {
            return Ok(zones.alloc(order, kind, reserve)?.pfn);
        };
        let room = batch_of(self.batch, order).min(CAPACITY - stack.len);
        let fetched = &mut stack.blocks[stack.len..stack.len + room];
        let added = zones.alloc_batch(fetched, order, kind, reserve)?;
        // They came in ascending order for the most part, and are handed out in that order.
        fetched[..added].reverse();
        stack.len += added - 1;
        let first = stack.blocks[stack.len];
        self.refills += 1;
        self.allocs += 1;
        Ok(first)
    }

    /// Takes a block back. Every now and then the cache is full, and the blocks that were freed longest ago come
    /// out. A block of an order that is not cached comes out at once.
    #[inline]
    pub fn free(&mut self, pfn: u64, order: usize, kind: MigrateType) -> Option<Drained> {
        if let Some(at) = stack_of(order, kind) {
            let stack = &mut self.stacks[at];
            debug_assert!(
                !stack.blocks[..stack.len].contains(&pfn),
                "double free: frame {pfn} is in the cache"
            );
            if stack.len < stack.high
                && let Some(slot) = stack.blocks.get_mut(stack.len)
            {
                *slot = pfn;
                stack.len += 1;
                self.frees += 1;
                return None;
            }
        }
        Some(self.free_full(pfn, order, kind))
    }

    #[cold]
    fn free_full(&mut self, pfn: u64, order: usize, kind: MigrateType) -> Drained {
        let Some(at) = stack_of(order, kind) else {
            let mut drained = Drained { blocks: [0; MAX_BATCH], len: 1, order };
            drained.blocks[0] = pfn;
            return drained;
        };
        let drained = self.oldest(at);
        let stack = &mut self.stacks[at];
        stack.blocks[stack.len] = pfn;
        stack.len += 1;
        self.frees += 1;
        drained
    }

    /// Takes the oldest batch of one stack out.
    fn oldest(&mut self, at: usize) -> Drained {
        let order = at / MigrateType::ALL.len();
        let stack = &mut self.stacks[at];
        let len = batch_of(self.batch, order).min(stack.len);
        stack.blocks[..stack.len].sort_unstable_by(|a, b| b.cmp(a));
        let mut drained = Drained { blocks: [0; MAX_BATCH], len, order };
        drained.blocks[..len].copy_from_slice(&stack.blocks[..len]);
        stack.blocks.copy_within(len..stack.len, 0);
        stack.len -= len;
        self.drains += 1;
        drained
    }

    /// Gives all blocks back to the zones: before compaction, when memory is short, when the CPU goes away. The number
    /// of frames.
    ///
    /// # Errors
    /// The first block that the zones refuse (one that was freed wrongly). All others are freed.
    pub fn drain_all(&mut self, zones: &mut Zones<'_>) -> Result<u64, FreeError> {
        let (mut count, mut result) = (0, Ok(()));
        for at in 0..STACKS {
            while self.stacks[at].len > 0 {
                let drained = self.oldest(at);
                count += drained.frames() as u64;
                result = result.and(zones.free_drained(drained));
            }
        }
        result.map(|()| count)
    }

    /// Frames held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.stats().held
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let Self { allocs, frees, refills, drains, .. } = *self;
        let mut held_blocks = [0; MAX_CACHED_ORDER + 1];
        for (at, stack) in self.stacks.iter().enumerate() {
            held_blocks[at / MigrateType::ALL.len()] += stack.len as u64;
        }
        let held = (0..).zip(held_blocks).map(|(order, blocks)| blocks << order).sum();
        CacheStats { held, held_blocks, allocs, frees, refills, drains }
    }
}

/// Blocks of this order in a batch: as many frames as of any other order.
const fn batch_of(frames: usize, order: usize) -> usize {
    if frames >> order > 1 { frames >> order } else { 1 }
}

impl Zones<'_> {
    /// Takes the blocks that a cache gave up.
    ///
    /// # Errors
    /// The first block that is not an allocated one. All others are freed.
    pub fn free_drained(&mut self, drained: Drained) -> Result<(), FreeError> {
        let mut result = Ok(());
        let blocks = &drained.blocks[..drained.len];
        let border = self.buddy(ZoneKind::Normal).span().start;
        for run in blocks.chunk_by(|&a, &b| (a < border) == (b < border)) {
            let zone = self.zone_of(run[0]);
            result = result.and(self.buddy_mut(zone).free_batch(run, drained.order));
        }
        result
    }
}

#[cfg(test)]
#[path = "cpu_cache_tests.rs"]
mod tests;
