//! The run-time of LLVM's coverage pass (`inline-8bit-counters`): one byte per edge of the program, counted up in
//! place by the instrumented code.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Called by every instrumented object file's constructor; the linker has joined their counters into one range.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    START.store(start, Relaxed);
    LENGTH.store(stop as usize - start as usize, Relaxed);
}

/// True in the instrumented program.
pub fn is_on() -> bool {
    edges() > 0
}

/// Edges of the program.
pub fn edges() -> usize {
    LENGTH.load(Relaxed)
}

/// The counters. Nothing else may run instrumented code while the slice is used: the fuzzer has one thread.
fn counters() -> &'static mut [u8] {
    if !is_on() {
        return &mut [];
    }
    // SAFETY: the constructor gave the bounds of a static array of this program, which lives forever. Instrumented
    // code writes to it by plain adds, on this one thread, never while the slice returned here is in use.
    unsafe { std::slice::from_raw_parts_mut(START.load(Relaxed), edges()) }
}

/// What has been reached so far: for each edge, the classes of how often in one run.
#[derive(Default)]
pub struct Seen {
    classes: Vec<u8>,
    /// Edges reached at all.
    pub edges: usize,
}

/// Forgets what was counted.
pub fn reset() {
    counters().fill(0);
}

impl Seen {
    /// Takes in what was counted since [`reset`]; true if any of it is new.
    pub fn take(&mut self) -> bool {
        self.classes.resize(edges(), 0);
        let mut new = false;
        let (chunks, rest) = counters().as_chunks::<8>();
        for (at, chunk) in chunks.iter().enumerate().filter(|(_, chunk)| **chunk != [0; 8]) {
            for (i, &count) in chunk.iter().enumerate() {
                new |= self.note(at * 8 + i, count);
            }
        }
        for (i, &count) in rest.iter().enumerate() {
            new |= self.note(chunks.len() * 8 + i, count);
        }
        new
    }

    /// Counts fall into classes 1, 2, 3, 4–7, 8–15, 16–31, 32–127, 128 and more, as in AFL.
    fn note(&mut self, edge: usize, count: u8) -> bool {
        let class = match count {
            0 => return false,
            1..=3 => 1 << (count - 1),
            4..=7 => 8,
            8..=15 => 16,
            16..=31 => 32,
            32..=127 => 64,
            128.. => 128,
        };
        let seen = &mut self.classes[edge];
        self.edges += usize::from(*seen == 0);
        let new = *seen & class == 0;
        *seen |= class;
        new
    }
}
