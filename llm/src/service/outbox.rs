//! An answer on its way to its client: chunks of tokens, bounded.

use alloc::collections::{TryReserveError, VecDeque};
use alloc::vec::Vec;

/// Most bytes of a chunk.
pub const CHUNK_BYTES: usize = 1024;
/// Bytes of an answer that wait to be fetched; no more are made before some are.
const BYTES: usize = 8 * CHUNK_BYTES;
/// Chunks that wait.
const CHUNKS: usize = 256;
/// No token's piece is longer; the vocabulary's longest is far below.
const PIECE: usize = CHUNK_BYTES / 2;

/// Some tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunk {
    /// Counts the chunks of an answer from 0.
    pub sequence: u32,
    /// Tokens in it.
    pub tokens: u32,
    /// Bytes in it; a character may be split between two chunks only where a chunk is full.
    pub bytes: u32,
    /// They are a record's, looked up; else the model's.
    pub record: bool,
}

/// The chunks that were not fetched.
pub struct Outbox {
    bytes: VecDeque<u8>,
    ready: VecDeque<Chunk>,
    /// The chunk being filled.
    open: Chunk,
}

impl Outbox {
    /// An empty one, with all the memory that it will ever need.
    pub fn new() -> Result<Self, TryReserveError> {
        let (mut bytes, mut ready) = (VecDeque::new(), VecDeque::new());
        bytes.try_reserve_exact(BYTES)?;
        ready.try_reserve_exact(CHUNKS)?;
        Ok(Self { bytes, ready, open: Chunk::default() })
    }

    /// One that holds nothing and has room for nothing.
    pub(super) const fn empty() -> Self {
        let open = Chunk { sequence: 0, tokens: 0, bytes: 0, record: false };
        Self { bytes: VecDeque::new(), ready: VecDeque::new(), open }
    }

    /// Whether another token fits for certain.
    pub fn has_room(&self) -> bool {
        // A piece may close a chunk that is full and one that has its tokens; one more is for the end of the answer.
        self.bytes.len() + PIECE <= BYTES && self.ready.len() + 3 <= CHUNKS
    }

    /// Whether half of the room is free again.
    pub fn is_half_empty(&self) -> bool {
        self.bytes.len() <= BYTES / 2 && self.ready.len() <= CHUNKS / 2
    }

    /// Appends `tokens` tokens' text; closes the chunk at `limit` tokens, when it is full, or where a record ends. What has no room is
    /// cut: it cannot be, where [`has_room`](Self::has_room) was asked before. Says how many chunks were closed.
    pub fn put(&mut self, mut text: &[u8], tokens: u32, record: bool, limit: u32) -> u32 {
        let before = self.open.sequence;
        if self.open.record != record {
            self.close();
            self.open.record = record;
        }
        text = text.get(..text.len().min(BYTES - self.bytes.len())).unwrap_or_default();
        self.open.tokens += tokens;
        loop {
            let room = CHUNK_BYTES - self.open.bytes as usize;
            let (now, later) = text.split_at(room.min(text.len()));
            self.bytes.extend(now);
            self.open.bytes += now.len() as u32;
            if later.is_empty() || self.close() == 0 {
                break;
            }
            text = later;
        }
        if self.open.tokens >= limit {
            self.close();
        }
        self.open.sequence - before
    }

    /// Closes the chunk being filled, if there is anything in it: at the end of the answer. Says how many were closed.
    pub fn close(&mut self) -> u32 {
        if (self.open.tokens == 0 && self.open.bytes == 0) || self.ready.len() == CHUNKS {
            return 0;
        }
        self.ready.push_back(self.open);
        self.open = Chunk { sequence: self.open.sequence + 1, tokens: 0, bytes: 0, record: self.open.record };
        1
    }

    /// The next chunk; its bytes go to the end of `out`, which must have room for [`CHUNK_BYTES`] if nothing is to be allocated.
    pub fn take(&mut self, out: &mut Vec<u8>) -> Option<Chunk> {
        let chunk = self.ready.pop_front()?;
        out.extend(self.bytes.drain(..(chunk.bytes as usize).min(self.bytes.len())));
        Some(chunk)
    }

    /// Whether all was fetched.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.open.tokens == 0 && self.open.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_grows(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..PIECE), 0..200),
            limit in 1u32..10, fetch_every in 1usize..20,
        ) {
            let mut outbox = Outbox::new().unwrap();
            let (bytes, chunks) = (outbox.bytes.capacity(), outbox.ready.capacity());
            let (mut got, mut tokens, mut next, mut closed) = (Vec::new(), 0, 0, 0);
            let mut fetch = |outbox: &mut Outbox, got: &mut Vec<u8>| {
                while let Some(chunk) = outbox.take(got) {
                    assert_eq!(chunk.sequence, next);
                    assert!(chunk.bytes as usize <= CHUNK_BYTES && chunk.tokens <= limit);
                    next += 1;
                    tokens += chunk.tokens;
                }
            };
            let mut sent = 0;
            for (i, piece) in pieces.iter().enumerate() {
                if !outbox.has_room() || i % fetch_every == 0 {
                    fetch(&mut outbox, &mut got);
                }
                prop_assert!(outbox.has_room());
                closed += outbox.put(piece, 1, false, limit);
                sent += 1;
            }
            closed += outbox.close();
            fetch(&mut outbox, &mut got);
            prop_assert!(outbox.is_empty());
            prop_assert_eq!(got, pieces.concat());
            prop_assert_eq!((tokens, next), (sent, closed));
            prop_assert_eq!((outbox.bytes.capacity(), outbox.ready.capacity()), (bytes, chunks));
        }
    }
}
