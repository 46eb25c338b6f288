//! A heap that gets no memory refuses, and nothing is lost by that.

use crate::live::Live;
use crate::sources::{Refusing, Regions, Returning};
use mm::Heap;
use mm::heap::rounded;
use std::alloc::Layout;

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
