//! The heap on real memory: every live allocation keeps the bytes that were written to it, whatever happens to the others.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use mm::heap::{SLAB, rounded};
use mm::{FrameSource, Heap, HeapCache};
use proptest::prelude::*;

/// Regions of the host's allocator, up to a limit; freed when the source is dropped. `skew` makes their starts unaligned.
struct Regions {
    left: usize,
    skew: usize,
    taken: Vec<(*mut u8, Layout)>,
}

impl Regions {
    fn new(limit: usize, skew: usize) -> Self {
        Self { left: limit, skew, taken: Vec::new() }
    }
}

// SAFETY: each region is freshly allocated, nobody else knows it, and it lives until the source is dropped (with the heap).
unsafe impl FrameSource for Regions {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let bytes = min_bytes.max(16 << 10).checked_add(self.skew)?;
        self.left = self.left.checked_sub(bytes)?;
        let layout = Layout::from_size_align(bytes, 4096).ok()?;
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(layout) };
        assert!(!start.is_null());
        self.taken.push((start, layout));
        // SAFETY: the region has `skew` bytes more than are handed out.
        Some((unsafe { start.add(self.skew) }, bytes - self.skew))
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        self.left = self.left.checked_sub(SLAB)?;
        let layout = Layout::from_size_align(SLAB, SLAB).ok()?;
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        self.taken.push((start.as_ptr(), layout));
        Some(start)
    }
}

/// Regions that can be given back; whatever is given back was taken and is no longer used, or the host's allocator
/// notices.
#[derive(Default)]
struct Returning {
    taken: Vec<(*mut u8, usize)>,
    given_back: usize,
}

impl Returning {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 4096).unwrap()
    }
}

// SAFETY: as above, and until it is given back.
unsafe impl FrameSource for Returning {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let bytes = min_bytes.next_multiple_of(16 << 10);
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(Self::layout(bytes)) };
        self.taken.push((start, bytes));
        Some((start, bytes))
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        let at = self.taken.iter().position(|&one| one == (start, bytes)).expect("what was taken");
        self.taken.swap_remove(at);
        self.given_back += bytes;
        // SAFETY: nothing may touch it any more; to be sure, it is overwritten.
        unsafe {
            start.write_bytes(0xee, bytes);
            dealloc(start, Self::layout(bytes));
        }
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(Self::layout(SLAB)) })?;
        self.taken.push((start.as_ptr(), SLAB));
        Some(start)
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        self.give_back(slab.as_ptr(), SLAB);
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        for &(start, bytes) in &self.taken {
            // SAFETY: allocated by `grow`, not given back.
            unsafe { dealloc(start, Self::layout(bytes)) };
        }
    }
}

proptest! {
    #[test]
    fn idle_regions_are_given_back_and_live_ones_stay(
        sizes in prop::collection::vec(1usize..30_000, 1..80),
        kept in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        keep in 0usize..100_000,
    ) {
        let mut heap = Heap::new(Returning::default());
        for round in 0..3u8 {
            let mut live: Vec<Live> = Vec::new();
            for (number, &size) in sizes.iter().enumerate() {
                let layout = Layout::from_size_align(size, 1 << (number % 8)).unwrap();
                let memory = heap.allocate(layout).unwrap();
                live.push(Live { memory, layout, seed: round.wrapping_add(number as u8) });
                live[number].fill();
            }
            let kept: Vec<usize> = kept.iter().map(|index| index.index(sizes.len())).collect();
            for (_, one) in live.iter().enumerate().filter(|(number, _)| !kept.contains(number)) {
                one.check(one.layout.size());
                // SAFETY: allocated above with this layout.
                unsafe { heap.deallocate(one.memory, one.layout) };
            }
            let (idle, before) = (heap.idle_bytes(), heap.stats());
            let given = heap.trim(keep);
            prop_assert!(given <= idle && idle - given <= keep && heap.idle_bytes() == idle - given);
            prop_assert_eq!(heap.stats().claimed, before.claimed - given);
            let source = heap.source_mut();
            prop_assert_eq!(source.taken.iter().map(|one| one.1).sum::<usize>(), heap.stats().claimed);
            for (_, one) in live.iter().enumerate().filter(|(number, _)| kept.contains(number)) {
                one.check(one.layout.size());
                // SAFETY: as above.
                unsafe { heap.deallocate(one.memory, one.layout) };
            }
            heap.trim(0);
            // talc's own tables are in the first region, for ever.
            prop_assert_eq!((heap.stats().allocated, heap.stats().slabs), (0, 0));
            prop_assert!(heap.stats().regions <= 1);
        }
    }
}

