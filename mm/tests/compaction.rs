//! Compaction of random memory: contents survive, nothing is lost, pins are respected, fragmentation never rises.

use mm::compact::{Compactor, Goal, Mover, Pinned, Progress};
use mm::fragmentation::unusable_index;
use mm::{Block, Frame, Holder, MigrateType, Reserve, Zones};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const FRAMES: u64 = 12 * 512;
const BORDER: u64 = 5 * 512 + 100;

/// Pages with contents in an array of memory, reached through a page table.
struct Pages {
    table: HashMap<u64, u64>,
    owners: HashMap<u64, u64>,
    memory: Vec<u64>,
    pinned: HashSet<u64>,
    /// Every so many moves, a page turns out to be pinned after all.
    fickle: u64,
    tried: u64,
}

impl Mover for Pages {
    fn is_movable(&self, pfn: u64) -> bool {
        self.owners.get(&pfn).is_some_and(|page| !self.pinned.contains(page))
    }

    fn migrate(&mut self, from: u64, to: u64) -> Result<(), Pinned> {
        let page = *self.owners.get(&from).ok_or(Pinned)?;
        assert!(!self.pinned.contains(&page), "page {page} is pinned");
        assert!(!self.owners.contains_key(&to), "frame {to} is in use");
        self.tried += 1;
        if self.tried.is_multiple_of(self.fickle) {
            return Err(Pinned);
        }
        self.memory[to as usize] = self.memory[from as usize];
        self.memory[from as usize] = u64::MAX;
        self.owners.remove(&from);
        self.owners.insert(to, page);
        self.table.insert(page, to);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_lost(
        requests in prop::collection::vec((0..100_u32, 0..8_usize), 200..3000),
        keep in 1..100_u32,
        pin in 1..50_u64,
        fickle in 2..200_u64,
        budget in 1..700_usize,
        order in prop::option::of(0..12_usize),
    ) {
        let mut frames = vec![Frame::RESERVED; FRAMES as usize];
        let mut zones = Zones::with_border(&mut frames, 0, BORDER);
        zones.add_free(3, FRAMES - 7).unwrap();
        let boot = zones.stats();
        let mut pages = Pages {
            table: HashMap::new(), owners: HashMap::new(), memory: vec![0; FRAMES as usize],
            pinned: HashSet::new(), fickle, tried: 0,
        };
        let mut fixed: Vec<Block> = Vec::new();
        let (mut drop_pages, mut drop_fixed) = (Vec::new(), Vec::new());
        for (page, &(dice, size)) in (0..).zip(&requests) {
            if dice < 90 {
                // Runs of pages, so that memory fills.
                for page in page * 8..page * 8 + 1 + size as u64 {
                    let Ok(block) = zones.alloc(0, MigrateType::Movable, Reserve::None) else { break };
                    pages.table.insert(page, block.pfn);
                    pages.owners.insert(block.pfn, page);
                    pages.memory[block.pfn as usize] = page * 31;
                    if dice % 100 >= keep { drop_pages.push(page) }
                    if page % pin == 0 { pages.pinned.insert(page); }
                }
            } else {
                let kind = if dice < 95 { MigrateType::Unmovable } else { MigrateType::Reclaimable };
                let Ok(block) = zones.alloc(size, kind, Reserve::None) else { continue };
                if dice % 2 == 0 { fixed.push(block) } else { drop_fixed.push(block) }
            }
        }
        for page in drop_pages {
            let pfn = pages.table.remove(&page).unwrap();
            pages.owners.remove(&pfn);
            pages.pinned.remove(&page);
            zones.free(pfn, 0).unwrap();
        }
        for block in drop_fixed {
            zones.free(block.pfn, block.order).unwrap();
        }

        let before = zones.stats();
        let places: Vec<_> = pages.pinned.iter().map(|page| (*page, pages.table[page])).collect();
        let mut compactor = Compactor::new(&zones, order.map_or(Goal::Everything, Goal::Order));
        let mut rounds = 0;
        let end = loop {
            match compactor.step(&mut zones, &mut pages, budget) {
                Progress::More => rounds += 1,
                end => break end,
            }
            prop_assert!(rounds < 20_000, "it ends");
        };

        let (report, after) = (compactor.report(), zones.stats());
        prop_assert_eq!(after.free_frames, before.free_frames);
        prop_assert_eq!(report.moved + report.pinned, report.isolated);
        prop_assert_eq!(report.free_after, after.free_blocks);
        // A free pageblock is never broken for a move.
        prop_assert!(unusable_index(&after.free_blocks, 9) <= unusable_index(&before.free_blocks, 9));
        match (end, order) {
            (Progress::Reached, Some(order)) => prop_assert!(after.largest_free_order >= Some(order)),
            (Progress::Reached, None) => prop_assert!(false, "no order was asked for"),
            _ => prop_assert!(order.is_none_or(|order| after.largest_free_order < Some(order))),
        }
        for (page, pfn) in &pages.table {
            prop_assert_eq!(pages.memory[*pfn as usize], page * 31);
            prop_assert_eq!(zones.holder(*pfn), Holder::Allocated(Block { pfn: *pfn, order: 0 }));
        }
        for (page, pfn) in places {
            prop_assert_eq!(pages.table[&page], pfn);
        }
        for block in &fixed {
            prop_assert_eq!(zones.holder(block.pfn), Holder::Allocated(*block));
        }
        for pfn in pages.table.values() {
            zones.free(*pfn, 0).unwrap();
        }
        for block in fixed {
            zones.free(block.pfn, block.order).unwrap();
        }
        prop_assert_eq!(zones.stats().free_blocks, boot.free_blocks);
    }
}
