//! The prefix cache: keys and values of prompts that were read before, so that a prompt that begins like one of them is
//! not read again from its first token.
//!
//! Prompts are cut into chunks of [`CHUNK`] tokens. A chunk is found by its tokens and the chunk before it, so all
//! prompts that begin alike share the chunks of that beginning (vLLM's "automatic prefix caching", Kwon et al. 2023).
//! The chunk used longest ago goes first, and never before one that continues it.
//!
//! Where the bytes lie is the caller's choice: each chunk has a piece of memory of its own, and evicting the chunk
//! gives that piece back. The keys and values of a token do not depend on how it was batched, so an answer is the same
//! with the cache and without it.
//!
//! ```
//! use llm::prefix::PrefixCache;
//!
//! let mut cache: PrefixCache<Vec<u8>> = PrefixCache::new();
//! cache.set_limit(1 << 20);
//! // After `engine.generate(&prompt, …)`: engine.remember(&prompt, &mut cache, &mut |bytes| Some(vec![0; bytes]));
//! // Before the next one: engine.recall(&prompt, &mut cache);
//! assert!(cache.evict_oldest().is_none());
//! ```

use alloc::vec::Vec;
use core::cmp::Reverse;

/// Tokens of a chunk.
pub const CHUNK: usize = 8;

/// A chunk's number; never used twice.
type Id = u64;

/// The chunk before the first one.
const ROOT: Id = 0;

struct Chunk<S> {
    id: Id,
    before: Id,
    /// Chunks before it.
    depth: usize,
    tokens: [u32; CHUNK],
    used: u64,
    memory: S,
}

