extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::{FreeError, Holder, Stats};
use MigrateType::{Movable, Reclaimable, Unmovable};

fn frames(n: usize) -> Vec<Frame> {
    vec![Frame::RESERVED; n]
}

#[test]
fn reserved_until_added() {
    let mut f = frames(64);
    let mut buddy = Buddy::new(&mut f, 0);
    assert_eq!(buddy.alloc(0, Unmovable), Err(AllocError::OutOfMemory { order: 0, free: 0 }));
    assert_eq!(buddy.holder(5), Holder::Reserved);
    assert_eq!(buddy.free(5, 0), Err(FreeError::Foreign { pfn: 5 }));
    assert_eq!(buddy.stats(), Stats { failures: 1, ..Stats::default() });
}

#[test]
fn ranges_are_added_in_the_largest_blocks() {
    let mut f = frames(1 << 10);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(3, 20).unwrap(); // 3 | 4..8 | 8..16 | 16..20 | 20..22 | 22
    let mut expected = [0; crate::ORDERS];
    for order in [0, 2, 3, 2, 1, 0] {
        expected[order] += 1;
    }
    assert_eq!(buddy.stats().free_blocks, expected);
    // The neighbours join: 0..24 is 16 + 8.
    buddy.add_free(0, 3).unwrap();
    buddy.add_free(23, 1).unwrap();
    assert_eq!(buddy.stats().largest_free_order, Some(4));
    assert_eq!(buddy.stats().free_blocks.iter().sum::<u64>(), 2);
}

#[test]
fn overlapping_and_foreign_ranges_are_refused() {
    let mut f = frames(4096);
    let mut buddy = Buddy::new(&mut f, 4096);
    buddy.add_free(5000, 2000).unwrap();
    let before = buddy.stats();
    assert_eq!(buddy.add_free(4500, 501), Err(AddError::Overlap { pfn: 5000 }));
    assert_eq!(buddy.add_free(6999, 3), Err(AddError::Overlap { pfn: 6999 }));
    assert!(matches!(buddy.add_free(4096, 4096), Err(AddError::Overlap { .. })));
    assert!(matches!(buddy.add_free(4095, 2), Err(AddError::OutOfRange { .. })));
    assert!(matches!(buddy.add_free(8191, 2), Err(AddError::OutOfRange { .. })));
    assert!(matches!(buddy.add_free(u64::MAX, 2), Err(AddError::OutOfRange { .. })));
    buddy.add_free(6000, 0).unwrap();
    // Frames that are allocated are managed, too.
    let block = buddy.alloc(2, Movable).unwrap();
    assert!(matches!(buddy.add_free(block.pfn + 1, 1), Err(AddError::Overlap { .. })));
    buddy.free(block.pfn, block.order).unwrap();
    assert_eq!(buddy.stats().free_blocks, before.free_blocks);
    buddy.add_free(7000, 100).unwrap();
}

#[test]
fn largest_block_is_256_mib() {
    let mut f = frames(3 << 16);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(100, (3 << 16) - 100).unwrap();
    let a = buddy.alloc(MAX_ORDER, Unmovable).unwrap();
    let b = buddy.alloc(MAX_ORDER, Unmovable).unwrap();
    assert_eq!(a.bytes(), 256 << 20);
    assert_eq!(a.pfn % (1 << 16), 0);
    assert_ne!(a.pfn, b.pfn);
    assert!(matches!(buddy.alloc(MAX_ORDER, Unmovable), Err(AllocError::OutOfMemory { .. })));
    assert_eq!(
        buddy.alloc(MAX_ORDER + 1, Unmovable),
        Err(AllocError::OrderTooLarge { order: MAX_ORDER + 1 })
    );
    assert_eq!(buddy.alloc(usize::MAX, Unmovable), Err(AllocError::OrderTooLarge { order: usize::MAX }));
    let rest = buddy.alloc_at_most(MAX_ORDER, Unmovable).unwrap();
    assert_eq!(rest.order, MAX_ORDER - 1);
    assert_eq!(buddy.alloc_at_most(3, Unmovable).unwrap().order, 3);
}

#[test]
fn alloc_at_most_drains_everything() {
    let mut f = frames(1000);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(1, 999).unwrap();
    let mut sizes = Vec::new();
    while let Ok(block) = buddy.alloc_at_most(usize::MAX, Unmovable) {
        sizes.push(block.order);
    }
    assert!(sizes.is_sorted_by(|a, b| a >= b), "largest first: {sizes:?}");
    assert_eq!(sizes.iter().map(|order| 1_u64 << order).sum::<u64>(), 999);
    assert_eq!(buddy.stats().free_frames, 0);
}

