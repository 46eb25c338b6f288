//! The lines of the log, in chunks of 16 KiB: a line is appended to the newest chunk, and when that is full the oldest
//! one is used again.
//!
//! Two chunks are static, so that there is a log before there is memory, and when there is none left. The others are page
//! blocks: a thread supplies them beforehand ([`keep_spares`]), up to 1 MiB in all, while memory is plentiful; so
//! writing a line never allocates. Reclaim takes them back, those with the oldest lines first.

use super::LINE;
use crate::memory::{direct, frames, shortage};
use crate::sync::IrqMutex;
use heapless::{Deque, Vec};
use mm::reclaim::Shrinker;
use mm::{Block, FRAME_SIZE, MigrateType};

/// Page blocks of this order make a chunk.
const ORDER: usize = 2;
const CHUNK: usize = (FRAME_SIZE as usize) << ORDER;
/// Static chunks.
const FIXED: usize = 2;
/// Most chunks that are page blocks: 1 MiB.
const BLOCKS: usize = 64;
const CHUNKS: usize = FIXED + BLOCKS;
/// Chunks that reclaim leaves: the newest lines, more than 16 KiB of them.
const KEPT: usize = 2;
/// Empty chunks that wait for the next lines.
const SPARES: usize = 2;
/// Time, severity and length stand before each line's text.
const HEADER: usize = 8 + 1 + 1;

enum Memory {
    Fixed(usize),
    Block(Block),
}

struct Chunk {
    memory: Memory,
    used: usize,
}

pub(super) struct Ring {
    fixed: [[u8; CHUNK]; FIXED],
    fixed_in_use: [bool; FIXED],
    /// Oldest first.
    chunks: Deque<Chunk, CHUNKS>,
    /// Chunks that have left `chunks` at its front: the number of the one there now.
    first: u64,
    spares: Vec<Block, SPARES>,
}

static RING: IrqMutex<Ring> = IrqMutex::new(Ring {
    fixed: [[0; CHUNK]; FIXED],
    fixed_in_use: [false; FIXED],
    chunks: Deque::new(),
    first: 0,
    spares: Vec::new(),
});

/// A line, copied out.
pub(super) struct Entry {
    pub nanos: u64,
    pub level: u8,
    pub text: Vec<u8, LINE>,
}

/// A place between two lines.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    chunk: u64,
    offset: usize,
}

/// Appends a line; what is longer than [`LINE`] bytes is cut.
pub(super) fn push(nanos: u64, level: u8, text: &[u8]) {
    RING.lock().push(nanos, level, &text[..text.len().min(LINE)]);
}

/// The line at `place`, or the oldest one behind it; and the place after that.
pub(super) fn next(place: Place) -> Option<(Entry, Place)> {
    RING.lock().next(place)
}

impl Ring {
    fn push(&mut self, nanos: u64, level: u8, text: &[u8]) {
        let fits = |chunk: &Chunk| chunk.used + HEADER + text.len() <= CHUNK;
        if !self.chunks.back().is_some_and(fits)
            && let Some(memory) = self.empty_memory()
        {
            let _ = self.chunks.push_back(Chunk { memory, used: 0 });
        }
        let Self { fixed, chunks, .. } = self;
        let Some(Chunk { memory, used }) = chunks.back_mut() else { return };
        let free = bytes_mut(fixed, memory).get_mut(*used..).unwrap_or_default();
        let Some((header, rest)) = free.split_at_mut_checked(HEADER) else { return };
        let Some(place) = rest.get_mut(..text.len()) else { return };
        header[..8].copy_from_slice(&nanos.to_le_bytes());
        header[8..].copy_from_slice(&[level, text.len() as u8]);
        place.copy_from_slice(text);
        *used += HEADER + text.len();
    }

    /// A chunk's memory: a static one, a spare one, or that of the oldest lines.
    fn empty_memory(&mut self) -> Option<Memory> {
        if let Some(index) = self.fixed_in_use.iter().position(|used| !used) {
            self.fixed_in_use[index] = true;
            return Some(Memory::Fixed(index));
        }
        if !self.chunks.is_full()
            && let Some(block) = self.spares.pop()
        {
            return Some(Memory::Block(block));
        }
        self.first += 1;
        self.chunks.pop_front().map(|oldest| oldest.memory)
    }

