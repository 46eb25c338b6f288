//! A simulated machine around the real `mm`: its zones, watermarks, shrinkers and compactor, under a clock that jumps 10 ms
//! at a time and is sampled every 100 ms.
//!
//! What costs time is modelled by rates, the same in every arm:
//! - Whoever reclaims, the pages come at [`PAGES_PER_MS`] (write-back to one device of 62.5 MiB/s, an order as of eMMC and
//!   older disks). The reclaim thread works while memory is below its low mark, until it is above the high one.
//! - A request that may wait and finds nothing above the min mark reclaims and compacts directly. That stalls its task; when the
//!   device is busy for the whole slice, the task is held up until the next one.
//! - Compaction looks at [`COMPACT_PER_SLICE`] blocks in a slice; one on behalf of a waiting task stalls it by [`COMPACT_NS`].
//! - Network buffers of orders 0 to 3 are wanted [`BUFFERS_PER_SLICE`] times a slice and held for [`BUFFER_SLICES`]. Such a
//!   request cannot wait: it fails at the min mark, and wakes the reclaim and the compaction thread. It is then made again for a
//!   single page, as network stacks do.
//! - While growth is held back, requests of the workload that may wait are paced ([`Pace`], as in the kernel);
//!   those that cannot wait, the network's among them, never are. To be held is no stall: nothing looks for memory.
//!
//! The machine has crashed ("OOM") when a request that may wait finds nothing although everything reclaimable is gone and
//! compaction does not help (a task would be killed), or when [`LAST_REFUSAL`] requests in a row for single pages that
//! could not wait have failed (the machine no longer answers).

use super::random::Random;
use ai_insights::crash_predictor::{Action, HOLD_NS, Sample};
use mm::compact::{Compactor, Goal, Mover, Pinned, Progress};
use mm::fragmentation::extfrag_index;
use mm::reclaim::{Registry, Shrinker};
use mm::{Block, FRAME_SIZE, MigrateType, Pace, Pressure, Reserve, Zones};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Length of a slice: what runs side by side on a machine takes turns this often.
pub const SLICE_NS: u64 = 10_000_000;
/// Slices in a sample.
pub const SLICES: u64 = 10;
/// Pages reclaimed in a millisecond, by whomever.
pub const PAGES_PER_MS: u64 = 16;
const RECLAIM_PER_SLICE: u64 = PAGES_PER_MS * SLICE_NS / 1_000_000;
/// Pages that direct reclaim frees at a time.
const DIRECT_BATCH: u64 = 32;
/// A direct compaction for one request.
const COMPACT_NS: u64 = 20_000_000;
/// Blocks that the compaction thread looks at in a slice.
const COMPACT_PER_SLICE: usize = 448;
/// Network buffers wanted in a slice: 200 a second.
const BUFFERS_PER_SLICE: usize = 2;
/// Their orders, one as likely as another: half are single pages.
const BUFFER_ORDERS: [usize; 8] = [0, 0, 0, 0, 1, 1, 2, 3];
/// How long a buffer is held.
const BUFFER_SLICES: usize = 5;
/// This many requests in a row for single pages that could not wait have failed: the machine no longer answers.
const LAST_REFUSAL: u32 = 50;

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A request that may wait found nothing, and nothing could be reclaimed.
    Exhausted,
    /// Requests that cannot wait failed, one after another.
    Starved,
}

/// Clean and dirty file pages (names of what the machine holds), oldest first; what was shrunk waits in `released` until
/// the machine frees it. They are movable, as on Linux.
#[derive(Default)]
pub struct PageCache {
    pages: Mutex<VecDeque<u64>>,
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
    /// Held up, or dropped for now; ask again in the next slice.
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
    /// When and how memory ran out.
    pub crash: Option<(u64, Cause)>,
    /// For the network's, so that no workload draws other numbers when its machine is short.
    network: Random,
    /// Network buffers wanted in a slice.
    traffic: usize,
    zones: Zones<'m>,
    holdings: Holdings,
    cache: &'m PageCache,
    registry: Registry<'m, 1>,
    total: u64,
    failures: u64,
    stall_ns: u64,
    /// Stall that lies ahead.
    stalled: u64,
    /// Pages that the device can still write back in this slice.
    device: u64,
    /// Requests in a row for single pages that could not wait and failed.
    refused: u32,
    /// Network buffers by age.
    buffers: VecDeque<Vec<u64>>,
    background: bool,
    wanted: u64,
    compacting: Option<Compactor>,
    /// Growth is held back.
    pace: Option<Pace>,
    /// Something had to wait for its pace in this slice.
    held: bool,
    held_slices: u64,
}

