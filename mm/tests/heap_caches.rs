//! Two CPUs with their caches before one heap, in real parallel, by the kernel's protocol
//! (`kernel/src/memory/heap_caches.rs`): each touches its own cache only and empties it when the other asks; pieces are freed
//! on the CPU that did not allocate them. Every piece is filled with a pattern of its own, which two owners would break.

use mm::heap::SLAB;
use mm::{FrameSource, Heap, HeapCache};
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

const STEPS: u64 = 120_000;
const LIVE: usize = 700;

/// The host's memory, up to a limit, so that the heap is out of memory now and then.
struct Host {
    left: usize,
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, SLAB).unwrap()
}

// SAFETY: fresh memory of the host's, until it is given back.
unsafe impl FrameSource for Host {
    fn grow(&mut self, min_bytes: usize) -> Option<(*mut u8, usize)> {
        let bytes = min_bytes.next_multiple_of(64 << 10);
        self.left = self.left.checked_sub(bytes)?;
        // SAFETY: the size is not 0.
        Some((unsafe { alloc(layout(bytes)) }, bytes))
    }

    fn give_back(&mut self, start: *mut u8, bytes: usize) {
        self.left += bytes;
        // SAFETY: as `grow` returned it.
        unsafe { dealloc(start, layout(bytes)) };
    }

    fn slab(&mut self) -> Option<NonNull<u8>> {
        self.left = self.left.checked_sub(SLAB)?;
        // SAFETY: the size is not 0.
        NonNull::new(unsafe { alloc(layout(SLAB)) })
    }

    fn give_back_slab(&mut self, slab: NonNull<u8>) {
        self.give_back(slab.as_ptr(), SLAB);
    }
}

struct Machine {
    heap: Mutex<Heap<Host>>,
    /// Asks the CPU of that number to empty its cache.
    drain: [AtomicBool; 2],
}

/// A piece with the word that it is filled with.
struct Piece {
    memory: NonNull<u8>,
    layout: Layout,
    word: u8,
}

// SAFETY: the piece is its owner's alone.
unsafe impl Send for Piece {}

impl Piece {
    fn fill(memory: NonNull<u8>, layout: Layout, word: u8) -> Self {
        assert!(memory.as_ptr().addr().is_multiple_of(layout.align()));
        // SAFETY: just allocated with this layout.
        unsafe { memory.write_bytes(word, layout.size()) };
        Self { memory, layout, word }
    }

    fn check(&self) {
        // SAFETY: ours, filled in full.
        let bytes = unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.layout.size()) };
        assert!(bytes.iter().all(|&byte| byte == self.word), "{:?} was written to by another", self.layout);
    }
}

struct Cpu<'a> {
    number: usize,
    machine: &'a Machine,
    cache: HeapCache,
    random: u64,
    refused: u64,
}

impl Cpu<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn answer(&mut self) {
        if self.machine.drain[self.number].swap(false, Ordering::AcqRel) {
            // SAFETY: there is one heap.
            unsafe { self.cache.drain(&mut self.machine.heap.lock().unwrap()) };
        }
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let found = self.cache.allocate(layout);
        found.or_else(|| self.cache.refill(&mut self.machine.heap.lock().unwrap(), layout))
    }

    fn free(&mut self, piece: &Piece) {
        piece.check();
        // SAFETY: allocated from the one heap with this layout, and forgotten by its owner.
        unsafe {
            if !self.cache.deallocate(piece.memory, piece.layout) {
                let heap = &mut self.machine.heap.lock().unwrap();
                self.cache.deallocate_full(heap, piece.memory, piece.layout);
            }
        }
    }

    /// Allocates, frees, sends every third piece to the other CPU, which frees it.
    fn run(&mut self, to: &mpsc::Sender<Piece>, from: &mpsc::Receiver<Piece>) {
        let mut live: Vec<Piece> = Vec::new();
        for step in 0..STEPS {
            self.answer();
            while let Ok(piece) = from.try_recv() {
                self.free(&piece);
            }
            if self.below(3) > 0 && live.len() < LIVE {
                // Mostly small; some beside the classes, some in the cache of larger ones.
                let bits = 4 + self.below(12);
                let layout =
                    Layout::from_size_align(1 + self.below(1 << bits) as usize, 1 << self.below(7)).unwrap();
                match self.allocate(layout) {
                    Some(memory) => live.push(Piece::fill(memory, layout, step as u8)),
                    None => {
                        self.refused += 1;
                        self.machine.drain.iter().for_each(|drain| drain.store(true, Ordering::Release));
                    }
                }
            } else if !live.is_empty() {
                let at = self.below(live.len() as u64) as usize;
                let piece = live.swap_remove(at);
                match step % 3 {
                    0 => to.send(piece).unwrap(),
                    _ => self.free(&piece),
                }
            }
        }
        live.iter().for_each(|piece| self.free(piece));
    }
}

#[test]
fn no_piece_is_lost_or_given_to_two() {
    let machine = Machine {
        heap: Mutex::new(Heap::new(Host { left: 3 << 19 })),
        drain: [const { AtomicBool::new(false) }; 2],
    };
    let (to_second, second) = mpsc::channel();
    let (to_first, first) = mpsc::channel();
    let run = |number: usize, to: mpsc::Sender<Piece>, from: mpsc::Receiver<Piece>| {
        let random = number as u64 + 7;
        let mut cpu = Cpu { number, machine: &machine, cache: HeapCache::new(), random, refused: 0 };
        cpu.run(&to, &from);
        drop(to);
        // Until the other has sent its last.
        from.iter().for_each(|piece| cpu.free(&piece));
        machine.drain[number].store(true, Ordering::Release);
        cpu.answer();
        assert_eq!(cpu.cache.held_pieces(), 0);
        cpu.refused
    };
    let refused: u64 = std::thread::scope(|scope| {
        let threads = [scope.spawn(|| run(0, to_second, first)), scope.spawn(|| run(1, to_first, second))];
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(refused > 0, "memory was never short, so the drains were not tested");
    let mut heap = machine.heap.into_inner().unwrap();
    while heap.trim(0) > 0 {}
    let stats = heap.stats();
    assert_eq!((stats.allocated, stats.allocations, stats.slabs), (0, 0, 0));
    assert!(stats.regions <= 1, "{stats:?}");
}