#[test]
fn wrong_frees_are_told_apart_and_change_nothing() {
    let mut f = frames(1024);
    let mut buddy = Buddy::new(&mut f, 1024);
    buddy.add_free(1024, 512).unwrap();
    let block = buddy.alloc(3, Unmovable).unwrap();
    let before = (buddy.stats(), buddy.frames.to_vec());
    let head = block.pfn;

    assert_eq!(buddy.free(head, 2), Err(FreeError::WrongOrder { pfn: head, order: 2, allocated: 3 }));
    assert!(matches!(buddy.free(head, 4), Err(FreeError::WrongOrder { .. } | FreeError::Misaligned { .. })));
    assert_eq!(buddy.free(head + 4, 2), Err(FreeError::NotBlockStart { pfn: head + 4, head, order: 3 }));
    assert_eq!(buddy.free(head + 4, 3), Err(FreeError::Misaligned { pfn: head + 4, order: 3 }));
    assert_eq!(buddy.free(head, 17), Err(FreeError::OrderTooLarge { order: 17 }));
    assert_eq!(buddy.free(head, usize::MAX), Err(FreeError::OrderTooLarge { order: usize::MAX }));
    for foreign in [0, 1023, 1536, 2047, 2048, u64::MAX] {
        assert_eq!(buddy.free(foreign, 0), Err(FreeError::Foreign { pfn: foreign }));
    }
    assert!(before == (buddy.stats(), buddy.frames.to_vec()));

    buddy.free(head, 3).unwrap();
    // It was joined with all of its buddies: the free block that holds it is larger now.
    assert_eq!(buddy.free(head, 3), Err(FreeError::DoubleFree { pfn: head, head: 1024, order: 9 }));
    assert_eq!(buddy.free(head + 1, 0), Err(FreeError::DoubleFree { pfn: head + 1, head: 1024, order: 9 }));
}

#[test]
fn fragmented_is_not_out_of_memory() {
    let mut f = frames(64);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(0, 64).unwrap();
    let blocks: Vec<_> = (0..64).map(|_| buddy.alloc(0, Unmovable).unwrap()).collect();
    for block in blocks.iter().filter(|block| block.pfn % 2 == 0) {
        buddy.free(block.pfn, 0).unwrap();
    }
    assert_eq!(buddy.alloc(1, Unmovable), Err(AllocError::Fragmented { order: 1, free: 32 }));
    assert_eq!(buddy.alloc(6, Unmovable), Err(AllocError::OutOfMemory { order: 6, free: 32 }));
}

#[test]
fn unmovable_blocks_lie_together_and_free_pageblocks_are_spared() {
    let mut f = frames(4 << PAGEBLOCK_ORDER);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(0, 4 << PAGEBLOCK_ORDER).unwrap();
    // One pageblock is full of what can move, but for some holes; the next is half full of it.
    let movable: Vec<_> = (0..512 + 256).map(|_| buddy.alloc(0, Movable).unwrap()).collect();
    assert!(movable.iter().all(|block| block.pfn < 512 + 256));
    for pfn in (0..512).step_by(8) {
        buddy.free(pfn, 0).unwrap();
    }
    assert_eq!(buddy.stats().fallbacks, 0);
    // No pageblock is unmovable yet: the fullest becomes so.
    let first = buddy.alloc(0, Unmovable).unwrap();
    assert_eq!(first.pfn, 0);
    assert_eq!(buddy.pageblock_type(first.pfn), Some(Unmovable));
    assert_eq!((buddy.stats().fallbacks, buddy.stats().claimed), (1, 1));
    assert_eq!(buddy.free_blocks_of(Unmovable)[0], 63);
    // The next are put there too, until there is no room for them.
    let order_0: Vec<_> = (0..63).map(|_| buddy.alloc(0, Unmovable).unwrap().pfn).collect();
    assert!(order_0.is_sorted() && order_0.iter().all(|pfn| *pfn < 512), "{order_0:?}");
    assert_eq!(buddy.stats().claimed, 1);
    assert_eq!(buddy.alloc(3, Unmovable).unwrap().pfn >> PAGEBLOCK_ORDER, 1);
    assert_eq!(buddy.stats().claimed, 2);
    // What can be moved or dropped uses holes wherever they are, and changes no type.
    assert_eq!(buddy.alloc(2, Reclaimable).unwrap().pfn >> PAGEBLOCK_ORDER, 1);
    assert_eq!(buddy.alloc(0, Movable).unwrap().pfn >> PAGEBLOCK_ORDER, 1);
    assert_eq!(buddy.pageblock_type(512), Some(Unmovable));
    // Two pageblocks are whole still.
    assert_eq!(buddy.stats().free_blocks[PAGEBLOCK_ORDER + 1], 1);
}

