//! Sharing one piece of work among CPUs: the interface the kernel and std threads implement, and the
//! one way in which the model uses it.

use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Mutex;

/// Runs a job on several CPUs. Implemented by the kernel's workers, by
/// [`Threads`](crate::threads::Threads) on the host, and by [`SingleThread`].
///
/// Called from one thread at a time, many times for each token: a call should cost microseconds.
pub trait Parallel: Sync {
    /// How many parts `run` makes of a job, at least 1.
    fn threads(&self) -> usize;

    /// Calls `job(part, parts)` once for every `part` in `0..parts`, possibly at the same time on
    /// several CPUs, and returns when all of them have returned. `parts` is [`threads`](Self::threads).
    fn run(&self, job: &(dyn Fn(usize, usize) + Sync));
}

/// No parallelism: the caller does the work.
pub struct SingleThread;

impl Parallel for SingleThread {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, job: &(dyn Fn(usize, usize) + Sync)) {
        job(0, 1);
    }
}

/// No more parts than this are made of one job, however many CPUs there are.
pub const MAX_PARTS: usize = 64;

/// Number of the first item and the items of a part that nobody has taken yet.
type Slot<'a, T> = Mutex<Option<(usize, &'a mut [T])>>;

/// Splits `out`, seen as items of `width` values, into one run of items for each part of a job, which the CPUs take one after another, and calls
/// `work(first_item, items)` on each. Which CPU gets which items has no influence on results as long as
/// `work` treats each item by itself.
pub fn for_items<T: Send>(
    parallel: &dyn Parallel,
    out: &mut [T],
    width: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let width = width.max(1);
    let items = out.len() / width;
    let parts = parallel.threads().clamp(1, MAX_PARTS).min(items.max(1));
    if parts == 1 {
        return work(0, out);
    }
    // Each run is taken out of its slot once. The locks are never contended; they are what lets
    // safe code hand disjoint pieces of `out` to several threads.
    let slots: [Slot<'_, T>; MAX_PARTS] = [const { Mutex::new(None) }; MAX_PARTS];
    let mut rest = out;
    for (part, slot) in slots.iter().enumerate().take(parts) {
        let (first, end) = (items * part / parts, items * (part + 1) / parts);
        let length = if part + 1 == parts { rest.len() } else { (end - first) * width };
        let (piece, tail) = rest.split_at_mut(length);
        *slot.lock() = Some((first, piece));
        rest = tail;
    }
    let next = AtomicUsize::new(0);
    parallel.run(&|_, _| {
        while let Some(slot) = slots[..parts].get(next.fetch_add(1, Ordering::Relaxed)) {
            let taken = slot.lock().take();
            if let Some((first, piece)) = taken {
                work(first, piece);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn every_item_is_visited_once() {
        for threads in 1..6 {
            let pool = crate::threads::Threads::new(threads);
            for items in 0..20 {
                let mut out = vec![0u32; items * 3];
                for_items(&pool, &mut out, 3, &|first, piece| {
                    for (i, item) in piece.chunks_mut(3).enumerate() {
                        item.iter_mut().for_each(|v| *v += (first + i + 1) as u32);
                    }
                });
                for (i, item) in out.chunks(3).enumerate() {
                    assert_eq!(item, [i as u32 + 1; 3]);
                }
            }
        }
    }
}