    fn next(&self, place: Place) -> Option<(Entry, Place)> {
        let mut place = if place.chunk < self.first { Place { chunk: self.first, offset: 0 } } else { place };
        loop {
            let chunk = self.chunks.iter().nth(usize::try_from(place.chunk - self.first).ok()?)?;
            let text = bytes(&self.fixed, &chunk.memory).get(place.offset..chunk.used)?;
            let Some((header, rest)) = text.split_first_chunk::<HEADER>() else {
                place = Place { chunk: place.chunk + 1, offset: 0 };
                continue;
            };
            let [nanos @ .., level, len] = *header;
            let text = Vec::from_slice(rest.get(..usize::from(len))?).ok()?;
            let entry = Entry { nanos: u64::from_le_bytes(nanos), level, text };
            let offset = place.offset + HEADER + usize::from(len);
            return Some((entry, Place { offset, ..place }));
        }
    }

    /// Page blocks that reclaim may have: the spare ones, and all but the newest chunks.
    fn reclaimable(&self) -> u64 {
        let old = self.chunks.len().saturating_sub(KEPT);
        let blocks = self.chunks.iter().take(old).filter(|chunk| matches!(chunk.memory, Memory::Block(_)));
        (self.spares.len() + blocks.count()) as u64
    }

    /// One of them. Static chunks that come before it lose their lines too: there is no gap in the log.
    fn take_block(&mut self) -> Option<Block> {
        if let Some(spare) = self.spares.pop() {
            return Some(spare);
        }
        while self.reclaimable() > 0 {
            self.first += 1;
            match self.chunks.pop_front()?.memory {
                Memory::Fixed(index) => self.fixed_in_use[index] = false,
                Memory::Block(block) => return Some(block),
            }
        }
        None
    }

    fn wants_spare(&self) -> bool {
        let blocks = self.chunks.iter().filter(|chunk| matches!(chunk.memory, Memory::Block(_))).count();
        !self.spares.is_full() && blocks + self.spares.len() < BLOCKS
    }
}

fn bytes<'a>(fixed: &'a [[u8; CHUNK]; FIXED], memory: &Memory) -> &'a [u8] {
    match memory {
        Memory::Fixed(index) => &fixed[*index],
        // SAFETY: the block is the ring's, mapped in the direct map, and initialised by `keep_spares`; it is given back
        // only by `take_block`, for which the borrow of the ring must have ended.
        Memory::Block(block) => unsafe { core::slice::from_raw_parts(direct(block.address()), CHUNK) },
    }
}

fn bytes_mut<'a>(fixed: &'a mut [[u8; CHUNK]; FIXED], memory: &mut Memory) -> &'a mut [u8] {
    match memory {
        Memory::Fixed(index) => &mut fixed[*index],
        // SAFETY: as in `bytes`; the ring is borrowed mutably.
        Memory::Block(block) => unsafe { core::slice::from_raw_parts_mut(direct(block.address()), CHUNK) },
    }
}

/// Sees to it that there are empty chunks for the next lines, up to the bound. In a thread, while memory is plentiful.
pub fn keep_spares() {
    while RING.lock().wants_spare() {
        // Not under the lock: the page allocator writes to the log.
        let Ok(block) = frames::alloc(ORDER, MigrateType::Reclaimable) else { return };
        // SAFETY: the block is ours and mapped.
        unsafe { direct(block.address()).write_bytes(0, CHUNK) };
        if RING.lock().spares.push(block).is_err() {
            return frames::free(block);
        }
    }
}

/// Lines, and bytes of memory in chunks, the static ones included.
pub fn usage() -> (usize, u64) {
    let (mut lines, mut place) = (0, Place::default());
    while let Some((_, after)) = next(place) {
        (lines, place) = (lines + 1, after);
    }
    let ring = RING.lock();
    (lines, ((ring.chunks.len() + ring.spares.len()) * CHUNK) as u64)
}

struct LogRing;

impl Shrinker for LogRing {
    fn name(&self) -> &'static str {
        "log ring"
    }

    fn count(&self) -> u64 {
        RING.lock().reclaimable() * CHUNK as u64
    }

    fn shrink(&self, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes {
            let taken = RING.lock().take_block();
            let Some(block) = taken else { break };
            frames::free(block);
            freed += CHUNK as u64;
        }
        freed
    }
}

/// Lets reclaim shrink the ring.
pub fn register() {
    shortage::register(&LogRing);
}
