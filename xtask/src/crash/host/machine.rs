//! A simulated machine around the real `mm`: its zones, watermarks, shrinkers and compactor, under a clock that jumps 100 ms
//! at a time.
//!
//! What costs time is modelled by rates: the reclaim thread frees up to [`RECLAIM_PER_TICK`] pages in 100 ms (write-back to a
//! slow disk) and works while memory is below its low mark, until it is above the high one. A request that may wait and finds
//! nothing reclaims and compacts directly, which stalls it; when it stalls for the whole tick, the workload is held up until
//! the next one. Memory has run out ("OOM") when a request that may wait finds nothing although everything reclaimable is
//! gone and compaction does not help (a task would be killed), or when one that may not wait (interrupt, under a
//! lock) is refused.

use super::random::Random;
use ai_insights::crash_predictor::{Action, Sample};
use mm::compact::{Compactor, Goal, Mover, Pinned, Progress};
use mm::fragmentation::extfrag_index;
use mm::reclaim::{Registry, Shrinker};
use mm::{Block, FRAME_SIZE, MigrateType, Pressure, Reserve, Zones};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Length of a step.
pub const TICK_NS: u64 = 100_000_000;
/// Pages that the reclaim thread frees in a tick: 10 MiB/s.
pub const RECLAIM_PER_TICK: u64 = 256;
/// Pages that direct reclaim frees at a time, and what that takes: 25 MiB/s.
const DIRECT_BATCH: u64 = 32;
const DIRECT_NS: u64 = 5_000_000;
/// A direct compaction for one request.
const COMPACT_NS: u64 = 20_000_000;
/// Blocks that the compaction thread looks at in a tick.
const COMPACT_PER_TICK: usize = 4096;

/// Clean and dirty file pages, oldest first; what was shrunk waits in `released` until the machine frees it.
#[derive(Default)]
pub struct PageCache {
    pages: Mutex<Vec<u64>>,
    released: Mutex<Vec<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shrinker for PageCache {
    fn name(&self) -> &'static str {
        "page cache"
    }

    fn count(&self) -> u64 {
        lock(&self.pages).len() as u64 * FRAME_SIZE
    }

    fn shrink(&self, bytes: u64) -> u64 {
        let mut pages = lock(&self.pages);
        let n = (bytes.div_ceil(FRAME_SIZE) as usize).min(pages.len());
        lock(&self.released).extend(pages.drain(..n));
        n as u64 * FRAME_SIZE
    }
}

/// What the workload holds; movable single frames may be moved under it.
#[derive(Default)]
struct Holdings {
    blocks: HashMap<u64, (Block, MigrateType)>,
    owner: HashMap<u64, u64>,
    next: u64,
}

impl Mover for Holdings {
    fn is_movable(&self, pfn: u64) -> bool {
        self.owner.contains_key(&pfn)
    }

    fn migrate(&mut self, from: u64, to: u64) -> Result<(), Pinned> {
        let id = self.owner.remove(&from).ok_or(Pinned)?;
        self.owner.insert(to, id);
        if let Some((block, _)) = self.blocks.get_mut(&id) {
            block.pfn = to;
        }
        Ok(())
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is held under this name.
    Got(u64),
    /// Held up; ask again in the next tick.
    Later,
    /// Memory has run out.
    Refused,
}

/// The machine.
pub struct Machine<'m> {
    /// For the workload's choices.
    pub random: Random,
    /// Time.
    pub now_ns: u64,
    /// When memory ran out.
    pub crash_ns: Option<u64>,
    zones: Zones<'m>,
    holdings: Holdings,
    cache: &'m PageCache,
    registry: Registry<'m, 1>,
    total: u64,
    failures: u64,
    stall_ns: u64,
    /// Stall in this tick.
    stalled: u64,
    background: bool,
    wanted: u64,
    compacting: Option<Compactor>,
}

impl<'m> Machine<'m> {
    /// A machine with nothing in use.
    pub fn new(zones: Zones<'m>, cache: &'m PageCache, random: Random) -> Self {
        let mut registry = Registry::new();
        // One place, one shrinker: it fits.
        let _ = registry.register(cache);
        let total = zones.stats().total_frames;
        Machine {
            random,
            now_ns: 0,
            crash_ns: None,
            zones,
            holdings: Holdings::default(),
            cache,
            registry,
            total,
            failures: 0,
            stall_ns: 0,
            stalled: 0,
            background: false,
            wanted: 0,
            compacting: None,
        }
    }

    /// Frames of the machine.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Pages that could be given out: free, and reclaimable.
    pub fn available(&self) -> u64 {
        self.zones.free_frames() + self.registry.count() / FRAME_SIZE
    }

    /// Takes a block. `may_wait` as `GFP_KERNEL`, otherwise as `GFP_ATOMIC`.
    pub fn take(&mut self, order: usize, kind: MigrateType, may_wait: bool) -> Take {
        if self.stalled >= TICK_NS && may_wait {
            return Take::Later;
        }
        let reserve = if may_wait { Reserve::None } else { Reserve::Emergency };
        loop {
            if let Ok(block) = self.zones.alloc(order, kind, reserve) {
                return Take::Got(self.hold(block, kind));
            }
            self.failures += 1;
            if !may_wait {
                return self.crash();
            }
            if self.stalled >= TICK_NS {
                return Take::Later;
            }
            if !self.help(order) {
                return self.crash();
            }
        }
    }

