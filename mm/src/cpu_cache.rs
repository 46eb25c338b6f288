//! Single frames kept by a CPU for itself, so that most allocations take no lock (Linux: `per_cpu_pages`).

use crate::zones::Zones;
use crate::{FreeError, MigrateType, Reserve, ZonesError};

/// Most frames that are moved at once.
pub const MAX_BATCH: usize = 32;
/// Most frames per migrate type, as a multiple of the batch.
const HIGH_PER_BATCH: usize = 6;
const CAPACITY: usize = MAX_BATCH * HIGH_PER_BATCH;

/// A stack of free frames for each migrate type, for one CPU.
///
/// A plain struct without a lock: the kernel keeps one per CPU and uses it with interrupts off; only [`refill`](Self::refill) and
/// [`Zones::free_drained`] need the zones' lock. The frame freed last is allocated first, for it is likely still in the
/// CPU's cache. Frames held here are allocated as far as the zones know, so compaction can't move across them: drain
/// every CPU's cache first ([`drain_all`](Self::drain_all)).
///
/// A frame is freed as the type that it was allocated for. One that is freed twice is found when it is drained (and, with debug assertions, at once).
///
/// ```
/// use mm::{CpuCache, Frame, MigrateType::Movable, Reserve, Zones};
///
/// let mut frames = vec![Frame::RESERVED; 16384];
/// let mut zones = Zones::new(&mut frames, 0);
/// zones.add_free(0, 16384)?;
/// let mut cache = CpuCache::new(zones.stats().total_frames);
///
/// let pfn = match cache.alloc(Movable) {
///     Some(pfn) => pfn, // the usual way: no lock
///     None => cache.refill(&mut zones, Movable, Reserve::None)?,
/// };
/// if let Some(drained) = cache.free(pfn, Movable) {
///     zones.free_drained(drained)?; // now and then: a batch, under the lock
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CpuCache {
    stacks: [Stack; 3],
    batch: usize,
    high: usize,
    allocs: u64,
    frees: u64,
    refills: u64,
    drains: u64,
}

/// The frames of one migrate type: `frames[..len]`, the last one freed on top.
#[derive(Clone, Copy)]
struct Stack {
    frames: [u64; CAPACITY],
    len: usize,
}

/// Frames that have left a cache and belong to the zones: give them to [`Zones::free_drained`], or they are lost.
#[must_use = "these frames are lost unless they are given to Zones::free_drained"]
#[derive(Debug)]
pub struct Drained {
    frames: [u64; MAX_BATCH],
    len: usize,
}

impl Drained {
    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Counters of one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Frames held now.
    pub held: u64,
    /// Frames handed out since boot, those of refills included.
    pub allocs: u64,
    /// Frames taken back since boot.
    pub frees: u64,
    /// Batches fetched from the zones.
    pub refills: u64,
    /// Batches given back to the zones.
    pub drains: u64,
}

impl CpuCache {
    /// An empty cache for a machine with this many frames. The batch is a 1024th of memory, but at most
    /// [`MAX_BATCH`] (Linux: a 4096th, up to 64); the cache holds up to six batches of each type.
    #[must_use]
    pub const fn new(total_frames: u64) -> Self {
        let share = total_frames / 1024;
        let batch = if share > MAX_BATCH as u64 {
            MAX_BATCH
        } else if share == 0 {
            1
        } else {
            share as usize
        };
        let stack = Stack { frames: [0; CAPACITY], len: 0 };
        Self {
            stacks: [stack; 3],
            batch,
            high: batch * HIGH_PER_BATCH,
            allocs: 0,
            frees: 0,
            refills: 0,
            drains: 0,
        }
    }

    /// A frame from this cache; `None` when it holds none of this type, and [`refill`](Self::refill) is due.
    #[inline]
    pub fn alloc(&mut self, kind: MigrateType) -> Option<u64> {
        let stack = &mut self.stacks[kind as usize];
        let top = stack.len.checked_sub(1)?;
        let pfn = *stack.frames.get(top)?;
        stack.len = top;
        self.allocs += 1;
        Some(pfn)
    }

    /// Fetches a batch from the zones and hands out one frame of it. Only the first frame may come from below the low
    /// mark: a cache hoards nothing that others are short of.
    ///
    /// # Errors
    /// As [`Zones::alloc`].
    pub fn refill(
        &mut self,
        zones: &mut Zones<'_>,
        kind: MigrateType,
        reserve: Reserve,
    ) -> Result<u64, ZonesError> {
        let first = zones.alloc(0, kind, reserve)?.pfn;
        let stack = &mut self.stacks[kind as usize];
        let room = (self.batch - 1).min(CAPACITY - stack.len);
        let added = zones.fill(&mut stack.frames[stack.len..stack.len + room], kind);
        // They came in ascending order for the most part, and are handed out in that order.
        stack.frames[stack.len..stack.len + added].reverse();
        stack.len += added;
        self.refills += 1;
        self.allocs += 1;
        Ok(first)
    }

    /// Takes a frame back. Every now and then the cache is full, and the frames that were freed longest ago come
    /// out.
    #[inline]
    pub fn free(&mut self, pfn: u64, kind: MigrateType) -> Option<Drained> {
        let stack = &mut self.stacks[kind as usize];
        debug_assert!(!stack.frames[..stack.len].contains(&pfn), "double free: frame {pfn} is in the cache");
        self.frees += 1;
        let full = stack.len >= self.high;
        let drained = if full { Some(self.oldest(kind)) } else { None };
        let stack = &mut self.stacks[kind as usize];
        stack.frames[stack.len] = pfn;
        stack.len += 1;
        drained
    }

    /// Takes the oldest batch of one type out.
    #[cold]
    fn oldest(&mut self, kind: MigrateType) -> Drained {
        let stack = &mut self.stacks[kind as usize];
        let len = self.batch.min(stack.len);
        let mut drained = Drained { frames: [0; MAX_BATCH], len };
        drained.frames[..len].copy_from_slice(&stack.frames[..len]);
        stack.frames.copy_within(len..stack.len, 0);
        stack.len -= len;
        self.drains += 1;
        drained
    }

    /// Gives all frames back to the zones: before compaction, when memory is short, when the CPU goes away.
    ///
    /// # Errors
    /// The first frame that the zones refuse (one that was freed wrongly). All others are freed.
    pub fn drain_all(&mut self, zones: &mut Zones<'_>) -> Result<u64, FreeError> {
        let (mut count, mut result) = (0, Ok(()));
        for kind in MigrateType::ALL {
            while self.stacks[kind as usize].len > 0 {
                let drained = self.oldest(kind);
                count += drained.len as u64;
                result = result.and(zones.free_drained(drained));
            }
        }
        result.map(|()| count)
    }

    /// Frames held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.len as u64).sum()
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let Self { allocs, frees, refills, drains, .. } = *self;
        CacheStats { held: self.held(), allocs, frees, refills, drains }
    }
}

impl Zones<'_> {
    /// Takes the frames that a cache gave up.
    ///
    /// # Errors
    /// The first frame that is not an allocated one. All others are freed.
    pub fn free_drained(&mut self, drained: Drained) -> Result<(), FreeError> {
        let mut result = Ok(());
        for &pfn in &drained.frames[..drained.len] {
            result = result.and(self.free(pfn, 0));
        }
        result
    }
}

#[cfg(test)]
#[path = "cpu_cache_tests.rs"]
mod tests;
