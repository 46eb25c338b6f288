//! All memory is taken for a while, and the machine goes on.

use super::Outcome;
use crate::arch::time::uptime_nanos;
use crate::boot;
use crate::memory::{self, OutOfMemory, direct, frames};
use crate::tasks::{self, Options};
use alloc::boxed::Box;
use alloc::string::ToString;
use core::alloc::Layout;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::{Block, FRAME_SIZE, MigrateType};

const HOLD_NANOS: u64 = 20_000_000_000;
const PAUSE_NANOS: u64 = 10_000_000;
/// Sizes by which the heap's free memory is taken.
const SIZES: [usize; 6] = [32 << 10, 4 << 10, 512, 128, 64, 32];

static RUNNING: AtomicBool = AtomicBool::new(false);

type Take = fn(usize, MigrateType) -> Result<Block, OutOfMemory>;

/// Takes all that ordinary requests may have, so that the kernel goes on by what lies below the min mark; with
/// `exhaust=all` on the command line all frames, and what is free in the heap. The heap's reserve for those who cannot
/// wait is beyond reach. A thread that nobody may end holds it for a while; this returns when all is taken.
///
/// With `exhaust=heap` the heap refuses the calling thread everything: what it does is given up.
pub fn start() -> Outcome {
    let take: Take = match boot::option("exhaust") {
        Some("heap") => return refused_by_the_heap(),
        Some("all") => frames::alloc_emergency,
        _ => frames::alloc,
    };
    if RUNNING.swap(true, Ordering::AcqRel) {
        return Err("memory is taken already; wait until it is given back".to_string());
    }
    let before = frames::stats().free_bytes();
    let hog = tasks::spawn("hog", Options::default(), move || hold(take));
    if let Err(error) = hog {
        RUNNING.store(false, Ordering::Release);
        return Err(error.to_string());
    }
    tasks::sleep_nanos(HOLD_NANOS / 10);
    let left = frames::stats().free_bytes();
    Ok(alloc::format!(
        "{} MiB taken for {} s, {} KiB are left",
        (before - left.min(before)) >> 20,
        HOLD_NANOS / 1_000_000_000,
        left >> 10
    ))
}

fn refused_by_the_heap() -> Outcome {
    memory::heap::inject_failures(0, u64::MAX);
    let one = core::hint::black_box(Box::new(7u64));
    Err(alloc::format!(
        "the heap has refused {} attempts, and then given {one}",
        memory::heap::end_of_failures()
    ))
}

/// What is held, as lists that run through the memory itself: nothing is allocated for them.
struct Held {
    frames: *mut Link,
    pieces: *mut Link,
}

struct Link {
    next: *mut Link,
    size: usize,
}

fn hold(take: Take) {
    let mut held = Held { frames: core::ptr::null_mut(), pieces: core::ptr::null_mut() };
    let end = uptime_nanos() + HOLD_NANOS;
    while uptime_nanos() < end {
        held.take_all(take);
        tasks::sleep_nanos(PAUSE_NANOS);
    }
    held.give_back();
    RUNNING.store(false, Ordering::Release);
    log::info!("selftest: the memory is given back");
}

impl Held {
    fn take_all(&mut self, take: Take) {
        while let Ok(block) = take(0, MigrateType::Unmovable) {
            let link = direct(block.address()).cast::<Link>();
            // SAFETY: the frame is ours and mapped.
            unsafe { link.write(Link { next: self.frames, size: FRAME_SIZE as usize }) };
            self.frames = link;
        }
        for size in SIZES {
            while let Some(memory) = memory::heap::alloc_at_once(layout(size)) {
                let link = memory.as_ptr().cast::<Link>();
                // SAFETY: just allocated, with room and alignment for it.
                unsafe { link.write(Link { next: self.pieces, size }) };
                self.pieces = link;
            }
        }
    }

    fn give_back(&mut self) {
        // SAFETY: the lists hold what `take_all` took, each once.
        unsafe {
            while let Some(Link { next, size }) =
                self.pieces.as_ref().map(|link| core::ptr::from_ref(link).read())
            {
                alloc::alloc::dealloc(self.pieces.cast(), layout(size));
                self.pieces = next;
            }
            while let Some(Link { next, .. }) =
                self.frames.as_ref().map(|link| core::ptr::from_ref(link).read())
            {
                let pfn = (self.frames as u64 - memory::layout::DIRECT_MAP) / FRAME_SIZE;
                frames::free_frame(pfn, MigrateType::Unmovable);
                self.frames = next;
            }
        }
    }
}

const fn layout(size: usize) -> Layout {
    match Layout::from_size_align(size, align_of::<Link>()) {
        Ok(layout) => layout,
        Err(_) => Layout::new::<Link>(),
    }
}
