//! Every order in which two CPUs can use their caches, the zones, and each other's cache (loom): the kernel's lock protocol
//! (`kernel/src/memory/frames.rs`), in which a CPU's cache is behind a lock of its own, taken before that of the zones.
//!
//! Each page has contents that only its owner may touch. loom reports two who touch it without an order between them, so a
//! page given to two, or handed on without synchronisation, fails; so does a deadlock.

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use mm::MigrateType::{Movable, Unmovable};
use mm::{CpuCache, Frame, MigrateType, Reserve, Stats, Zones};

/// A little more than the allocator's own data need.
const FRAMES: usize = 48;

struct Machine {
    zones: Mutex<Box<Zones<'static>>>,
    caches: [Mutex<Box<CpuCache>>; 2],
    pages: Vec<UnsafeCell<u64>>,
    boot: Box<Stats>,
}

impl Machine {
    fn new() -> Arc<Self> {
        // Batches of one block: two are held, so refills and drains happen soon. loom's stacks are too small to make it on.
        let make = || {
            let mut zones = Box::new(Zones::new(vec![Frame::RESERVED; FRAMES].leak(), 0));
            zones.add_free(0, FRAMES as u64).unwrap();
            (Box::new(zones.stats()), zones, [Box::new(CpuCache::new(0)), Box::new(CpuCache::new(0))])
        };
        let (boot, zones, caches) = std::thread::spawn(make).join().unwrap();
        let pages = (0..FRAMES).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Self { boot, zones: Mutex::new(zones), caches: caches.map(Mutex::new), pages })
    }

    fn touch(&self, pfn: u64, order: usize, from: u64, to: u64) {
        for page in &self.pages[pfn as usize..pfn as usize + (1 << order)] {
            // SAFETY: loom checks that nobody else touches it meanwhile.
            page.with_mut(|page| unsafe {
                assert_eq!(page.read(), from, "page {pfn}");
                page.write(to);
            });
        }
    }

    /// `frames::alloc` on this CPU.
    fn alloc(&self, cpu: usize, order: usize, kind: MigrateType) -> u64 {
        let mut cache = self.caches[cpu].lock().unwrap();
        let pfn = cache.alloc(order, kind);
        let pfn = pfn.unwrap_or_else(|| {
            cache.refill(&mut self.zones.lock().unwrap(), order, kind, Reserve::None).unwrap()
        });
        drop(cache);
        self.touch(pfn, order, 0, cpu as u64 + 1);
        pfn
    }

    /// `frames::free_as` on this CPU, of what CPU `owner` allocated.
    fn free(&self, cpu: usize, owner: usize, pfn: u64, order: usize, kind: MigrateType) {
        self.touch(pfn, order, owner as u64 + 1, 0);
        let mut cache = self.caches[cpu].lock().unwrap();
        if let Some(drained) = cache.free(pfn, order, kind) {
            self.zones.lock().unwrap().free_drained(drained).unwrap();
        }
    }

    /// `frames::drain_caches`, of all CPUs by any CPU.
    fn drain(&self) {
        for cache in &self.caches {
            let mut cache = cache.lock().unwrap();
            cache.drain_all(&mut self.zones.lock().unwrap()).unwrap();
        }
    }

    /// Nobody uses anything any more: all is there, and joined.
    fn check(&self) {
        self.drain();
        assert_eq!(self.zones.lock().unwrap().stats().free_blocks, self.boot.free_blocks);
    }
}

/// Runs two CPUs in every order with up to five preemptions.
fn explore(first: fn(&Machine), second: fn(&Machine)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(5);
    model.check(move || {
        let machine = Machine::new();
        let other = machine.clone();
        let thread = loom::thread::spawn(move || second(&other));
        first(&machine);
        thread.join().unwrap();
        machine.check();
    });
}

#[test]
fn a_cache_is_drained_by_another_cpu_while_it_is_used() {
    explore(
        |machine| {
            let (a, b) = (machine.alloc(0, 0, Movable), machine.alloc(0, 0, Movable));
            machine.free(0, 0, a, 0, Movable);
            machine.free(0, 0, b, 0, Movable);
            let c = machine.alloc(0, 1, Movable);
            machine.free(0, 0, c, 1, Movable);
        },
        |machine| {
            machine.drain();
            let block = machine.alloc(1, 0, Movable);
            machine.drain();
            machine.free(1, 1, block, 0, Movable);
        },
    );
}

/// Three of one kind are one more than a cache holds.
fn three(machine: &Machine, cpu: usize) {
    let held = [0; 3].map(|order| machine.alloc(cpu, order, Unmovable));
    for pfn in held {
        machine.free(cpu, cpu, pfn, 0, Unmovable);
    }
}

#[test]
fn both_refill_and_overflow_at_once() {
    explore(|machine| three(machine, 0), |machine| three(machine, 1));
}

#[test]
fn a_page_is_freed_on_another_cpu() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(5);
    model.check(|| {
        let machine = Machine::new();
        let mailbox = Arc::new(Mutex::new(None));
        let (other, letters) = (machine.clone(), mailbox.clone());
        let thread = loom::thread::spawn(move || {
            if let Some(pfn) = letters.lock().unwrap().take() {
                other.free(1, 0, pfn, 0, Movable);
            }
            let own = other.alloc(1, 0, Movable);
            other.drain();
            other.free(1, 1, own, 0, Movable);
        });
        let page = machine.alloc(0, 0, Movable);
        *mailbox.lock().unwrap() = Some(page);
        machine.drain();
        let next = machine.alloc(0, 0, Movable);
        machine.free(0, 0, next, 0, Movable);
        thread.join().unwrap();
        if let Some(pfn) = mailbox.lock().unwrap().take() {
            machine.free(0, 0, pfn, 0, Movable);
        }
        machine.check();
    });
}
