//! An input as a sequence of operations on zones, caches and a compactor, beside a model: the owner of each frame.

use mm::compact::{Compactor, Goal, Mover, Pinned, Plan, Progress};
use mm::{
    Block, CpuCache, Drained, Frame, Holder, MAX_CACHED_ORDER, MigrateType, PAGEBLOCK_ORDER, Reserve,
    ZoneKind, Zones,
};
use std::collections::BTreeMap;

const FIRST: u64 = 300;
const FRAMES: u64 = 5 * 512 + 39;
const CPUS: usize = 2;

/// Movable pages: where they are, and a mark that goes with them.
#[derive(Default)]
struct Pages {
    /// Frame → mark.
    marks: BTreeMap<u64, u64>,
    /// Moves that fail: those whose mark is a multiple.
    pinned: u64,
}

impl Mover for Pages {
    fn is_movable(&self, pfn: u64) -> bool {
        self.marks.contains_key(&pfn)
    }

    fn migrate(&mut self, from: u64, to: u64) -> Result<(), Pinned> {
        let mark = *self.marks.get(&from).ok_or(Pinned)?;
        if mark.is_multiple_of(self.pinned) {
            return Err(Pinned);
        }
        self.marks.remove(&from);
        assert_eq!(self.marks.insert(to, mark), None, "frame {to} was in use");
        Ok(())
    }
}

struct State<'m> {
    zones: Zones<'m>,
    caches: [CpuCache; CPUS],
    pages: Pages,
    blocks: Vec<Block>,
    /// Blocks from the caches that are not movable pages.
    cached: Vec<(Block, MigrateType)>,
    /// Drained frames that no one has taken yet, as when the lock is awaited.
    drained: Vec<Drained>,
    compaction: Option<(Compactor, Option<Plan>)>,
    marks: u64,
}

impl State<'_> {
    fn keep(&mut self, block: Block, kind: MigrateType) {
        let Block { pfn, order } = block;
        assert!(pfn.is_multiple_of(1 << order));
        if kind == MigrateType::Movable && order == 0 {
            self.marks += 1;
            assert_eq!(self.pages.marks.insert(pfn, self.marks), None, "frame {pfn} was in use");
        } else {
            let end = |block: &Block| block.pfn + block.frames();
            let overlaps = |(other, _): &(Block, _)| other.pfn < end(&block) && pfn < end(other);
            assert!(!self.cached.iter().any(overlaps), "{block:?} was in use");
            self.cached.push((block, kind));
        }
    }

    fn free_cached(&mut self, cpu: usize, block: Block, kind: MigrateType) {
        self.drained.extend(self.caches[cpu].free(block.pfn, block.order, kind));
    }

    fn nth_page(&self, nth: u8) -> Option<u64> {
        let n = self.pages.marks.len();
        self.pages.marks.keys().nth(usize::from(nth).checked_rem(n)?).copied()
    }

    /// One operation of three bytes.
    fn step(&mut self, op: u8, a: u8, b: u8) {
        let kind = MigrateType::ALL[usize::from(a % 3)];
        let reserve = if a & 0x40 == 0 { Reserve::None } else { Reserve::Emergency };
        let cpu = usize::from(a >> 7);
        match op % 16 {
            0..3 => {
                let order = usize::from(b % 18);
                let highest = ZoneKind::ALL[usize::from(b >> 7)];
                if let Ok(block) = self.zones.alloc_up_to(highest, order, kind, reserve) {
                    assert!(block.order == order && block.pfn.is_multiple_of(1 << order));
                    assert!(highest == ZoneKind::Normal || self.zones.zone_of(block.pfn) == highest);
                    self.blocks.push(block);
                }
            }
            3 => self.blocks.extend(self.zones.alloc_at_most(usize::from(b), kind)),
            4 | 5 if !self.blocks.is_empty() => {
                let block = self.blocks.swap_remove(usize::from(b) % self.blocks.len());
                assert_eq!(self.zones.free(block.pfn, block.order), Ok(()));
            }
            6..9 => {
                // One above what is cached, too.
                let order = usize::from(a >> 2) % (MAX_CACHED_ORDER + 2);
                for _ in 0..=b % 24 {
                    let got = self.caches[cpu].alloc(order, kind);
                    let got = got
                        .map_or_else(|| self.caches[cpu].refill(&mut self.zones, order, kind, reserve), Ok);
                    match got {
                        Ok(pfn) => self.keep(Block { pfn, order }, kind),
                        Err(_) => break,
                    }
                }
            }
            9 | 10 => {
                for n in 0..=a % 16 {
                    if let Some(pfn) = self.nth_page(b.wrapping_mul(n | 1)) {
                        self.pages.marks.remove(&pfn);
                        self.free_cached(cpu, Block { pfn, order: 0 }, MigrateType::Movable);
                    }
                }
            }
            11 => {
                for _ in 0..=a % 16 {
                    if let Some(n) = usize::from(b).checked_rem(self.cached.len()) {
                        let (block, kind) = self.cached.swap_remove(n);
                        // What came from a cache may go to the zones, too.
                        match b & 7 {
                            7 => assert_eq!(self.zones.free(block.pfn, block.order), Ok(())),
                            _ => self.free_cached(cpu, block, kind),
                        }
                    }
                }
            }
            12 => {
                for drained in self.drained.drain(..) {
                    assert_eq!(self.zones.free_drained(drained), Ok(()));
                }
                if b & 1 == 1 {
                    assert!(self.caches[cpu].drain_all(&mut self.zones).is_ok());
                }
            }
            13 => self.compact(a, b),
            14 => self.wild_free(u64::from(a) << 4 | u64::from(b & 15), usize::from(b >> 3)),
            _ => self.zones.inject_failures(u64::from(a % 8), u64::from(b % 4)),
        }
    }

    /// One part of a compaction: begin, plan, migrate, settle; anything may happen in between.
    fn compact(&mut self, a: u8, b: u8) {
        self.pages.pinned = u64::from(a % 7) + 2;
        let goal = if b & 1 == 0 { Goal::Everything } else { Goal::Order(usize::from(b >> 1) % 14) };
        let (mut compactor, plan) =
            self.compaction.take().unwrap_or_else(|| (Compactor::new(&self.zones, goal), None));
        let before = self.in_whole_pageblocks();
        let next = match plan {
            None => Some(compactor.plan(&mut self.zones, &self.pages, usize::from(b) * 4)),
            Some(mut plan) => {
                plan.migrate(&mut self.pages);
                let end = compactor.settle(&mut self.zones, plan);
                let report = compactor.report();
                assert_eq!(report.moved + report.pinned, report.isolated);
                if end != Progress::More {
                    return;
                }
                None
            }
        };
        // A free pageblock is never broken for a move.
        assert!(self.in_whole_pageblocks() >= before);
        self.compaction = Some((compactor, next));
    }

    /// Free frames in blocks of a pageblock and more.
    fn in_whole_pageblocks(&self) -> u64 {
        let blocks = self.zones.stats().free_blocks;
        (0..).zip(blocks).skip(PAGEBLOCK_ORDER).map(|(order, blocks)| blocks << order).sum()
    }

    /// Frees something that is not a block of ours: refused, and nothing changes.
    fn wild_free(&mut self, pfn: u64, order: usize) {
        let holder = self.zones.holder(pfn);
        if matches!(holder, Holder::Allocated(block) if block == Block { pfn, order }) {
            return;
        }
        let before = self.zones.stats();
        assert!(self.zones.free(pfn, order).is_err(), "{holder:?} was freed as order {order}");
        assert_eq!(self.zones.stats(), before);
    }

    /// What is free, cached, in use or on its way is all that there is.
    fn check(&self, reserved_by_plan: u64) {
        let in_blocks: u64 = self.blocks.iter().map(Block::frames).sum();
        let cached: u64 = self.caches.iter().map(CpuCache::held).sum();
        let drained: u64 = self.drained.iter().map(|drained| drained.frames() as u64).sum();
        let kept: u64 = self.cached.iter().map(|(block, _)| block.frames()).sum();
        let pages = self.pages.marks.len() as u64 + kept;
        let stats = self.zones.stats();
        let all = stats.free_frames + in_blocks + cached + drained + pages + reserved_by_plan;
        assert_eq!(all, stats.total_frames, "frames are lost or counted twice");
        let in_lists: u64 = (0..).zip(stats.free_blocks).map(|(order, blocks)| blocks << order).sum();
        assert_eq!(in_lists, stats.free_frames);
    }
}

