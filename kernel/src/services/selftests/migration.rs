//! Movable memory while it moves.

use super::Outcome;
use super::random::Random;
use crate::arch::percpu::{self, MAX_CPUS};
use crate::arch::time;
use crate::memory::vmalloc::{self, Movable};
use crate::memory::{self, compaction, frames};
use crate::tasks::{self, Options};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mm::MigrateType;
use mm::compact::Goal;

const PAGES: usize = 48;
/// So many moves, or as many as come in the time; at least so many.
const MOVES: u64 = 1_500;
const LEAST: u64 = 16;
/// Compactions while they happen.
const COMPACTIONS: u64 = 4;
/// Each move has all CPUs forget a page. Where the host does not run them all at once, that takes up to 60 ms (measured: 4
/// emulated CPUs, load 15), so the time is bounded and not the number.
const LIMIT_NANOS: u64 = 20_000_000_000;
/// Ranges of 8 pages that are scattered for a compaction.
const SCATTERED: u64 = 64;

/// What a thread and the mover share.
struct Shared {
    stop: AtomicBool,
    /// Where the thread's range is; 0 while there is none.
    range: [AtomicU64; MAX_CPUS],
}

/// Threads on every CPU rewrite and check the pages of a range of their own, every page with a sum over its words,
/// while this thread puts other frames under all of them, one by one and by whole compactions. A store that went to
/// the old frame breaks a sum.
pub fn migration() -> Outcome {
    let shared =
        Arc::new(Shared { stop: AtomicBool::new(false), range: [const { AtomicU64::new(0) }; MAX_CPUS] });
    let mut threads = Vec::new();
    for cpu in 0..percpu::count() {
        let shared = shared.clone();
        let body = move || rewrite(&shared, cpu);
        threads.push(tasks::spawn("migration", Options::on_cpu(cpu), body).map_err(|e| e.to_string())?);
    }
    let mut random = Random::new(6);
    let (mut done, mut compacted) = (Moves::default(), Ok::<u64, String>(0));
    let end = time::uptime_nanos() + LIMIT_NANOS;
    let has_time = || time::uptime_nanos() < end;
    for part in 1..=COMPACTIONS {
        let may_go_on = || has_time() && !threads.iter().any(|thread| thread.is_finished());
        // The first part is done in any case, in a part of the time.
        let part_end = time::uptime_nanos() + LIMIT_NANOS / COMPACTIONS;
        while done.moved < MOVES / COMPACTIONS * part && may_go_on() && time::uptime_nanos() < part_end {
            move_one(&shared, &mut random, &mut done);
        }
        if part == 1 || may_go_on() {
            compacted = compacted.and_then(|count| Ok(count + compact_scattered(&mut random)?));
        }
    }
    shared.stop.store(true, Ordering::Release);
    let mut rounds = 0;
    for thread in threads {
        rounds += thread.join()?;
    }
    let (Moves { moved, refused }, compacted) = (done, compacted?);
    if moved < LEAST || compacted == 0 {
        return Err(alloc::format!(
            "only {moved} pages were moved, and {compacted} by compaction; {refused} refused"
        ));
    }
    Ok(alloc::format!(
        "{moved} moves, and {compacted} by compaction, under {rounds} rounds of {PAGES} pages on {} CPUs; {refused} refused",
        percpu::count()
    ))
}

/// What came of the moves.
#[derive(Default)]
struct Moves {
    moved: u64,
    refused: u64,
}

/// Puts another frame under some page of some thread.
fn move_one(shared: &Shared, random: &mut Random, done: &mut Moves) {
    let start = shared.range[random.below(percpu::count() as u64) as usize].load(Ordering::Acquire);
    let page = start + random.below(PAGES as u64) * 4096;
    let from = memory::translate(page).filter(|_| start != 0).map(|phys| phys / 4096);
    let Some((from, to)) = from.and_then(|from| Some((from, frames::alloc(0, MigrateType::Movable).ok()?)))
    else {
        // The range is being made: perhaps by a thread that waits for this CPU.
        return tasks::yield_now();
    };
    match vmalloc::migrate(from, to.pfn) {
        Ok(()) => {
            done.moved += 1;
            frames::free_frame(from, MigrateType::Movable);
        }
        Err(_) => {
            done.refused += 1;
            frames::free_frame(to.pfn, MigrateType::Movable);
            // It is pinned: the same.
            tasks::yield_now();
        }
    }
}

/// A compaction of small ranges with holes between them; how many pages it moved.
fn compact_scattered(random: &mut Random) -> Result<u64, String> {
    let scattered = scatter(random)?;
    let moved = compaction::run(Goal::Everything).moved;
    drop(scattered);
    Ok(moved)
}

/// Small ranges all over 2 MiB, with holes between them: work for a compaction.
fn scatter(random: &mut Random) -> Result<Vec<Movable>, String> {
    let mut ranges = Vec::new();
    for _ in 0..SCATTERED {
        ranges.push(Movable::new(8 * 4096).map_err(|error| error.to_string())?);
    }
    ranges.retain(|_| random.below(4) == 0);
    Ok(ranges)
}

/// Rewrites and checks until told to stop; now and then with another range, or a pinned one.
fn rewrite(shared: &Shared, cpu: usize) -> Result<u64, String> {
    let mut random = Random::new(cpu as u64 + 1);
    let mut rounds = 0;
    while !shared.stop.load(Ordering::Acquire) {
        let mut range = Movable::new(PAGES as u64 * 4096).map_err(|error| error.to_string())?;
        range.as_mut_slice().chunks_exact_mut(4096).for_each(|page| fill(page, 1));
        shared.range[cpu].store(range.as_mut_slice().as_ptr() as u64, Ordering::Release);
        for _ in 0..40 {
            let pinned = random.below(8) == 0;
            rounds += 1;
            if pinned {
                let guard = range.pin();
                let before = guard.physical(0);
                time::spin_nanos(50_000);
                if guard.physical(0) != before {
                    return Err(alloc::format!("a pinned page was moved in round {rounds}"));
                }
            }
            for page in range.as_mut_slice().chunks_exact_mut(4096) {
                if !is_whole(page) {
                    return Err(alloc::format!("a page lost a store in round {rounds}"));
                }
                fill(page, random.next());
            }
        }
        shared.range[cpu].store(0, Ordering::Release);
    }
    Ok(rounds)
}

/// Words that follow from the first, and their sum in the last.
fn fill(page: &mut [u8], seed: u64) {
    let mut sum = 0u64;
    let words = page.len() / 8;
    for (number, word) in page.chunks_exact_mut(8).enumerate() {
        let value = if number + 1 < words { seed.wrapping_mul(number as u64 + 1) } else { sum };
        word.copy_from_slice(&value.to_le_bytes());
        sum = sum.wrapping_add(value);
    }
}

fn is_whole(page: &[u8]) -> bool {
    let mut words = page.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let last = words.next_back();
    last == Some(words.fold(0, u64::wrapping_add))
}
