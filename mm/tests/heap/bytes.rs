//! What is allocated, resized and freed keeps its bytes, and the accounts are right.

use crate::live::{Live, Step, step};
use crate::sources::Regions;
use mm::Heap;
use mm::heap::rounded;
use proptest::prelude::*;
use std::alloc::Layout;

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