impl Drop for Regions {
    fn drop(&mut self) {
        for &(start, layout) in &self.taken {
            // SAFETY: allocated above with this layout, and freed only here.
            unsafe { dealloc(start, layout) };
        }
    }
}

/// A live allocation, filled with a pattern of its own.
struct Live {
    memory: NonNull<u8>,
    layout: Layout,
    seed: u8,
}

impl Live {
    fn fill(&self) {
        for i in 0..self.layout.size() {
            // SAFETY: inside the allocation.
            unsafe { self.memory.add(i).write(self.pattern(i)) };
        }
    }

    fn check(&self, bytes: usize) {
        for i in 0..bytes {
            // SAFETY: inside the allocation, which `fill` has written.
            let byte = unsafe { self.memory.add(i).read() };
            assert_eq!(byte, self.pattern(i), "byte {i} of {:?}", self.layout);
        }
    }

    fn pattern(&self, i: usize) -> u8 {
        self.seed.wrapping_mul(31).wrapping_add(i as u8)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Allocate { size: usize, align: u32, seed: u8 },
    Free { nth: usize },
    Resize { nth: usize, size: usize },
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0_usize), 8 => 1..200_usize, 4 => 200..5000_usize, 1 => 5000..60_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (size(), 0..13_u32, any::<u8>()).prop_map(|(size, align, seed)| Step::Allocate { size, align, seed }),
        3 => any::<usize>().prop_map(|nth| Step::Free { nth }),
        3 => (any::<usize>(), size()).prop_map(|(nth, size)| Step::Resize { nth, size }),
    ]
}

