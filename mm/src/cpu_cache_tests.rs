extern crate std;

use super::*;
use crate::Frame;
use MigrateType::{Movable, Unmovable};
use std::vec;
use std::vec::Vec;

const FRAMES: usize = 1 << 16;

fn allocate(cache: &mut CpuCache, zones: &mut Zones<'_>, kind: MigrateType) -> u64 {
    match cache.alloc(0, kind) {
        Some(pfn) => pfn,
        None => cache.refill(zones, 0, kind, Reserve::None).unwrap(),
    }
}

#[test]
fn no_frame_is_lost_or_given_twice() {
    let mut f = vec![Frame::RESERVED; FRAMES];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, FRAMES as u64).unwrap();
    let boot = zones.stats();
    let mut cache = CpuCache::new(FRAMES as u64);
    let mut live: Vec<u64> = (0..1000).map(|_| allocate(&mut cache, &mut zones, Movable)).collect();
    let mut sorted = live.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 1000);
    assert_eq!(boot.total_frames, zones.free_frames() + cache.held() + 1000);
    for pfn in live.drain(..) {
        if let Some(drained) = cache.free(pfn, 0, Movable) {
            zones.free_drained(drained).unwrap();
        }
        assert!(cache.held() <= 2 * 32);
    }
    assert_eq!(boot.total_frames, zones.free_frames() + cache.held());
    let held = cache.held();
    assert_eq!(cache.drain_all(&mut zones), Ok(held));
    assert_eq!(cache.stats().allocs, cache.stats().frees);
    assert_eq!(zones.stats().free_blocks, boot.free_blocks);
    assert_eq!(zones.stats().allocated_frames, zones.stats().freed_frames);
}

#[test]
fn last_freed_is_first_allocated_and_types_are_apart() {
    let mut f = vec![Frame::RESERVED; FRAMES];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, FRAMES as u64).unwrap();
    let mut cache = CpuCache::new(FRAMES as u64);
    let (a, b) = (allocate(&mut cache, &mut zones, Movable), allocate(&mut cache, &mut zones, Unmovable));
    assert!(cache.free(a, 0, Movable).is_none());
    assert!(cache.free(b, 0, Unmovable).is_none());
    assert_eq!(cache.alloc(0, Movable), Some(a));
    assert_eq!(cache.alloc(0, Unmovable), Some(b));
    assert_eq!(cache.alloc(0, MigrateType::Reclaimable), None);
}

#[test]
fn near_the_edge_nothing_is_hoarded() {
    let mut f = vec![Frame::RESERVED; FRAMES];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, FRAMES as u64).unwrap();
    let low = zones.watermarks(crate::ZoneKind::Dma32).low;
    while zones.free_frames() > low + 3 {
        zones.alloc(0, Unmovable, Reserve::None).unwrap();
    }
    let mut cache = CpuCache::new(FRAMES as u64);
    cache.refill(&mut zones, 0, Movable, Reserve::None).unwrap();
    assert_eq!((cache.held(), zones.free_frames()), (2, low));
    while cache.alloc(0, Movable).is_some() {}
    while cache.refill(&mut zones, 0, Movable, Reserve::None).is_ok() {
        assert_eq!(cache.held(), 0);
    }
    cache.refill(&mut zones, 0, Movable, Reserve::Emergency).unwrap();
}

#[test]
fn a_foreign_frame_is_found_when_drained_and_harms_no_other() {
    let mut f = vec![Frame::RESERVED; FRAMES];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, FRAMES as u64).unwrap();
    let boot = zones.stats();
    let mut cache = CpuCache::new(FRAMES as u64);
    let pfn = cache.refill(&mut zones, 0, Movable, Reserve::None).unwrap();
    assert!(cache.free(u64::MAX, 0, Movable).is_none());
    assert!(cache.free(pfn, 0, Movable).is_none());
    assert_eq!(cache.drain_all(&mut zones), Err(FreeError::Foreign { pfn: u64::MAX }));
    assert_eq!(zones.stats().free_blocks, boot.free_blocks);
}

#[test]
fn the_batch_follows_memory() {
    for (frames, batch) in [(0, 1), (4096, 2), (1 << 14, 8), (1 << 18, 32), (u64::MAX, 32)] {
        assert_eq!(CpuCache::new(frames).batch, batch);
    }
}

#[test]
fn small_blocks_are_cached_by_order_and_larger_ones_are_not() {
    let mut f = vec![Frame::RESERVED; FRAMES];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, FRAMES as u64).unwrap();
    let boot = zones.stats();
    let mut cache = CpuCache::new(FRAMES as u64);
    let mut live = Vec::new();
    for order in 0..6 {
        assert_eq!(cache.alloc(order, Movable), None);
        for _ in 0..100 {
            let pfn = cache.alloc(order, Movable);
            let pfn = pfn.unwrap_or_else(|| cache.refill(&mut zones, order, Movable, Reserve::None).unwrap());
            assert!(pfn.is_multiple_of(1 << order));
            live.push((pfn, order));
        }
    }
    assert_eq!(cache.stats().allocs, 4 * 100);
    for (pfn, order) in live {
        match cache.free(pfn, order, Movable) {
            Some(drained) => zones.free_drained(drained).unwrap(),
            None => assert!(order <= MAX_CACHED_ORDER),
        }
        assert!(cache.stats().held_blocks.iter().enumerate().all(|(order, held)| held << order <= 64));
    }
    let stats = cache.stats();
    assert!(stats.held_blocks.iter().all(|&held| held > 0), "{stats:?}");
    assert_eq!(stats.held, boot.total_frames - zones.free_frames());
    assert_eq!(cache.drain_all(&mut zones), Ok(stats.held));
    assert_eq!(zones.stats().free_blocks, boot.free_blocks);
}
