//! Each allocation that mm makes for a caller is failed in turn: the caller gets an error, nothing panics, nothing is
//! lost.

use core::alloc::Layout;
use core::ptr::NonNull;
use mm::compact::{Compactor, Goal, Mover, Pinned, Progress};
use mm::heap::SLAB;
use mm::{Block, CpuCache, Frame, FrameSource, Heap, MigrateType, Reserve, ZoneKind, Zones};
use std::cell::RefCell;
use std::rc::Rc;

const FRAMES: usize = 1 << 12;
type Shared = Rc<RefCell<Zones<'static>>>;

/// A frame of real memory.
#[derive(Clone)]
#[repr(align(4096))]
#[expect(dead_code, reason = "the heap writes to it")]
struct Page([u8; 4096]);

/// Blocks of the zones, seen through an arena of real memory.
struct Blocks {
    zones: Shared,
    arena: Rc<RefCell<Vec<Page>>>,
    taken: Vec<Block>,
}

// SAFETY: each block is handed out once, and lies in the arena, which is never resized and outlives the heap.
unsafe impl FrameSource for Blocks {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let order = min_bytes.div_ceil(4096).next_power_of_two().trailing_zeros() as usize;
        let block = self.zones.borrow_mut().alloc(order, MigrateType::Unmovable, Reserve::None).ok()?;
        self.taken.push(block);
        let start = self.arena.borrow_mut().as_mut_ptr().wrapping_add(block.pfn as usize);
        Some((start.cast(), block.bytes() as usize))
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        NonNull::new(self.grow(SLAB)?.0)
    }
}

struct Everything;

impl Mover for Everything {
    fn is_movable(&self, _: u64) -> bool {
        true
    }
    fn migrate(&mut self, _: u64, _: u64) -> Result<(), Pinned> {
        // Every frame turns out to be pinned: all that was reserved for it must come back.
        Err(Pinned)
    }
}

/// Uses every way to allocate. Each may fail; what was got is given back. Number of failures seen.
fn scenario(zones: &Shared, arena: &Rc<RefCell<Vec<Page>>>) -> u64 {
    let mut failures = 0;
    let mut blocks: Vec<Block> = Vec::new();
    let mut note = |result: Result<Block, mm::ZonesError>, blocks: &mut Vec<Block>| match result {
        Ok(block) => blocks.push(block),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            failures += 1;
        }
    };
    for order in [0, 1, 3, 9, 0, 5] {
        for kind in MigrateType::ALL {
            let got = zones.borrow_mut().alloc(order, kind, Reserve::None);
            note(got, &mut blocks);
        }
    }
    let got = zones.borrow_mut().alloc(0, MigrateType::Unmovable, Reserve::Emergency);
    note(got, &mut blocks);
    let got = zones.borrow_mut().alloc_up_to(ZoneKind::Dma32, 2, MigrateType::Unmovable, Reserve::None);
    note(got, &mut blocks);
    let got = zones.borrow_mut().alloc_at_most(10, MigrateType::Movable);
    note(got, &mut blocks);

    let mut cache = CpuCache::new(FRAMES as u64);
    let mut pages = Vec::new();
    for i in 0..40 {
        let kind = MigrateType::ALL[i % 3];
        let got = match cache.alloc(0, kind) {
            Some(pfn) => Ok(pfn),
            None => cache.refill(&mut zones.borrow_mut(), 0, kind, Reserve::None),
        };
        match got {
            Ok(pfn) => pages.push((pfn, kind)),
            Err(_) => failures += 1,
        }
    }
    for (pfn, kind) in pages {
        if let Some(drained) = cache.free(pfn, 0, kind) {
            zones.borrow_mut().free_drained(drained).unwrap();
        }
    }
    cache.drain_all(&mut zones.borrow_mut()).unwrap();

    let mut heap = Heap::new(Blocks { zones: Rc::clone(zones), arena: Rc::clone(arena), taken: Vec::new() });
    let mut live = Vec::new();
    for size in [100, 5000, 70_000, 16, 300_000] {
        let layout = Layout::from_size_align(size, 16).unwrap();
        match heap.allocate(layout) {
            Some(at) => live.push((at, layout)),
            None => failures += 1,
        }
    }
    if let Some((at, layout)) = live.pop() {
        // SAFETY: allocated just now with this layout; where it fails, the old one is still there.
        match unsafe { heap.reallocate(at, layout, 500_000) } {
            Some(at) => live.push((at, Layout::from_size_align(500_000, 16).unwrap())),
            None => {
                failures += 1;
                live.push((at, layout));
            }
        }
    }
    for (at, layout) in live {
        // SAFETY: allocated above with this layout, freed once.
        unsafe { heap.deallocate(at, layout) };
    }
    blocks.append(&mut heap.source_mut().taken);
    drop(heap);

    let mut compactor = Compactor::new(&zones.borrow(), Goal::Everything);
    while compactor.step(&mut zones.borrow_mut(), &mut Everything, 50) == Progress::More {}
    for block in blocks {
        zones.borrow_mut().free(block.pfn, block.order).unwrap();
    }
    failures
}

#[test]
fn every_allocation_fails_in_turn() {
    let frames = vec![Frame::RESERVED; FRAMES].leak();
    let mut zones = Zones::with_border(frames, 0, FRAMES as u64 / 2);
    zones.add_free(0, FRAMES as u64).unwrap();
    let boot = zones.stats();
    let zones = Rc::new(RefCell::new(zones));
    let arena = Rc::new(RefCell::new(vec![Page([0; 4096]); FRAMES]));

    assert_eq!(scenario(&zones, &arena), 0, "without injection nothing fails");
    let mut sites = 0;
    loop {
        let before = zones.borrow().stats();
        zones.borrow_mut().inject_failures(sites, 1);
        let failures = scenario(&zones, &arena);
        let now = zones.borrow().stats();
        assert_eq!(now.free_blocks, boot.free_blocks, "after the failure of allocation {sites}");
        assert_eq!(now.free_frames, boot.free_frames);
        if now.failures == before.failures {
            break;
        }
        assert_eq!(now.failures, before.failures + 1);
        assert!(failures >= 1, "the failure of allocation {sites} was noticed by its caller");
        sites += 1;
    }
    assert!(sites >= 30, "{sites} allocations were failed");
    // All at once.
    zones.borrow_mut().inject_failures(0, u64::MAX);
    assert!(scenario(&zones, &arena) > sites / 2);
    assert_eq!(zones.borrow().stats().free_blocks, boot.free_blocks);
}
