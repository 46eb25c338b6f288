extern crate std;

use super::*;
use crate::{Holder, Pressure};
use MigrateType::{Movable, Unmovable};
use std::vec;
use std::vec::Vec;

const BORDER: u64 = 4096;
const END: u64 = 3 * 4096;

fn frames() -> Vec<Frame> {
    vec![Frame::RESERVED; END as usize]
}

fn zones(frames: &mut [Frame]) -> Zones<'_> {
    let mut zones = Zones::with_border(frames, 0, BORDER);
    zones.add_free(100, END - 100).unwrap();
    zones
}

#[test]
fn a_range_is_cut_at_the_border() {
    let mut f = frames();
    let zones = zones(&mut f);
    assert_eq!(zones.zone_stats(ZoneKind::Dma32).total_frames, BORDER - 100);
    assert_eq!(zones.zone_stats(ZoneKind::Normal).total_frames, END - BORDER);
    assert_eq!(zones.stats().free_frames, END - 100);
    assert_eq!(zones.zone_of(BORDER - 1), ZoneKind::Dma32);
    assert_eq!(zones.zone_of(BORDER), ZoneKind::Normal);
}

#[test]
fn a_bad_range_adds_nothing() {
    let mut f = frames();
    let mut zones = Zones::with_border(&mut f, 0, BORDER);
    zones.add_free(BORDER + 10, 10).unwrap();
    assert_eq!(zones.add_free(0, END), Err(AddError::Overlap { pfn: BORDER + 10 }));
    assert_eq!(zones.stats().total_frames, 10);
    assert!(matches!(zones.add_free(END - 1, 2), Err(AddError::OutOfRange { .. })));
    assert!(matches!(zones.add_free(u64::MAX, 2), Err(AddError::OutOfRange { .. })));
}

#[test]
fn a_machine_below_4_gib_has_one_zone() {
    let mut f = frames();
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, END).unwrap();
    assert_eq!(zones.zone_stats(ZoneKind::Normal).total_frames, 0);
    let block = zones.alloc(3, Movable, Reserve::None).unwrap();
    assert_eq!(zones.holder(block.pfn), Holder::Allocated(block));
    assert_eq!(zones.pressure(), Pressure::None);
    zones.free(block.pfn, 3).unwrap();
    assert_eq!(zones.stats().free_frames, END);
}

#[test]
fn normal_first_then_dma32_down_to_the_marks() {
    let mut f = frames();
    let mut zones = zones(&mut f);
    let (low, high) = (zones.watermarks(ZoneKind::Dma32), zones.watermarks(ZoneKind::Normal));
    let protection = (END - BORDER) / PROTECTION_RATIO;
    let mut homes = Vec::new();
    let mut pressures = vec![zones.pressure()];
    let refusal = loop {
        match zones.alloc(0, Unmovable, Reserve::None) {
            Ok(block) => homes.push(zones.zone_of(block.pfn)),
            Err(error) => break error,
        }
        if pressures.last() != Some(&zones.pressure()) {
            pressures.push(zones.pressure());
        }
    };
    let first = (END - BORDER - high.low) as usize;
    assert!(homes[..first].iter().all(|home| *home == ZoneKind::Normal));
    assert_eq!(homes[first], ZoneKind::Dma32);
    assert_eq!(pressures, [Pressure::None, Pressure::Low, Pressure::Min]);
    assert_eq!(zones.zone_stats(ZoneKind::Dma32).free_frames, low.min + protection);
    assert_eq!(zones.zone_stats(ZoneKind::Normal).free_frames, high.min);
    let (free, min) = (low.min + protection + high.min, low.min + high.min);
    assert_eq!(refusal, ZonesError::Reserved { order: 0, free, min });
    assert_eq!(zones.shortage(), (low.high - low.min).min(high.high - high.min));

    // An emergency takes the rest, to the last frame; larger blocks leave some.
    let mut taken = Vec::new();
    while let Ok(block) = zones.alloc(1, Unmovable, Reserve::Emergency) {
        taken.push(block);
    }
    assert!(zones.free_frames() >= low.min / 4 + high.min / 4);
    while let Ok(block) = zones.alloc(0, Unmovable, Reserve::Emergency) {
        taken.push(block);
    }
    assert_eq!(zones.free_frames(), 0);
    assert_eq!(
        zones.alloc(0, Unmovable, Reserve::Emergency),
        Err(AllocError::OutOfMemory { order: 0, free: 0 }.into())
    );
    assert!(!taken.is_empty());
}

#[test]
fn devices_get_low_memory_only() {
    let mut f = frames();
    let mut zones = zones(&mut f);
    let mut taken = 0;
    while let Ok(block) = zones.alloc_up_to(ZoneKind::Dma32, 0, Unmovable, Reserve::None) {
        assert!(block.pfn < BORDER);
        taken += 1;
    }
    // Those who need this zone are not held off by its protection.
    assert_eq!(taken, BORDER - 100 - zones.watermarks(ZoneKind::Dma32).min);
    assert_eq!(zones.pressure(), Pressure::None);
}

#[test]
fn the_largest_block_leaves_the_marks() {
    let mut f = frames();
    let mut zones = zones(&mut f);
    let mut orders = Vec::new();
    while let Ok(block) = zones.alloc_at_most(20, Movable) {
        orders.push(block.order);
    }
    assert!(orders.is_sorted_by(|a, b| a >= b), "{orders:?}");
    assert_eq!(zones.pressure(), Pressure::Min);
    assert!(zones.zone_stats(ZoneKind::Normal).free_frames >= zones.watermarks(ZoneKind::Normal).min);
}

#[test]
fn refusals_say_why() {
    let mut f = frames();
    let mut zones = zones(&mut f);
    assert_eq!(zones.alloc(17, Movable, Reserve::None), Err(AllocError::OrderTooLarge { order: 17 }.into()));
    assert_eq!(zones.alloc(usize::MAX, Movable, Reserve::Emergency).unwrap_err().order(), usize::MAX);
    assert_eq!(
        zones.alloc(14, Movable, Reserve::None),
        Err(AllocError::OutOfMemory { order: 14, free: END - 100 }.into())
    );
    assert_eq!(
        zones.alloc(13, Movable, Reserve::None),
        Err(AllocError::Fragmented { order: 13, free: END - 100 }.into())
    );
    assert_eq!(zones.stats().failures, 4);
}

#[test]
fn failures_are_injected_where_asked() {
    let mut f = frames();
    let mut zones = zones(&mut f);
    zones.inject_failures(2, 3);
    let answers: Vec<bool> = (0..8).map(|_| zones.alloc(0, Movable, Reserve::Emergency).is_ok()).collect();
    assert_eq!(answers, [true, true, false, false, false, true, true, true]);
}
