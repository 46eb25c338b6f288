//! Pieces that go through the CPUs' caches, and those kept apart from all others.

use crate::live::{Live, Step, step};
use crate::sources::{Regions, Returning};
use mm::heap::{SLAB, rounded};
use mm::{Heap, HeapCache};
use proptest::prelude::*;
use std::alloc::Layout;
use std::ptr::NonNull;

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
