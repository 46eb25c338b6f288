//! The prefix cache in the kernel: bytes in movable memory, bounded by a share of the machine's, given back to whoever is
//! short of memory.
//!
//! The lock is held while keys and values are copied, so the shrinker only tries it: it may be called by the very
//! thread that holds it. Others are told what the cache held when it was last let go.

use crate::memory::vmalloc::Movable;
use crate::memory::{frames, shortage};
use crate::sync::IrqMutex;
use crate::tasks;
use llm::prefix::{PrefixCache, PrefixUsage};
use mm::Pressure;
use mm::reclaim::Shrinker;

/// Of the machine's memory, the cache takes one part in so many...
const SHARE: u64 = 32;
/// ...and never more than this.
const MOST: u64 = 16 << 20;

/// Memory of one chunk.
pub struct Piece(Movable);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsMut<[u8]> for Piece {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }
}

static PREFIXES: spin::Mutex<PrefixCache<Piece>> = spin::Mutex::new(PrefixCache::new());
static USAGE: IrqMutex<PrefixUsage> =
    IrqMutex::new(PrefixUsage { tokens: 0, bytes: 0, limit: 0, evicted: 0 });

/// Runs `act` on the cache. For the model's thread.
pub fn with<R>(act: impl FnOnce(&mut PrefixCache<Piece>) -> R) -> R {
    loop {
        if let Some(mut cache) = PREFIXES.try_lock() {
            let result = act(&mut cache);
            *USAGE.lock() = cache.usage();
            return result;
        }
        tasks::yield_now();
    }
}

/// Memory for a chunk, where memory is plentiful.
pub fn allocate(bytes: usize) -> Option<Piece> {
    if frames::pressure() > Pressure::None {
        return None;
    }
    Movable::new_if_free(bytes as u64).ok().map(Piece)
}

/// Forgets everything: another model may follow.
pub fn clear() {
    while let Some(piece) = with(PrefixCache::evict_oldest) {
        drop(piece);
    }
}

/// What it holds now.
pub fn usage() -> PrefixUsage {
    *USAGE.lock()
}

/// Bounds the cache, and lets reclaim shrink it. Once.
pub fn start() {
    let bytes = frames::stats().total_bytes() / SHARE;
    with(|cache| cache.set_limit(bytes.min(MOST) as usize));
    shortage::register(&Prefixes);
}

struct Prefixes;

impl Shrinker for Prefixes {
    fn name(&self) -> &'static str {
        "SLM prefix cache"
    }

    fn count(&self) -> u64 {
        usage().bytes as u64
    }

    fn shrink(&self, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes {
            // Dropped after the lock is let go: giving memory back waits for other CPUs.
            let Some(mut cache) = PREFIXES.try_lock() else { break };
            let oldest = cache.evict_oldest();
            *USAGE.lock() = cache.usage();
            drop(cache);
            let Some(piece) = oldest else { break };
            freed += piece.as_ref().len() as u64;
        }
        freed
    }
}
