//! Runs a script on an allocator: for the time it takes, or for the holes that it leaves.

use crate::contestants::Allocator;
use crate::script::{Op, Script};
use mm::fragmentation::unusable_index;
use mm::{MigrateType, ORDERS, PAGEBLOCK_ORDER};
use std::sync::Barrier;
use std::time::Instant;

/// Address of what could not be allocated.
const NOTHING: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Slot {
    at: u64,
    size: u32,
    kind: MigrateType,
}

/// Runs all of the script; the number of requests refused.
fn run(
    script: &Script,
    slots: &mut [Slot],
    allocator: &mut impl Allocator,
    mut look: impl FnMut(usize, &[Slot]),
) -> u64 {
    let mut refused = 0;
    for (count, op) in script.ops.iter().enumerate() {
        match *op {
            Op::Alloc { slot, size, kind } => {
                let at = allocator.alloc(size, kind).unwrap_or(NOTHING);
                refused += u64::from(at == NOTHING);
                slots[slot as usize] = Slot { at, size, kind };
            }
            Op::Free { slot } => {
                let slot = &mut slots[slot as usize];
                if slot.at != NOTHING {
                    allocator.free(slot.at, slot.size, slot.kind);
                    slot.at = NOTHING;
                }
            }
        }
        look(count, slots);
    }
    refused
}

fn slots(script: &Script) -> Vec<Slot> {
    vec![Slot { at: NOTHING, size: 0, kind: MigrateType::Unmovable }; script.slots]
}

/// What a timed run came to.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// For one allocation with its free: wall time × threads / pairs.
    pub ns_per_pair: f64,
    /// Allocations refused.
    pub refused: u64,
}

/// A script is repeated until it comes to about so many.
const REQUESTS: usize = 200_000;

/// Runs the script on `threads` threads at once, each with an allocator from `make`.
pub fn time<A: Allocator>(script: &Script, threads: usize, make: impl Fn() -> A + Sync) -> Timed {
    let repeats = (REQUESTS / script.ops.len().max(1)).max(1);
    let barrier = Barrier::new(threads);
    let worker = || {
        let (mut allocator, mut slots) = (make(), slots(script));
        // Once before: the figures are those of a machine that is running.
        run(script, &mut slots, &mut allocator, |_, _| {});
        barrier.wait();
        let begun = Instant::now();
        let refused = (0..repeats).map(|_| run(script, &mut slots, &mut allocator, |_, _| {})).sum::<u64>();
        (begun.elapsed(), refused)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no allocator panics")).collect()
    });
    let slowest = results.iter().map(|(took, _)| took.as_nanos()).max().unwrap_or(0) as f64;
    let pairs = (repeats * script.ops.len()) as f64 / 2.0;
    Timed { ns_per_pair: slowest / pairs, refused: results.iter().map(|(_, refused)| refused).sum() }
}

/// How fragmented the arena was, on the average over the script.
#[derive(Debug, Clone, Copy)]
pub struct Fragmentation {
    /// ‰ of the free memory in blocks below order 4, and below order 9.
    pub unusable: [f64; 2],
    /// ‰ of the pageblocks in which something lies that can neither move nor be dropped.
    pub stuck: f64,
    /// Allocations refused.
    pub refused: u64,
}

/// Runs the script once, on an arena of `frames` frames from `first` on; the free blocks follow from what is allocated, so
/// all allocators are measured alike.
pub fn fragmentation(
    script: &Script,
    allocator: &mut impl Allocator,
    first: u64,
    frames: usize,
    unit: u64,
) -> Fragmentation {
    let every = (script.ops.len() / 200).max(1);
    let (mut unusable, mut stuck, mut looks) = ([0.0; 2], 0.0, 0.0);
    let pageblocks = frames >> PAGEBLOCK_ORDER;
    let refused = run(script, &mut slots(script), allocator, |count, slots| {
        if count % every != 0 {
            return;
        }
        let (mut used, mut fixed) = (vec![false; frames], vec![false; pageblocks]);
        for slot in slots.iter().filter(|slot| slot.at != NOTHING) {
            let start = ((slot.at - first) / unit) as usize;
            used[start..start + (1 << slot.size)].fill(true);
            if slot.kind == MigrateType::Unmovable {
                let end = start + (1 << slot.size) - 1;
                fixed[start >> PAGEBLOCK_ORDER..=end >> PAGEBLOCK_ORDER].fill(true);
            }
        }
        let blocks = free_blocks(&used);
        for (sum, order) in unusable.iter_mut().zip([4, 9]) {
            *sum += f64::from(unusable_index(&blocks, order));
        }
        stuck += fixed.iter().filter(|fixed| **fixed).count() as f64 * 1000.0 / pageblocks as f64;
        looks += 1.0;
    });
    Fragmentation { unusable: unusable.map(|sum| sum / looks), stuck: stuck / looks, refused }
}

/// Free blocks per order, when all that can be joined is joined.
fn free_blocks(used: &[bool]) -> [u64; ORDERS] {
    let mut blocks = [0; ORDERS];
    let mut at = 0;
    while at < used.len() {
        let fits = |order: &usize| {
            let len = 1 << order;
            at % len == 0 && at + len <= used.len() && !used[at..at + len].contains(&true)
        };
        match (0..ORDERS).take_while(fits).last() {
            Some(order) => {
                blocks[order] += 1;
                at += 1 << order;
            }
            None => at += 1,
        }
    }
    blocks
}
