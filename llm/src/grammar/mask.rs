//! Sets of tokens, and a cache of them.

use super::error::ConstraintError;
use alloc::vec::Vec;

/// The tokens that may come next.
#[derive(Debug, Default)]
pub struct Mask {
    bits: Vec<u64>,
    allowed: usize,
}

impl Mask {
    /// Whether `token` is allowed.
    pub fn contains(&self, token: u32) -> bool {
        self.bits.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// How many tokens are allowed.
    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// The only token that is allowed, if it is just one.
    pub fn only(&self) -> Option<u32> {
        let (at, word) = (0u32..).zip(&self.bits).find(|(_, word)| **word != 0)?;
        (self.allowed == 1).then(|| at * 64 + word.trailing_zeros())
    }

    /// Makes the logits of all others negative infinity.
    pub fn apply(&self, logits: &mut [f32]) {
        for (logits, word) in logits.chunks_mut(64).zip(&self.bits) {
            match *word {
                0 => logits.fill(f32::NEG_INFINITY),
                u64::MAX => {}
                _ => {
                    let forbidden = logits.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                    forbidden.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
                }
            }
        }
    }

    pub(super) fn insert(&mut self, token: u32) {
        if let Some(word) = self.bits.get_mut(token as usize / 64) {
            self.allowed += usize::from(*word >> (token % 64) & 1 == 0);
            *word |= 1 << (token % 64);
        }
    }

    /// Empties it, with room for `vocabulary` tokens.
    fn clear(&mut self, vocabulary: usize) -> Result<(), ConstraintError> {
        let words = vocabulary.div_ceil(64);
        self.bits.clear();
        self.bits.try_reserve_exact(words).map_err(|_| ConstraintError::OutOfMemory { bytes: words * 8 })?;
        self.bits.resize(words, 0);
        self.allowed = 0;
        Ok(())
    }
}

/// How the masks of a constraint were come by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaskUsage {
    /// Masks that were in the cache.
    pub hits: u64,
    /// Masks that were computed.
    pub misses: u64,
    /// Masks that gave way to others.
    pub evicted: u64,
    /// Bytes of the masks in the cache.
    pub bytes: usize,
    /// Most bytes that it takes; one mask is always kept.
    pub limit: usize,
}

struct Entry {
    state: u32,
    used: u64,
    mask: Mask,
}

/// The masks of some states; the one used longest ago gives way.
pub(super) struct MaskCache {
    entries: Vec<Entry>,
    vocabulary: usize,
    clock: u64,
    usage: MaskUsage,
}

impl MaskCache {
    /// An empty one for `limit` bytes of masks.
    pub fn new(vocabulary: usize, limit: usize) -> Self {
        let usage = MaskUsage { limit, ..MaskUsage::default() };
        Self { entries: Vec::new(), vocabulary, clock: 0, usage }
    }

    /// The place of the state's mask, if it is there.
    pub fn find(&mut self, state: u32) -> Option<usize> {
        self.clock += 1;
        let at = self.entries.iter().position(|entry| entry.state == state)?;
        if let Some(entry) = self.entries.get_mut(at) {
            entry.used = self.clock;
        }
        self.usage.hits += 1;
        Some(at)
    }

    /// The mask at a place.
    pub fn get(&self, at: usize) -> &Mask {
        const EMPTY: &Mask = &Mask { bits: Vec::new(), allowed: 0 };
        self.entries.get(at).map_or(EMPTY, |entry| &entry.mask)
    }

    /// Takes an empty mask, out of the cache if it is full.
    pub fn take(&mut self) -> Result<Mask, ConstraintError> {
        self.usage.misses += 1;
        let each = self.vocabulary.div_ceil(64) * 8;
        let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used);
        let mut mask = match oldest {
            Some((at, _)) if (self.entries.len() + 1) * each > self.usage.limit => {
                self.usage.evicted += 1;
                self.entries.swap_remove(at).mask
            }
            _ => Mask::default(),
        };
        mask.clear(self.vocabulary)?;
        self.usage.bytes = self.entries.len() * each;
        Ok(mask)
    }

    /// Puts the mask of `state` in; its place.
    pub fn put(&mut self, state: u32, mask: Mask) -> usize {
        self.usage.bytes += mask.bits.len() * 8;
        self.entries.push(Entry { state, used: self.clock, mask });
        self.entries.len() - 1
    }

    /// Forgets all masks: states have got other numbers.
    pub fn forget(&mut self) {
        self.usage.evicted += self.entries.len() as u64;
        self.entries.clear();
        self.usage.bytes = 0;
    }

    pub fn usage(&self) -> MaskUsage {
        self.usage
    }
}
