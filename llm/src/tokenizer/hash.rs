//! The hash tables of the vocabulary: open addressing in slots of the pool, numbers only, built once at load.

use crate::error::TokenizerError;
use crate::pool::{Pool, Purpose};

/// Longest run of taken slots that is walked. At half load a good hash stays far below; a file whose texts were
/// chosen to collide is refused instead of making every look-up linear.
const MAX_PROBES: usize = 1024;

/// FNV-1a, 64 bits: fast on the few bytes of a token, and it can be continued, so the hash of two texts joined
/// needs no joined copy.
#[derive(Clone, Copy)]
pub(super) struct Fnv(u64);

impl Fnv {
    pub const START: Self = Self(0xcbf2_9ce4_8422_2325);

    pub fn bytes(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)))
    }

    /// Spreads the last bytes' influence over the high bits, from which slots are taken.
    pub fn finish(self) -> u64 {
        (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The hash of a pair of token numbers.
pub(super) fn pair_hash(left: u32, right: u32) -> u64 {
    let key = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

/// A table of numbers below 2^32 - 1; what they stand for is compared by the caller.
pub(super) struct Table<'p> {
    /// Number + 1; 0 is a free slot. Length is a power of two.
    slots: &'p mut [u32],
    shift: u32,
}

impl<'p> Table<'p> {
    /// Room for `count` numbers at half load.
    pub fn new(pool: &mut Pool<'p>, count: usize) -> Result<Self, TokenizerError> {
        let len = count.saturating_mul(2).max(2).checked_next_power_of_two().unwrap_or(usize::MAX);
        let slots = pool.take::<u32>(Purpose::Tokenizer, len)?;
        Ok(Self { shift: 64 - slots.len().trailing_zeros(), slots })
    }

    fn probes(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (start, mask) = ((hash >> self.shift) as usize, self.slots.len() - 1);
        (0..MAX_PROBES.min(self.slots.len())).map(move |i| (start + i) & mask)
    }

    /// The number for which `is` holds among those stored under `hash`.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.probes(hash).map_while(|at| self.slots.get(at)?.checked_sub(1)).find(|&number| is(number))
    }

    /// Stores `number`, unless `same` holds for one already there, which is returned.
    pub fn insert(
        &mut self,
        what: &'static str,
        hash: u64,
        number: u32,
        same: impl Fn(u32) -> bool,
    ) -> Result<Option<u32>, TokenizerError> {
        for at in self.probes(hash) {
            match self.slots.get_mut(at) {
                Some(slot @ 0) => {
                    *slot = number + 1;
                    return Ok(None);
                }
                Some(&mut taken) if same(taken - 1) => return Ok(Some(taken - 1)),
                _ => {}
            }
        }
        Err(TokenizerError::Crowded { what })
    }
}