/// `peak`: the highest sum of live sizes so far. The heap's may be above, for a moved allocation has two copies for a moment.
fn assert_stats(heap: &Heap<Regions>, live: &[Live], peak: usize) {
    let stats = heap.stats();
    assert_eq!(stats.allocated, live.iter().map(|it| rounded(it.layout).size()).sum::<usize>());
    assert_eq!(stats.allocations, live.iter().filter(|it| it.layout.size() > 0).count());
    assert!(stats.peak >= peak);
    assert!(stats.allocated <= stats.claimed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn allocations_keep_their_bytes(
        steps in prop::collection::vec(step(), 1..150),
        limit in 20_000..1_000_000_usize,
        skew in 0..64_usize,
    ) {
        let mut heap = Heap::new(Regions::new(limit, skew));
        let mut live: Vec<Live> = Vec::new();
        let mut peak = 0;
        for step in steps {
            match step {
                Step::Allocate { size, align, seed } => {
                    let layout = Layout::from_size_align(size, 1 << align).unwrap();
                    if let Some(memory) = heap.allocate(layout) {
                        prop_assert_eq!(memory.as_ptr() as usize % layout.align(), 0);
                        let it = Live { memory, layout, seed };
                        it.fill();
                        live.push(it);
                    }
                }
                Step::Free { nth } if !live.is_empty() => {
                    let it = live.swap_remove(nth % live.len());
                    it.check(it.layout.size());
                    // SAFETY: live, with this layout.
                    unsafe { heap.deallocate(it.memory, it.layout) };
                }
                Step::Resize { nth, size } if !live.is_empty() => {
                    let nth = nth % live.len();
                    let it = &mut live[nth];
                    // SAFETY: live, with this layout; the old pointer is forgotten on success.
                    if let Some(memory) = unsafe { heap.reallocate(it.memory, it.layout, size) } {
                        prop_assert_eq!(memory.as_ptr() as usize % it.layout.align(), 0);
                        it.memory = memory;
                        let kept = it.layout.size().min(size);
                        it.layout = Layout::from_size_align(size, it.layout.align()).unwrap();
                        it.check(kept);
                        it.fill();
                    }
                }
                _ => {}
            }
            let allocated: usize = live.iter().map(|it| rounded(it.layout).size()).sum();
            peak = peak.max(allocated);
            assert_stats(&heap, &live, peak);
        }
        for it in live.drain(..) {
            it.check(it.layout.size());
            // SAFETY: live, with this layout.
            unsafe { heap.deallocate(it.memory, it.layout) };
        }
        assert_stats(&heap, &live, peak);
    }
}

#[test]
fn nothing_is_claimed_before_it_is_needed() {
    let mut heap = Heap::new(Regions::new(1 << 20, 0));
    let empty = Layout::from_size_align(0, 64).unwrap();
    let dangling = heap.allocate(empty).unwrap();
    assert_eq!(dangling.as_ptr() as usize % 64, 0);
    // SAFETY: allocated just now with this layout.
    unsafe { heap.deallocate(dangling, empty) };
    assert_eq!(heap.stats(), mm::HeapStats::default());
}

#[test]
fn zero_sizes_grow_and_shrink() {
    let mut heap = Heap::new(Regions::new(1 << 20, 0));
    let layout = |size| Layout::from_size_align(size, 16).unwrap();
    let memory = heap.allocate(layout(0)).unwrap();
    // SAFETY: each call gives the layout that the last one left.
    unsafe {
        let memory = heap.reallocate(memory, layout(0), 40).unwrap();
        assert_eq!(heap.stats().allocated, 48, "40 bytes, rounded up");
        let memory = heap.reallocate(memory, layout(40), 0).unwrap();
        assert_eq!((heap.stats().allocated, heap.stats().allocations), (0, 0));
        heap.deallocate(memory, layout(0));
    }
}

#[test]
fn refusals_are_counted_and_harmless() {
    let mut heap = Heap::new(Regions::new(64 << 10, 0));
    let small = Layout::new::<[u8; 100]>();
    let memory = heap.allocate(small).unwrap();
    let it = Live { memory, layout: small, seed: 9 };
    it.fill();
    let huge = [1 << 20, isize::MAX as usize - 4096, isize::MAX as usize];
    for size in huge {
        assert!(heap.allocate(Layout::from_size_align(size, 1).unwrap()).is_none());
        // SAFETY: live with this layout; refused, so it stays.
        assert!(unsafe { heap.reallocate(memory, small, size) }.is_none());
    }
    // SAFETY: as above; no layout has this size.
    assert!(unsafe { heap.reallocate(memory, small, usize::MAX) }.is_none());
    assert!(heap.allocate(Layout::from_size_align(8, 1 << 40).unwrap()).is_none());
    it.check(100);
    assert_eq!(heap.stats().failures, 7);
    assert_eq!(heap.stats().allocated, rounded(small).size());
    // SAFETY: live, with this layout.
    unsafe { heap.deallocate(memory, small) };
}

#[test]
fn freed_memory_is_used_again() {
    let mut heap = Heap::new(Regions::new(64 << 20, 0));
    let layout = Layout::new::<[u8; 10_000]>();
    for _ in 0..10_000 {
        let memory = heap.allocate(layout).unwrap();
        // SAFETY: allocated just now with this layout.
        unsafe { heap.deallocate(memory, layout) };
    }
    assert_eq!(heap.stats().regions, 1);
}

#[test]
fn a_full_heap_refuses_even_one_byte() {
    let mut heap = Heap::new(Regions::new(20 << 10, 0));
    let byte = Layout::new::<u8>();
    let mut live = 0;
    while heap.allocate(byte).is_some() {
        live += 1;
    }
    assert!(live > 200, "{live} allocations of one byte in 16 KiB");
    assert_eq!(heap.stats().allocated, live * rounded(byte).size());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two CPUs' caches before one heap: pieces go through any of them, or past them, and keep their bytes; drained, all is
    /// as if they had never been.
    #[test]
    fn caches_keep_bytes_and_lose_nothing(
        steps in prop::collection::vec((0..3_usize, step()), 1..400),
        limit in 100_000..1_000_000_usize,
    ) {
        let mut heap = Heap::new(Regions::new(limit, 0));
        let mut caches = [HeapCache::new(), HeapCache::new()];
        let mut live: Vec<Live> = Vec::new();
        for (cpu, step) in steps {
            let cache = caches.get_mut(cpu);
            match step {
                Step::Allocate { size, align, seed } => {
                    let layout = Layout::from_size_align(size, 1 << align).unwrap();
                    let memory = match cache {
                        Some(cache) => cache.allocate(layout).or_else(|| cache.refill(&mut heap, layout)),
                        None => heap.allocate(layout),
                    };
                    if let Some(memory) = memory {
                        prop_assert_eq!(memory.as_ptr() as usize % layout.align(), 0);
                        let it = Live { memory, layout, seed };
                        it.fill();
                        live.push(it);
                    }
                }
                Step::Free { nth } | Step::Resize { nth, .. } if !live.is_empty() => {
                    let it = live.swap_remove(nth % live.len());
                    it.check(it.layout.size());
                    // SAFETY: live, with this layout, of this heap.
                    unsafe {
                        match cache {
                            Some(cache) => {
                                if !cache.deallocate(it.memory, it.layout) {
                                    cache.deallocate_full(&mut heap, it.memory, it.layout);
                                }
                            }
                            None => heap.deallocate(it.memory, it.layout),
                        }
                    }
                }
                _ => {}
            }
            let held: usize = caches.iter().map(HeapCache::held).sum();
            let allocated: usize = live.iter().map(|it| rounded(it.layout).size()).sum();
            prop_assert_eq!(heap.stats().allocated, allocated + held);
        }
        for it in live.drain(..) {
            it.check(it.layout.size());
            // SAFETY: live, with this layout, of this heap.
            unsafe { caches[0].deallocate_full(&mut heap, it.memory, it.layout) };
        }
        for cache in &mut caches {
            let (held, before) = (cache.held(), heap.stats().allocated);
            // SAFETY: all that it holds is of this heap.
            prop_assert_eq!(unsafe { cache.drain(&mut heap) }, held);
            prop_assert_eq!((cache.held_pieces(), heap.stats().allocated), (0, before - held));
        }
        prop_assert_eq!((heap.stats().allocated, heap.stats().allocations), (0, 0));
    }
}

/// Refuses one growth.
struct Refusing {
    source: Returning,
    /// Growths before it.
    before: u64,
    refused: bool,
}

// SAFETY: as `Returning`.
unsafe impl FrameSource for Refusing {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        if self.before == 0 && !self.refused {
            self.refused = true;
            return None;
        }
        self.before = self.before.saturating_sub(1);
        self.source.grow(min_bytes)
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        if self.before == 0 && !self.refused {
            self.refused = true;
            return None;
        }
        self.before = self.before.saturating_sub(1);
        self.source.slab()
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        self.source.give_back_slab(slab);
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        self.source.give_back(start, bytes);
    }
}

