//! Compaction: movable frames are copied to the far end of the zone, so that free memory comes together
//! (Linux's `mm/compaction.c`).
//!
//! Two scanners walk each zone towards each other, a pageblock at a time: the *migration scanner* goes up and picks
//! frames that can move, the *free scanner* goes down and picks free frames to copy them to. Where they meet, the
//! zone is done.
//!
//! Who owns the frames does the copying: see [`Mover`]. The work comes in rounds, so that no lock is held for long:
//!
//! 1. [`Compactor::plan`], under the zones' lock: picks pairs (from, to) and reserves the frames they go to.
//! 2. [`Plan::migrate`], *without* the zones' lock, with interrupts on: copies, changes page tables, shoots down TLBs
//!    (which waits for the other CPUs: holding a lock that they spin on would never end).
//! 3. [`Compactor::settle`], under the lock again: frees what was left, gives back what was not needed.
//!
//! [`Compactor::step`] does all three, for hosts and single CPUs. Drain the per-CPU caches first: their frames don't
//! move.

mod plan;

pub use plan::{Mover, PLAN_SIZE, Pinned, Plan};

use crate::fragmentation::extfrag_index;
use crate::{Holder, MigrateType, ORDERS, PAGEBLOCK_ORDER, ZoneKind, Zones};
use plan::Move;

const PAGEBLOCK_FRAMES: u64 = 1 << PAGEBLOCK_ORDER;

/// Whether compaction would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// There is such a block already.
    NotNeeded,
    /// Free memory is in pieces: compaction may join them.
    Worthwhile,
    /// Too little is free: reclaim first.
    TooLittleFree,
}

/// Whether compaction would help an allocation of `order` (Linux: `compaction_suitable`): enough must be free to copy to,
/// and the fragmentation index must say that it fails for fragmentation rather than for lack of memory (above 500 ‰).
#[must_use]
pub fn outlook(zones: &Zones<'_>, order: usize) -> Outlook {
    let order = order.min(crate::MAX_ORDER);
    let of = |zone: ZoneKind| {
        let stats = zones.zone_stats(zone);
        let needed = zones.watermarks(zone).low + (2 << order);
        if stats.largest_free_order >= Some(order) {
            Outlook::NotNeeded
        } else if stats.free_frames >= needed && extfrag_index(&stats.free_blocks, order) > 500 {
            Outlook::Worthwhile
        } else {
            Outlook::TooLittleFree
        }
    };
    let all = ZoneKind::ALL.map(of);
    [Outlook::NotNeeded, Outlook::Worthwhile]
        .into_iter()
        .find(|outlook| all.contains(outlook))
        .unwrap_or(Outlook::TooLittleFree)
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// As soon as some zone has a free block of this order.
    Order(usize),
    /// When the scanners have met in every zone.
    Everything,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The block that was asked for is there.
    Reached,
    /// The scanners have met.
    Complete,
}

/// The account of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Blocks that the migration scanner looked at.
    pub scanned: u64,
    /// Frames picked to be moved.
    pub isolated: u64,
    /// Of these, frames that were moved.
    pub moved: u64,
    /// Of these, frames that could not be.
    pub pinned: u64,
    /// Free blocks per order, all zones, when it began.
    pub free_before: [u64; ORDERS],
    /// Free blocks per order, all zones, after the last round.
    pub free_after: [u64; ORDERS],
}

/// The state of a compaction between rounds.
#[derive(Debug)]
pub struct Compactor {
    goal: Goal,
    zone: Option<ZoneKind>,
    /// Next frame that the migration scanner looks at.
    up: u64,
    /// The free scanner looks for free frames from here on, to the end of this pageblock, and then below.
    down: u64,
    report: Report,
}

impl Compactor {
    /// Begins at the outer ends of the first zone.
    #[must_use]
    pub fn new(zones: &Zones<'_>, goal: Goal) -> Self {
        let free = zones.stats().free_blocks;
        let report = Report { free_before: free, free_after: free, ..Report::default() };
        let mut this = Self { goal, zone: None, up: 0, down: 0, report };
        this.enter(zones, ZoneKind::Dma32);
        this
    }

    fn enter(&mut self, zones: &Zones<'_>, zone: ZoneKind) {
        let span = zones.buddy(zone).span();
        self.zone = Some(zone);
        self.up = span.start;
        self.down = span.end.saturating_sub(1) & !(PAGEBLOCK_FRAMES - 1);
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report
    }