/// Chunks of prompts, with memory of type `S`.
pub struct PrefixCache<S> {
    chunks: Vec<Chunk<S>>,
    /// Bytes that the chunks may take.
    limit: usize,
    bytes: usize,
    /// Numbers handed out.
    ids: Id,
    /// Counts the walks.
    clock: u64,
    evicted: u64,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixUsage {
    /// Tokens whose keys and values it has.
    pub tokens: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// Most bytes that it takes.
    pub limit: usize,
    /// Chunks that were evicted, by the limit or by [`PrefixCache::evict_oldest`].
    pub evicted: u64,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> PrefixCache<S> {
    /// An empty one, which takes nothing before [`set_limit`](Self::set_limit).
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), limit: 0, bytes: 0, ids: ROOT, clock: 0, evicted: 0 }
    }

    /// Bounds its bytes from now on.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// What it holds.
    pub fn usage(&self) -> PrefixUsage {
        let tokens = self.chunks.len() * CHUNK;
        PrefixUsage { tokens, bytes: self.bytes, limit: self.limit, evicted: self.evicted }
    }

    /// Forgets the chunk that was used longest ago; its memory.
    pub fn evict_oldest(&mut self) -> Option<S> {
        self.evict_before(u64::MAX)
    }

    /// As [`evict_oldest`](Self::evict_oldest), for chunks that were used before the walk `clock`.
    fn evict_before(&mut self, clock: u64) -> Option<S> {
        // Whoever uses a chunk uses those before it too; so by this order it is the last of its line that goes.
        let oldest =
            self.chunks.iter().enumerate().min_by_key(|(_, chunk)| (chunk.used, Reverse(chunk.depth)));
        let (index, _) = oldest.filter(|(_, chunk)| chunk.used < clock)?;
        let memory = self.chunks.swap_remove(index).memory;
        self.bytes -= memory.as_ref().len();
        self.evicted += 1;
        Some(memory)
    }

    /// Starts at the beginning of a prompt.
    pub(crate) fn walk(&mut self) -> Walk<'_, S> {
        self.clock += 1;
        Walk { cache: self, at: ROOT, depth: 0 }
    }
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Default for PrefixCache<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// A way through the cache along a prompt, chunk by chunk.
pub(crate) struct Walk<'c, S> {
    cache: &'c mut PrefixCache<S>,
    at: Id,
    depth: usize,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Walk<'_, S> {
    /// Goes on along `tokens`, a chunk of them, if the cache knows them there: their bytes.
    pub(crate) fn step(&mut self, tokens: &[u32]) -> Option<&[u8]> {
        let (at, clock) = (self.at, self.cache.clock);
        let mut chunks = self.cache.chunks.iter_mut();
        let chunk = chunks.find(|chunk| chunk.before == at && chunk.tokens == tokens)?;
        chunk.used = clock;
        self.at = chunk.id;
        self.depth += 1;
        Some(chunk.memory.as_ref())
    }

    /// Adds a chunk here and steps onto it, evicting others where the limit asks for it: the bytes to fill. `None` when
    /// there is no room or no memory.
    pub(crate) fn add(
        &mut self,
        tokens: &[u32],
        bytes: usize,
        allocate: &mut dyn FnMut(usize) -> Option<S>,
    ) -> Option<&mut [u8]> {
        let tokens = tokens.try_into().ok()?;
        let cache = &mut *self.cache;
        while cache.bytes.checked_add(bytes)? > cache.limit {
            cache.evict_before(cache.clock)?;
        }
        cache.chunks.try_reserve(1).ok()?;
        let memory = allocate(bytes)?;
        cache.ids += 1;
        cache.bytes += memory.as_ref().len();
        let (id, before, depth, used) = (cache.ids, self.at, self.depth, cache.clock);
        cache.chunks.push(Chunk { id, before, depth, tokens, used, memory });
        self.at = id;
        self.depth += 1;
        cache.chunks.last_mut()?.memory.as_mut().get_mut(..bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const BYTES: usize = 100;

    /// The chunks of a prompt that are known, in order.
    fn known(cache: &mut PrefixCache<Vec<u8>>, prompt: &[u32]) -> usize {
        let mut walk = cache.walk();
        prompt.chunks_exact(CHUNK).take_while(|chunk| walk.step(chunk).is_some()).count()
    }

    fn remember(cache: &mut PrefixCache<Vec<u8>>, prompt: &[u32]) {
        let mut walk = cache.walk();
        for chunk in prompt.chunks_exact(CHUNK) {
            if walk.step(chunk).is_none() {
                let Some(bytes) = walk.add(chunk, BYTES, &mut |bytes| Some(vec![0; bytes])) else { return };
                bytes[0] = chunk[0] as u8;
            }
        }
    }

    fn prompt(parts: &[u32]) -> Vec<u32> {
        parts.iter().flat_map(|&part| [part; CHUNK]).collect()
    }

    #[test]
    fn beginnings_are_shared_and_the_oldest_end_goes_first() {
        let mut cache = PrefixCache::new();
        remember(&mut cache, &prompt(&[1]));
        assert_eq!(cache.usage().tokens, 0, "nothing is kept without a limit");
        cache.set_limit(4 * BYTES);
        remember(&mut cache, &prompt(&[1, 2, 3]));
        remember(&mut cache, &prompt(&[1, 2, 4]));
        assert_eq!(cache.usage().tokens, 4 * CHUNK);
        assert_eq!(known(&mut cache, &prompt(&[2, 3])), 0, "a chunk counts only behind those before it");
        // No room for a fifth: 3 was used longest ago.
        remember(&mut cache, &prompt(&[1, 5]));
        assert_eq!([[1, 2, 3], [1, 2, 4]].map(|p| known(&mut cache, &prompt(&p))), [2, 3]);
        assert_eq!(cache.usage().evicted, 1);
        // A prompt longer than the cache keeps its beginning.
        remember(&mut cache, &prompt(&[6, 7, 8, 9, 10]));
        assert_eq!(known(&mut cache, &prompt(&[6, 7, 8, 9, 10])), 4);
        let freed = core::iter::from_fn(|| cache.evict_oldest()).map(|memory| memory.len()).sum::<usize>();
        assert_eq!((freed, cache.usage().bytes), (4 * BYTES, 0));
    }

    proptest! {
        #[test]
        fn every_chunk_has_those_before_it(
            prompts in prop::collection::vec(prop::collection::vec(0u32..3, 0..5), 1..40),
            limit in 0usize..8,
        ) {
            let mut cache = PrefixCache::new();
            cache.set_limit(limit * BYTES);
            for (number, parts) in prompts.iter().enumerate() {
                remember(&mut cache, &prompt(parts));
                if number % 5 == 4 {
                    cache.evict_oldest();
                }
                prop_assert!(cache.bytes <= cache.limit && cache.bytes == cache.chunks.len() * BYTES);
                for chunk in &cache.chunks {
                    let before = cache.chunks.iter().find(|other| other.id == chunk.before);
                    prop_assert_eq!(before.map_or(0, |before| before.depth + 1), chunk.depth);
                    prop_assert_eq!(u32::from(chunk.memory[0]), chunk.tokens[0]);
                }
            }
        }
    }
}