/// Runs an input; the number of its operations. Panics if anything is wrong.
pub fn execute(input: &[u8]) -> u64 {
    let mut frames = vec![Frame::RESERVED; FRAMES as usize];
    let (border, skew) = match input.first() {
        // A zone with fewer than 34 frames is not usable.
        Some(first @ (0..2 | 4..)) => (FIRST + u64::from(first >> 1) * 20, u64::from(first & 1)),
        _ => return 0,
    };
    let mut zones = Zones::with_border(&mut frames, FIRST, border);
    // A hole between two ranges.
    zones.add_free(FIRST + skew, 1000).expect("nothing was added before");
    zones.add_free(FIRST + 1003, FRAMES - 1003).expect("nothing was added before");
    let boot = zones.stats();
    let caches = [CpuCache::new(boot.total_frames), CpuCache::new(32 * 1024)];
    let mut state = State {
        zones,
        caches,
        pages: Pages { marks: BTreeMap::new(), pinned: 2 },
        blocks: Vec::new(),
        cached: Vec::new(),
        drained: Vec::new(),
        compaction: None,
        marks: 0,
    };
    let mut operations = 0;
    for chunk in input[1..].chunks_exact(3) {
        state.step(chunk[0], chunk[1], chunk[2]);
        let planned = state.compaction.as_ref().and_then(|(_, plan)| plan.as_ref());
        state.check(planned.map_or(0, |plan| plan.len() as u64));
        operations += 1;
    }

    // All is given back: the free blocks are those of the boot.
    if let Some((mut compactor, Some(mut plan))) = state.compaction.take() {
        plan.migrate(&mut state.pages);
        compactor.settle(&mut state.zones, plan);
    }
    while let Some((pfn, _)) = state.pages.marks.pop_first() {
        state.free_cached(0, Block { pfn, order: 0 }, MigrateType::Movable);
    }
    while let Some((block, kind)) = state.cached.pop() {
        state.free_cached(1, block, kind);
    }
    for block in state.blocks.drain(..) {
        assert_eq!(state.zones.free(block.pfn, block.order), Ok(()));
    }
    for drained in state.drained.drain(..) {
        assert_eq!(state.zones.free_drained(drained), Ok(()));
    }
    for cache in &mut state.caches {
        assert!(cache.drain_all(&mut state.zones).is_ok());
    }
    assert_eq!(state.zones.stats().free_blocks, boot.free_blocks);
    operations
}