    /// Plan, migrate and settle at once. Looks at `budget` blocks at most (and at the blocks of one pageblock more, in
    /// search of free frames).
    pub fn step(&mut self, zones: &mut Zones<'_>, mover: &mut impl Mover, budget: usize) -> Progress {
        let mut plan = self.plan(zones, mover, budget);
        plan.migrate(mover);
        self.settle(zones, plan)
    }

    /// Picks up to [`PLAN_SIZE`] frames to move, looking at `budget` blocks at most, and takes as many free frames. The frames
    /// to be moved stay their owner's.
    pub fn plan(&mut self, zones: &mut Zones<'_>, mover: &impl Mover, budget: usize) -> Plan {
        let mut plan = Plan { moves: [Move::default(); PLAN_SIZE], len: 0 };
        let mut budget = budget;
        while let Some(zone) = self.zone
            && plan.len < PLAN_SIZE
            && budget > 0
            && !self.is_reached(zones)
        {
            let Some(from) = self.next_movable(zones, zone, mover, &mut budget) else {
                if budget > 0 {
                    self.next_zone(zones, zone);
                }
                continue;
            };
            match self.next_free(zones, zone, from) {
                Some(to) => {
                    plan.moves[plan.len] = Move { from, to, done: false };
                    plan.len += 1;
                    self.report.isolated += 1;
                }
                None => self.next_zone(zones, zone),
            }
        }
        plan
    }

    /// Ends a round: the frames that were moved away from are free now, those reserved in vain too.
    pub fn settle(&mut self, zones: &mut Zones<'_>, plan: Plan) -> Progress {
        for one in &plan.moves[..plan.len] {
            let (left, counter) = match one.done {
                true => (one.from, &mut self.report.moved),
                false => (one.to, &mut self.report.pinned),
            };
            *counter += 1;
            // Refused only if the owner freed a frame that is not its own any more: then it is free already.
            let _already_free = zones.buddy_mut(zones.zone_of(left)).give_back(left);
        }
        self.report.free_after = zones.stats().free_blocks;
        match self.zone {
            _ if self.is_reached(zones) => Progress::Reached,
            None => Progress::Complete,
            Some(_) => Progress::More,
        }
    }

    fn is_reached(&self, zones: &Zones<'_>) -> bool {
        let largest = |zone| zones.buddy(zone).largest_free_order();
        match self.goal {
            Goal::Order(order) => ZoneKind::ALL.into_iter().any(|zone| largest(zone) >= Some(order)),
            Goal::Everything => false,
        }
    }

    fn next_zone(&mut self, zones: &Zones<'_>, done: ZoneKind) {
        self.zone = None;
        if done == ZoneKind::Dma32 {
            self.enter(zones, ZoneKind::Normal);
        }
    }

    /// The next frame below the free scanner that can move. `None` when there is no more, or the budget is used up.
    fn next_movable(
        &mut self,
        zones: &Zones<'_>,
        zone: ZoneKind,
        mover: &impl Mover,
        budget: &mut usize,
    ) -> Option<u64> {
        for (holder, owner) in zones.buddy(zone).blocks(self.up, self.down) {
            if *budget == 0 {
                return None;
            }
            *budget -= 1;
            self.report.scanned += 1;
            self.up = match holder {
                Holder::Reserved => self.up + 1,
                Holder::Free(block) | Holder::Allocated(block) => block.pfn + block.frames(),
            };
            if let Holder::Allocated(block) = holder
                && block.order == 0
                && owner == MigrateType::Movable
                && mover.is_movable(block.pfn)
            {
                return Some(block.pfn);
            }
        }
        None
    }

    /// Takes a free frame from the highest partly used pageblock, above the pageblock of `from`.
    fn next_free(&mut self, zones: &mut Zones<'_>, zone: ZoneKind, from: u64) -> Option<u64> {
        let buddy = zones.buddy_mut(zone);
        loop {
            let pageblock = self.down & !(PAGEBLOCK_FRAMES - 1);
            if pageblock <= from {
                return None;
            }
            // A whole pageblock that is free is what we want to make: it is not broken for this.
            let free =
                buddy.blocks(self.down, pageblock + PAGEBLOCK_FRAMES).find_map(|(holder, _)| match holder {
                    Holder::Free(block) if block.order < PAGEBLOCK_ORDER => Some(block.pfn),
                    _ => None,
                });
            if let Some(free) = free {
                let to = free.max(self.down);
                self.down = to;
                return buddy.take(to, MigrateType::Movable).then_some(to);
            }
            self.down = pageblock.checked_sub(PAGEBLOCK_FRAMES)?;
        }
    }
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