    /// Gives a block back.
    pub fn give(&mut self, id: u64) {
        if let Some((block, _)) = self.holdings.blocks.remove(&id) {
            self.holdings.owner.remove(&block.pfn);
            self.free(block);
        }
    }

    /// Reads a page of a file into the cache; without room the oldest page makes it.
    pub fn read_file_page(&mut self) {
        if let Ok(block) = self.zones.alloc(0, MigrateType::Reclaimable, Reserve::None) {
            lock(&self.cache.pages).push(block.pfn);
        } else {
            self.registry.reclaim(FRAME_SIZE);
            self.free_released();
        }
    }

    /// Ends a tick: the background threads work, the clock goes on.
    pub fn end_tick(&mut self) {
        match self.zones.pressure() {
            Pressure::None if self.zones.shortage() == 0 => self.background = false,
            Pressure::None => {}
            Pressure::Low | Pressure::Min => self.background = true,
        }
        let by_mark = if self.background { self.zones.shortage() } else { 0 };
        let pages = by_mark.max(self.wanted).min(RECLAIM_PER_TICK);
        if pages > 0 {
            self.registry.reclaim(pages * FRAME_SIZE);
            self.free_released();
            self.wanted = self.wanted.saturating_sub(pages);
        }
        if let Some(mut compactor) = self.compacting.take() {
            let progress = self.compact(&mut compactor, COMPACT_PER_TICK);
            if progress == Progress::More {
                self.compacting = Some(compactor);
            }
        }
        self.stall_ns += self.stalled.min(TICK_NS);
        self.stalled = 0;
        self.now_ns += TICK_NS;
    }

    /// Starts what the guard decided; the background threads do it, at their pace.
    pub fn start(&mut self, action: Action) {
        match action {
            Action::Reclaim { pages } => self.wanted = self.wanted.max(pages),
            Action::Compact => self.compacting = Some(Compactor::new(&self.zones, Goal::Everything)),
        }
    }

    /// The counters, as the kernel would sample them.
    pub fn sample(&self) -> Sample {
        let stats = self.zones.stats();
        let reclaim = self.registry.stats();
        Sample {
            t_ns: self.now_ns,
            total_pages: self.total,
            free_pages: stats.free_frames,
            largest_free_order: stats.largest_free_order.unwrap_or(0) as u8,
            fragmentation: extfrag_index(&stats.free_blocks, 4) as i16,
            allocated_pages: stats.allocated_frames,
            freed_pages: stats.freed_frames,
            failures: self.failures,
            reclaimed_pages: reclaim.freed / FRAME_SIZE,
            reclaim_attempts: reclaim.asked / FRAME_SIZE,
            reclaimable_pages: self.registry.count() / FRAME_SIZE,
            stall_some_ns: self.stall_ns,
            // One workload: when it waits, all do.
            stall_full_ns: self.stall_ns,
        }
    }

    fn hold(&mut self, block: Block, kind: MigrateType) -> u64 {
        let id = self.holdings.next;
        self.holdings.next += 1;
        self.holdings.blocks.insert(id, (block, kind));
        if block.order == 0 && kind == MigrateType::Movable {
            self.holdings.owner.insert(block.pfn, id);
        }
        id
    }

    fn crash(&mut self) -> Take {
        self.crash_ns = self.crash_ns.or(Some(self.now_ns));
        Take::Refused
    }

    /// Direct reclaim, then direct compaction; whether anything was gained.
    fn help(&mut self, order: usize) -> bool {
        let freed = self.registry.reclaim((DIRECT_BATCH.max(1 << order)) * FRAME_SIZE).freed;
        self.free_released();
        if freed > 0 {
            self.stalled += DIRECT_NS * (freed / FRAME_SIZE).div_ceil(DIRECT_BATCH);
            return true;
        }
        if order == 0 || self.zones.free_frames() < 2 << order {
            return false;
        }
        self.stalled += COMPACT_NS;
        let mut compactor = Compactor::new(&self.zones, Goal::Order(order));
        loop {
            match self.compact(&mut compactor, COMPACT_PER_TICK) {
                Progress::More => {}
                Progress::Reached => return true,
                Progress::Complete => return false,
            }
        }
    }

    fn compact(&mut self, compactor: &mut Compactor, blocks: usize) -> Progress {
        let mut done = 0;
        loop {
            let progress = compactor.step(&mut self.zones, &mut self.holdings, 64);
            done += 64;
            if progress != Progress::More || done >= blocks {
                return progress;
            }
        }
    }

    fn free_released(&mut self) {
        let released = std::mem::take(&mut *lock(&self.cache.released));
        for pfn in released {
            self.free(Block { pfn, order: 0 });
        }
    }

    fn free(&mut self, block: Block) {
        if let Err(error) = self.zones.free(block.pfn, block.order) {
            // The simulation's own accounts are wrong: its results would be worthless.
            panic!("the simulated machine freed what it does not hold: {error}");
        }
    }
}