#[test]
fn a_pageblock_that_is_free_again_has_no_type() {
    let mut f = frames(2 << PAGEBLOCK_ORDER);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(0, 2 << PAGEBLOCK_ORDER).unwrap();
    let movable = buddy.alloc(8, Movable).unwrap();
    let unmovable = buddy.alloc(3, Unmovable).unwrap();
    assert_eq!((buddy.owner(movable.pfn), buddy.owner(unmovable.pfn)), (Some(Movable), Some(Unmovable)));
    let contents = buddy.pageblock_contents(0);
    assert_eq!((contents.free, contents.allocated, contents.reserved), (248, [8, 256, 0], 0));
    buddy.free(unmovable.pfn, unmovable.order).unwrap();
    assert_eq!(buddy.pageblock_type(0), Some(Unmovable), "until it is free");
    buddy.free(movable.pfn, movable.order).unwrap();
    assert_eq!(buddy.stats().largest_free_order, Some(PAGEBLOCK_ORDER + 1));
    for kind in MigrateType::ALL {
        assert_eq!(buddy.free_blocks_of(kind), [0; crate::ORDERS]);
    }
    buddy.alloc(0, Movable).unwrap();
    assert_eq!(buddy.pageblock_type(0), Some(Movable));
}

#[test]
fn the_fullest_pageblock_is_used_first() {
    let mut f = frames(4 << PAGEBLOCK_ORDER);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(0, 4 << PAGEBLOCK_ORDER).unwrap();
    // Largest free blocks: 0 has order 8, 1 has order 3, 2 has order 5.
    let all: Vec<_> = (0..3 << 9).map(|_| buddy.alloc(0, Movable).unwrap().pfn).collect();
    let mut free = |range: core::ops::Range<u64>| range.for_each(|pfn| buddy.free(pfn, 0).unwrap());
    free(0..256);
    free(512 + 64..512 + 72);
    free(1024 + 128..1024 + 160);
    assert_eq!(all.len(), 1536);
    assert_eq!(buddy.alloc(5, Movable).unwrap().pfn, 1024 + 128);
    assert_eq!(buddy.alloc(1, Movable).unwrap().pfn, 512 + 64);
    assert_eq!(buddy.alloc(3, Movable).unwrap().pfn, 0);
    assert_eq!(buddy.stats().free_blocks[PAGEBLOCK_ORDER], 1);
}

#[test]
fn a_frame_is_taken_out_of_the_middle_of_a_free_block() {
    let mut f = frames(2 << PAGEBLOCK_ORDER);
    let mut buddy = Buddy::new(&mut f, 512);
    buddy.add_free(512, 1 << PAGEBLOCK_ORDER).unwrap();
    let boot = buddy.stats();
    assert!(buddy.take(512 + 77, Movable));
    assert!(!buddy.take(512 + 77, Movable), "it is allocated now");
    assert!(!buddy.take(1024, Movable) && !buddy.take(0, Movable), "not ours");
    assert_eq!(buddy.holder(512 + 77), Holder::Allocated(Block { pfn: 512 + 77, order: 0 }));
    assert_eq!(buddy.pageblock_type(512), Some(Movable));
    let mut expected = [0; crate::ORDERS];
    expected[..9].fill(1);
    assert_eq!(buddy.free_blocks_of(Movable), expected);
    assert_eq!(buddy.stats().allocs, 0);
    buddy.give_back(512 + 77).unwrap();
    assert!(matches!(buddy.give_back(512 + 77), Err(FreeError::DoubleFree { .. })));
    assert_eq!(buddy.stats(), boot);
}

#[test]
fn coalescing_crosses_pageblock_types() {
    let mut f = frames(1 << 12);
    let mut buddy = Buddy::new(&mut f, 0);
    buddy.add_free(0, 1 << 12).unwrap();
    let blocks: Vec<_> = (0..1 << 12).map(|i| buddy.alloc(0, MigrateType::ALL[i % 3]).unwrap()).collect();
    assert_eq!(buddy.stats().free_frames, 0);
    for block in blocks {
        buddy.free(block.pfn, 0).unwrap();
    }
    assert_eq!(buddy.stats().free_blocks[12], 1);
}

#[test]
fn works_at_any_first_frame() {
    // Neither the first frame nor the length is aligned to anything.
    let mut f = frames(5003);
    let mut buddy = Buddy::new(&mut f, 0x1_2345);
    buddy.add_free(0x1_2345, 5003).unwrap();
    let before = buddy.stats().free_blocks;
    let mut blocks = Vec::new();
    while let Ok(block) = buddy.alloc(0, Movable) {
        blocks.push(block);
    }
    assert_eq!(blocks.len(), 5003);
    for block in blocks {
        buddy.free(block.pfn, 0).unwrap();
    }
    assert_eq!(buddy.stats().free_blocks, before);
}

#[test]
fn frames_past_the_end_of_physical_addresses_are_not_used() {
    let mut f = frames(80);
    let buddy = Buddy::new(&mut f, (1 << 52) - 50);
    assert_eq!(buddy.span(), (1 << 52) - 50..1 << 52);
    let buddy = Buddy::new(&mut f[..33], 0);
    assert!(buddy.span().is_empty(), "no room for the allocator's own data");
    let buddy = Buddy::new(&mut f, u64::MAX);
    assert!(buddy.span().is_empty());
}