/// Each growth of the heap fails in turn: one request is refused for it, a refused resize leaves the old allocation, the
/// same request is served the next time, and nothing is lost.
#[test]
fn each_growth_fails_in_turn() {
    const SIZES: [usize; 8] = [100, 5_000, 20_000, 64, 40_000, 300, 9_000, 17_000];
    let mut before = 0;
    loop {
        let source = Refusing { source: Returning::default(), before, refused: false };
        let mut heap = Heap::new(source);
        let mut live: Vec<Live> = Vec::new();
        let mut refusals = 0;
        for (number, size) in SIZES.into_iter().enumerate() {
            let layout = Layout::from_size_align(size, 16).unwrap();
            let memory = heap.allocate(layout).unwrap_or_else(|| {
                refusals += 1;
                heap.allocate(layout).expect("only one growth is refused")
            });
            live.push(Live { memory, layout, seed: number as u8 });
            live[number].fill();
            // Resized to where it hardly fits in place.
            let old = &live[number];
            let new_size = size * 3;
            // SAFETY: allocated just now with this layout.
            let mut resized = unsafe { heap.reallocate(old.memory, old.layout, new_size) };
            if resized.is_none() {
                refusals += 1;
                old.check(size);
                // SAFETY: as above; the refusal has left it as it was.
                resized = unsafe { heap.reallocate(old.memory, old.layout, new_size) };
            }
            let layout = Layout::from_size_align(new_size, 16).unwrap();
            live[number] = Live { memory: resized.expect("as above"), layout, seed: number as u8 };
            live[number].check(size);
            live[number].fill();
        }
        live.iter().for_each(|one| one.check(one.layout.size()));
        assert_eq!(heap.stats().failures, refusals);
        let refused = heap.source_mut().refused;
        assert_eq!(refusals, u64::from(refused));
        for one in live {
            // SAFETY: live, with this layout.
            unsafe { heap.deallocate(one.memory, one.layout) };
        }
        heap.trim(0);
        assert_eq!((heap.stats().allocated, heap.stats().regions), (0, 1));
        if !refused {
            break;
        }
        before += 1;
    }
    assert!(before > 5, "the heap grew only {before} times");
}

