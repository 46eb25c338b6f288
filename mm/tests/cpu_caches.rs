//! Per-CPU caches under the kernel's lock protocol: each thread is a CPU with a cache of its own, the zones are behind
//! one lock, and pages are freed on other CPUs than they were allocated on.

use mm::{CpuCache, Frame, MigrateType, Reserve, Zones};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};

const FRAMES: usize = 1 << 13;
const STEPS: u32 = 100_000;

/// Whom each frame belongs to: 0 is nobody.
struct Owners(Vec<AtomicU32>);

impl Owners {
    fn pass(&self, pfn: u64, order: usize, from: u32, to: u32) {
        for pfn in pfn..pfn + (1 << order) {
            let was = self.0[pfn as usize].swap(to, Relaxed);
            assert_eq!(was, from, "frame {pfn} goes to {to}");
        }
    }
}

/// First frame, order, type.
type Page = (u64, usize, MigrateType);

struct Cpu<'a> {
    number: u32,
    zones: &'a Mutex<Zones<'static>>,
    owners: &'a Owners,
    cache: CpuCache,
    held: Vec<Page>,
    random: u64,
}

impl Cpu<'_> {
    fn dice(&mut self, sides: u64) -> u64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) % sides
    }

    fn alloc(&mut self) {
        let kind = MigrateType::ALL[self.dice(3) as usize];
        let reserve = if self.dice(10) == 0 { Reserve::Emergency } else { Reserve::None };
        let order = self.dice(8).trailing_zeros().min(4) as usize;
        let got = self.cache.alloc(order, kind);
        let got =
            got.or_else(|| self.cache.refill(&mut self.zones.lock().unwrap(), order, kind, reserve).ok());
        if let Some(pfn) = got {
            self.owners.pass(pfn, order, 0, self.number);
            self.held.push((pfn, order, kind));
        }
    }

    fn free(&mut self, (pfn, order, kind): Page, owner: u32) {
        self.owners.pass(pfn, order, owner, 0);
        if let Some(drained) = self.cache.free(pfn, order, kind) {
            self.zones.lock().unwrap().free_drained(drained).unwrap();
        }
    }

    fn run(mut self, to: mpsc::Sender<Page>, from: mpsc::Receiver<Page>, other: u32) {
        for _ in 0..STEPS {
            match self.dice(20) {
                0..9 => self.alloc(),
                9 => drop(self.cache.drain_all(&mut self.zones.lock().unwrap()).unwrap()),
                10..13 => {
                    // A page goes to the other CPU, and is freed there.
                    if let Some(page) = self.held.pop() {
                        to.send(page).unwrap();
                    }
                }
                13..15 => {
                    if let Ok(page) = from.try_recv() {
                        self.free(page, other);
                    }
                }
                _ if !self.held.is_empty() => {
                    let nth = self.dice(self.held.len() as u64) as usize;
                    let page = self.held.swap_remove(nth);
                    self.free(page, self.number);
                }
                _ => {}
            }
        }
        drop(to);
        while let Some(page) = self.held.pop() {
            self.free(page, self.number);
        }
        for page in from {
            self.free(page, other);
        }
        self.cache.drain_all(&mut self.zones.lock().unwrap()).unwrap();
        assert_eq!(self.cache.held(), 0);
    }
}

#[test]
fn no_frame_is_lost_or_given_to_two() {
    let frames = vec![Frame::RESERVED; FRAMES].leak();
    let mut zones = Zones::with_border(frames, 0, FRAMES as u64 / 3);
    zones.add_free(0, FRAMES as u64).unwrap();
    let boot = zones.stats();
    let zones = Mutex::new(zones);
    let owners = Owners((0..FRAMES).map(|_| AtomicU32::new(0)).collect());
    let cpu = |number: u32| Cpu {
        number,
        zones: &zones,
        owners: &owners,
        cache: CpuCache::new(FRAMES as u64),
        held: Vec::new(),
        random: u64::from(number),
    };
    let ((to_2, from_1), (to_1, from_2)) = (mpsc::channel(), mpsc::channel());
    std::thread::scope(|scope| {
        let first = cpu(1);
        let second = cpu(2);
        scope.spawn(move || first.run(to_2, from_2, 2));
        scope.spawn(move || second.run(to_1, from_1, 1));
    });
    let now = zones.into_inner().unwrap().stats();
    assert_eq!(now.free_blocks, boot.free_blocks, "complete coalescing");
    assert_eq!((now.free_frames, now.allocs), (boot.free_frames, now.frees));
    assert!(now.allocs > u64::from(STEPS) / 100, "the caches were refilled: {now:?}");
}
