extern crate std;

use super::*;
use crate::fragmentation::extfrag_index;
use crate::{Frame, Reserve};
use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

/// Pages with contents, reached through a page table.
#[derive(Default)]
struct Pages {
    /// Virtual page → frame.
    table: HashMap<u64, u64>,
    /// Frame → virtual page.
    owners: HashMap<u64, u64>,
    /// Frame → contents.
    memory: HashMap<u64, u64>,
    pins: Vec<u64>,
}

impl Pages {
    fn map(&mut self, page: u64, pfn: u64) {
        self.table.insert(page, pfn);
        self.owners.insert(pfn, page);
        self.memory.insert(pfn, page * 7919);
    }

    fn unmap(&mut self, page: u64) -> u64 {
        let pfn = self.table.remove(&page).unwrap();
        self.owners.remove(&pfn);
        pfn
    }

    fn check(&self) {
        for (page, pfn) in &self.table {
            assert_eq!(self.memory[pfn], page * 7919, "page {page} in frame {pfn}");
        }
    }
}

impl Mover for Pages {
    fn is_movable(&self, pfn: u64) -> bool {
        self.owners.contains_key(&pfn)
    }

    fn migrate(&mut self, from: u64, to: u64) -> Result<(), Pinned> {
        let page = *self.owners.get(&from).ok_or(Pinned)?;
        if self.pins.contains(&page) {
            return Err(Pinned);
        }
        let contents = self.memory.remove(&from).unwrap();
        assert!(self.memory.insert(to, contents).is_none(), "frame {to} was in use");
        self.owners.remove(&from);
        self.owners.insert(to, page);
        self.table.insert(page, to);
        Ok(())
    }
}

fn checkerboard(zones: &mut Zones<'_>, pages: &mut Pages) -> usize {
    let mut count = 0;
    while let Ok(block) = zones.alloc(0, MigrateType::Movable, Reserve::None) {
        pages.map(count, block.pfn);
        count += 1;
    }
    for page in (0..count).step_by(2) {
        let pfn = pages.unmap(page);
        pages.memory.remove(&pfn);
        zones.free(pfn, 0).unwrap();
    }
    pages.table.len()
}

#[test]
fn a_checkerboard_becomes_two_halves() {
    let mut f = vec![Frame::RESERVED; 1 << 14];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, 1 << 14).unwrap();
    let mut pages = Pages::default();
    let live = checkerboard(&mut zones, &mut pages);
    let before = zones.stats();
    assert!(extfrag_index(&before.free_blocks, 9) > 900);
    assert_eq!(outlook(&zones, 9), Outlook::Worthwhile);
    assert_eq!(outlook(&zones, 0), Outlook::NotNeeded);
    assert_eq!(outlook(&zones, 16), Outlook::TooLittleFree);

    let mut compactor = Compactor::new(&zones, Goal::Everything);
    let mut rounds = 0;
    while compactor.step(&mut zones, &mut pages, 100) == Progress::More {
        rounds += 1;
    }
    let (report, after) = (compactor.report(), zones.stats());
    assert!(rounds > 10, "a budget of 100 blocks takes many rounds: {rounds}");
    assert_eq!(report.moved, report.isolated);
    assert_eq!((report.pinned, pages.table.len()), (0, live));
    assert_eq!((report.free_before, report.free_after), (before.free_blocks, after.free_blocks));
    assert_eq!(after.free_frames, before.free_frames);
    assert_eq!((after.allocs, after.frees), (before.allocs, before.frees));
    assert!(after.largest_free_order >= Some(12), "{after:?}");
    assert_eq!(outlook(&zones, 12), Outlook::NotNeeded);
    pages.check();
    for pfn in pages.table.values() {
        zones.free(*pfn, 0).unwrap();
    }
    assert_eq!(zones.stats().free_frames, 1 << 14);
    assert_eq!(zones.stats().free_blocks[14], 1);
}

#[test]
fn it_stops_when_the_block_is_there() {
    let mut f = vec![Frame::RESERVED; 1 << 14];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, 1 << 14).unwrap();
    let mut pages = Pages::default();
    checkerboard(&mut zones, &mut pages);
    let mut compactor = Compactor::new(&zones, Goal::Order(9));
    while compactor.step(&mut zones, &mut pages, 1000) == Progress::More {}
    assert!(zones.stats().largest_free_order >= Some(9));
    assert!(compactor.report().moved <= 512 + PLAN_SIZE as u64, "{:?}", compactor.report());
    // Asked again, it has nothing to do.
    let mut again = Compactor::new(&zones, Goal::Order(9));
    assert_eq!(again.step(&mut zones, &mut pages, 1000), Progress::Reached);
    assert_eq!(again.report().scanned, 0);
    pages.check();
}

#[test]
fn pinned_pages_stay_and_nothing_is_lost() {
    let mut f = vec![Frame::RESERVED; 1 << 13];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, 1 << 13).unwrap();
    let mut pages = Pages::default();
    checkerboard(&mut zones, &mut pages);
    pages.pins = pages.table.keys().copied().filter(|page| page % 101 == 1).collect();
    let places: Vec<u64> = pages.pins.iter().map(|page| pages.table[page]).collect();
    let free = zones.free_frames();
    let mut compactor = Compactor::new(&zones, Goal::Everything);
    while compactor.step(&mut zones, &mut pages, 1000) == Progress::More {}
    assert!(compactor.report().pinned > 0);
    assert_eq!(places, pages.pins.iter().map(|page| pages.table[page]).collect::<Vec<_>>());
    assert_eq!(zones.free_frames(), free);
    pages.check();
}

#[test]
fn a_page_that_is_freed_between_plan_and_move_is_left_alone() {
    let mut f = vec![Frame::RESERVED; 1 << 13];
    let mut zones = Zones::new(&mut f, 0);
    zones.add_free(0, 1 << 13).unwrap();
    let mut pages = Pages::default();
    checkerboard(&mut zones, &mut pages);
    let free = zones.free_frames();
    let mut compactor = Compactor::new(&zones, Goal::Everything);
    let mut plan = compactor.plan(&mut zones, &pages, 1000);
    assert_eq!((plan.len(), zones.free_frames()), (PLAN_SIZE, free - PLAN_SIZE as u64));
    let page = pages.owners[&plan.moves[3].from];
    let pfn = pages.unmap(page);
    zones.free(pfn, 0).unwrap();
    plan.migrate(&mut pages);
    assert_eq!(compactor.settle(&mut zones, plan), Progress::More);
    assert_eq!((compactor.report().moved, compactor.report().pinned), (PLAN_SIZE as u64 - 1, 1));
    assert_eq!(zones.free_frames(), free + 1);
    pages.check();
}

#[test]
fn nothing_to_do() {
    let mut f = vec![Frame::RESERVED; 1000];
    let mut zones = Zones::new(&mut f, 77);
    let mut pages = Pages::default();
    let mut compactor = Compactor::new(&zones, Goal::Everything);
    assert!(compactor.plan(&mut zones, &pages, 0).is_empty());
    assert_eq!(compactor.step(&mut zones, &mut pages, 10_000), Progress::Complete);
    assert_eq!(compactor.report().moved, 0);
}