impl<'m> Machine<'m> {
    /// A machine with nothing in use.
    pub fn new(zones: Zones<'m>, cache: &'m PageCache, mut random: Random) -> Self {
        let network = Random::new(random.bits());
        let mut registry = Registry::new();
        // One place, one shrinker: it fits.
        let _ = registry.register(cache);
        let total = zones.stats().total_frames;
        Machine {
            random,
            now_ns: 0,
            crash: None,
            network,
            traffic: BUFFERS_PER_SLICE,
            zones,
            holdings: Holdings::default(),
            cache,
            registry,
            total,
            failures: 0,
            stall_ns: 0,
            stalled: 0,
            device: RECLAIM_PER_SLICE,
            refused: 0,
            buffers: VecDeque::from(vec![Vec::new(); BUFFER_SLICES]),
            background: false,
            wanted: 0,
            compacting: None,
            pace: None,
            held: false,
            held_slices: 0,
        }
    }

    /// From here on nothing but the workload asks for memory.
    pub fn leave_alone(&mut self) {
        self.traffic = 0;
    }

    /// Whether other work goes on beside the workload.
    pub fn is_busy(&self) -> bool {
        self.traffic > 0
    }

    /// Frames of the machine.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Pages that could be given out: free, and reclaimable.
    pub fn available(&self) -> u64 {
        self.zones.free_frames() + self.registry.count() / FRAME_SIZE
    }

    /// Takes a block. `may_wait` as `GFP_KERNEL`, otherwise as `GFP_ATOMIC` without its reserve.
    pub fn take(&mut self, order: usize, kind: MigrateType, may_wait: bool) -> Take {
        if self.stalled >= SLICE_NS && may_wait {
            return Take::Later;
        }
        if may_wait && self.pace.is_some_and(|pace| !pace.allows()) {
            self.held = true;
            return Take::Later;
        }
        loop {
            if let Ok(block) = self.zones.alloc(order, kind, Reserve::None) {
                if let Some(pace) = self.pace.as_mut().filter(|_| may_wait) {
                    pace.take(1 << order);
                }
                if order == 0 && !may_wait {
                    self.refused = 0;
                }
                return Take::Got(self.hold(block, kind));
            }
            self.failures += 1;
            if !may_wait {
                return self.refuse(order);
            }
            if self.stalled >= SLICE_NS {
                return Take::Later;
            }
            if !self.help(order) {
                return self.end(Cause::Exhausted);
            }
        }
    }

    /// A request that cannot wait fails; the threads that could help are woken.
    fn refuse(&mut self, order: usize) -> Take {
        self.background = true;
        if order > 0 && self.compacting.is_none() {
            self.compacting = Some(Compactor::new(&self.zones, Goal::Order(order)));
        }
        if order > 0 {
            return Take::Later;
        }
        self.refused += 1;
        if self.refused < LAST_REFUSAL { Take::Later } else { self.end(Cause::Starved) }
    }

    /// Gives a block back.
    pub fn give(&mut self, id: u64) {
        if let Some((block, _)) = self.holdings.blocks.remove(&id) {
            self.holdings.owner.remove(&block.pfn);
            self.free(block);
        }
    }

    /// Reads a page of a file into the cache. Below the low mark the oldest page makes room: reading ahead starves nobody.
    pub fn read_file_page(&mut self) {
        if self.zones.pressure() != Pressure::None && self.write_back(1) == 0 {
            return;
        }
        if let Ok(block) = self.zones.alloc(0, MigrateType::Movable, Reserve::None) {
            let id = self.hold(block, MigrateType::Movable);
            lock(&self.cache.pages).push_back(id);
        }
    }

