//! Memory that nobody uses goes back to where it came from.

use crate::live::Live;
use crate::sources::Returning;
use mm::Heap;
use mm::heap::SLAB;
use proptest::prelude::*;
use std::alloc::Layout;
use std::ptr::NonNull;

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
