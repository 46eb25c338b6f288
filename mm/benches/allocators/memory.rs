//! What the heaps take for a script, when it has the most allocated.

use crate::contestants::{Allocator, CachedHeap, OurHeap, bytes};
use crate::script::{Op, Script};
use core::ptr::NonNull;
use mm::HeapCache;
use mm::MigrateType::Unmovable;
use spin::Mutex;

/// KiB, at the moment at which the most is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// As the script says.
    pub asked: usize,
    /// Ours: as rounded, with what the CPU's cache keeps.
    pub allocated: usize,
    /// Ours: frames; those for larger pieces are claimed 1 MiB at a time.
    pub claimed: usize,
    /// `buddy_system_allocator`'s heap: as rounded.
    pub peer: usize,
}

/// Runs the script once on each, both empty before.
pub fn memory(script: &Script, ours: OurHeap, mut peer: buddy_system_allocator::Heap<33>) -> Memory {
    let heap = Mutex::new(ours);
    let mut cached = CachedHeap { heap: &heap, cache: HeapCache::new() };
    let mut slots = vec![(0, 0, None); script.slots];
    let (mut asked, mut most) = (0, Memory::default());
    for op in &script.ops {
        match *op {
            Op::Alloc { slot, size, .. } => {
                let at = cached.alloc(size, Unmovable).expect("the arena is large enough");
                slots[slot as usize] = (at, size, peer.alloc(bytes(size)).ok());
                asked += size as usize;
            }
            Op::Free { slot } => {
                let (at, size, theirs) = slots[slot as usize];
                cached.free(at, size, Unmovable);
                let theirs: NonNull<u8> = theirs.expect("the arena is large enough");
                // SAFETY: allocated with this layout, freed once.
                unsafe { peer.dealloc(theirs, bytes(size)) };
                asked -= size as usize;
            }
        }
        if asked > most.asked * 1024 {
            let stats = heap.lock().0.stats();
            let [asked, allocated, claimed, peer] =
                [asked, stats.allocated, stats.claimed, peer.stats_alloc_actual()].map(|bytes| bytes / 1024);
            most = Memory { asked, allocated, claimed, peer };
        }
    }
    most
}
