//! Movable memory while it moves.

use super::Outcome;
use super::random::Random;
use crate::arch::{percpu, time};
use crate::memory::{frames, vmalloc, vmalloc::Movable};
use crate::tasks::{self, Options};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::MigrateType;

const PAGES: usize = 48;
const MOVES: u64 = 4_000;
const LIMIT_NANOS: u64 = 60_000_000_000;

/// Threads on every CPU rewrite and check the pages of a range of their own, every page with a sum over its words,
/// while this thread puts other frames under all of them. A store that went to the old frame breaks a sum.
pub fn migration() -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for cpu in 0..percpu::count() {
        let stop = stop.clone();
        let body = move || rewrite(&stop, cpu as u64 + 1);
        threads.push(tasks::spawn("migration", Options::on_cpu(cpu), body).map_err(|e| e.to_string())?);
    }
    let mut random = Random::new(6);
    let span = frames::span();
    let (mut moved, mut refused) = (0u64, 0u64);
    let end = time::uptime_nanos() + LIMIT_NANOS;
    let mut pfn = span.start;
    while moved < MOVES && time::uptime_nanos() < end && !threads.iter().any(|thread| thread.is_finished()) {
        pfn = if pfn + 1 < span.end { pfn + 1 } else { span.start };
        if !vmalloc::is_movable(pfn) || random.below(4) == 0 {
            continue;
        }
        let Ok(to) = frames::alloc(0, MigrateType::Movable) else { break };
        match vmalloc::migrate(pfn, to.pfn) {
            Ok(()) => {
                moved += 1;
                frames::free_frame(pfn, MigrateType::Movable);
            }
            Err(_) => {
                refused += 1;
                frames::free_frame(to.pfn, MigrateType::Movable);
            }
        }
    }
    stop.store(true, Ordering::Release);
    let mut rounds = 0;
    for thread in threads {
        rounds += thread.join()?;
    }
    if moved < MOVES {
        return Err(alloc::format!("only {moved} pages were moved"));
    }
    Ok(alloc::format!(
        "{moved} moves under {rounds} rounds of {PAGES} pages on {} CPUs; {refused} refused",
        percpu::count()
    ))
}

/// Rewrites and checks until told to stop; now and then with another range, or a pinned one.
fn rewrite(stop: &AtomicBool, seed: u64) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut rounds = 0;
    while !stop.load(Ordering::Acquire) {
        let mut range = Movable::new(PAGES as u64 * 4096).map_err(|error| error.to_string())?;
        range.as_mut_slice().chunks_exact_mut(4096).for_each(|page| fill(page, 1));
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