    /// Begins a slice: the device is free again, and the background threads get on before the workload does.
    pub fn begin_slice(&mut self) {
        self.device = RECLAIM_PER_SLICE;
        let available = self.available();
        if let Some(pace) = &mut self.pace {
            // What becomes due in this slice may be taken from its beginning.
            pace.look(self.now_ns, SLICE_NS, available);
        }
        self.pace = self.pace.filter(|pace| !pace.is_over(self.now_ns));
        match self.zones.pressure() {
            Pressure::None if self.zones.shortage() == 0 => self.background = false,
            Pressure::None => {}
            Pressure::Low | Pressure::Min => self.background = true,
        }
        let by_mark = if self.background { self.zones.shortage() } else { 0 };
        let freed = self.write_back(by_mark.max(self.wanted));
        self.wanted = self.wanted.saturating_sub(freed);
        if self.registry.count() == 0 {
            self.wanted = 0;
        }
        if let Some(mut compactor) = self.compacting.take() {
            let progress = self.compact(&mut compactor, COMPACT_PER_SLICE);
            if progress == Progress::More {
                self.compacting = Some(compactor);
            }
        }
    }

    /// Ends a slice: the network gets and returns its buffers, the clock goes on.
    pub fn end_slice(&mut self) {
        for id in self.buffers.pop_back().unwrap_or_default() {
            self.give(id);
        }
        let mut taken = Vec::with_capacity(self.traffic);
        for _ in 0..self.traffic {
            let order = BUFFER_ORDERS[self.network.below(BUFFER_ORDERS.len())];
            // What cannot be had in one piece is asked for again as a page, as network stacks do.
            for order in [order, 0] {
                if let Take::Got(id) = self.take(order, MigrateType::Unmovable, false) {
                    taken.push(id);
                    break;
                }
            }
        }
        self.buffers.push_front(taken);
        self.held_slices += u64::from(std::mem::take(&mut self.held));
        self.stall_ns += self.stalled.min(SLICE_NS);
        self.stalled = self.stalled.saturating_sub(SLICE_NS);
        self.now_ns += SLICE_NS;
    }

    /// Starts what the guard decided; the background threads do it, at their pace.
    pub fn start(&mut self, action: Action) {
        let available = self.available();
        match action {
            Action::Reclaim { pages } => self.wanted = self.wanted.max(pages),
            Action::Compact if self.compacting.is_some() => {}
            Action::Compact => self.compacting = Some(Compactor::new(&self.zones, Goal::Everything)),
            Action::HoldBack => match &mut self.pace {
                Some(pace) if pace.is_tight(self.now_ns) => pace.renew(self.now_ns, HOLD_NS),
                pace => *pace = Some(Pace::begin(self.now_ns, HOLD_NS, available, self.total)),
            },
        }
    }

    /// Ends a hold at once, as the kernel does when the guard's control ends.
    pub fn release(&mut self) {
        self.pace = None;
    }

    /// Whether growth is held back and not let go yet.
    pub fn is_held(&self) -> bool {
        self.pace.is_some_and(|pace| pace.is_tight(self.now_ns))
    }

    /// Slices in which the workload had to wait for its pace.
    pub fn held_slices(&self) -> u64 {
        self.held_slices
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

    fn end(&mut self, cause: Cause) -> Take {
        self.crash = self.crash.or(Some((self.now_ns, cause)));
        Take::Refused
    }

    /// Up to so many pages, as far as the device can; how many.
    fn write_back(&mut self, pages: u64) -> u64 {
        let pages = pages.min(self.device);
        if pages == 0 {
            return 0;
        }
        let freed = self.registry.reclaim(pages * FRAME_SIZE).freed / FRAME_SIZE;
        self.free_released();
        self.device = self.device.saturating_sub(freed);
        freed
    }

    /// Direct reclaim, then direct compaction; whether there is hope.
    fn help(&mut self, order: usize) -> bool {
        if self.registry.count() > 0 {
            let freed = self.write_back(DIRECT_BATCH.max(1 << order));
            if freed == 0 || self.device == 0 {
                // The device is busy until the slice ends.
                self.stalled = self.stalled.max(SLICE_NS);
            } else {
                self.stalled += freed * 1_000_000 / PAGES_PER_MS;
            }
            return true;
        }
        if order == 0 || self.zones.free_frames() < 2 << order {
            return false;
        }
        self.stalled += COMPACT_NS;
        let mut compactor = Compactor::new(&self.zones, Goal::Order(order));
        loop {
            match self.compact(&mut compactor, COMPACT_PER_SLICE) {
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
        for id in released {
            self.give(id);
        }
    }

    fn free(&mut self, block: Block) {
        if let Err(error) = self.zones.free(block.pfn, block.order) {
            // The simulation's own accounts are wrong: its results would be worthless.
            panic!("the simulated machine freed what it does not hold: {error}");
        }
    }
}