/// While empty slabs are not kept, each goes back with its last piece; those that were empty before go with the first.
#[test]
fn slabs_go_back_at_once_when_memory_is_short() {
    let mut heap = Heap::new(Returning::default());
    let layout = Layout::new::<[u8; 100]>();
    let mut pieces: Vec<NonNull<u8>> = (0..200).map(|_| heap.allocate(layout).unwrap()).collect();
    let slabs = heap.stats().slabs;
    assert!(slabs > 4);
    for piece in pieces.drain(100..) {
        // SAFETY: allocated above with this layout.
        unsafe { heap.deallocate(piece, layout) };
    }
    assert_eq!(heap.stats().slabs, slabs);
    heap.keep_slabs(false);
    for piece in pieces {
        // SAFETY: as above.
        unsafe { heap.deallocate(piece, layout) };
        assert_eq!(heap.idle_bytes(), 0);
    }
    assert_eq!((heap.stats().slabs, heap.source_mut().given_back), (0, slabs * SLAB));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Protected pieces and others never lie in one slab, whoever frees them, and all slabs come back.
    #[test]
    fn protected_pieces_share_no_slab(
        steps in prop::collection::vec((any::<bool>(), 0..3_u8, 1..1344_usize, any::<usize>()), 1..400),
    ) {
        let mut heap = Heap::new(Returning::default());
        let mut cache = HeapCache::new();
        let mut live: Vec<(bool, Live)> = Vec::new();
        for (number, (protected, step, size, nth)) in steps.into_iter().enumerate() {
            if step > 0 || live.is_empty() {
                let layout = Layout::from_size_align(size, 8).unwrap();
                let memory = match protected {
                    true => heap.allocate_protected(layout).unwrap(),
                    false => heap.allocate(layout).unwrap(),
                };
                let slab = |memory: NonNull<u8>| memory.as_ptr() as usize / SLAB;
                let shared = live.iter().any(|(other, it)| *other != protected && slab(it.memory) == slab(memory));
                prop_assert!(!shared);
                let it = Live { memory, layout, seed: number as u8 };
                it.fill();
                live.push((protected, it));
            } else {
                let (_, it) = live.swap_remove(nth % live.len());
                it.check(it.layout.size());
                // SAFETY: live, with this layout, of this heap.
                unsafe {
                    if !(protected && cache.deallocate(it.memory, it.layout)) {
                        heap.deallocate(it.memory, it.layout);
                    }
                }
            }
        }
        // SAFETY: as above; all that the cache holds is of this heap.
        unsafe {
            cache.drain(&mut heap);
            live.iter().for_each(|(_, it)| heap.deallocate(it.memory, it.layout));
        }
        heap.trim(0);
        prop_assert_eq!((heap.stats().allocated, heap.stats().slabs), (0, 0));
    }
}
