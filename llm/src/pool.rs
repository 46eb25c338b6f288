//! The SLM pool: a bump arena over one borrowed piece of memory, accounted by purpose.
//!
//! Nothing is ever given back singly: a model is unloaded by dropping the engine, which ends the borrow
//! of the memory, and with it every byte is free again. That makes fragmentation impossible and the
//! accounting exact.

use core::fmt;

/// What a piece of the pool is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Norms, and of quantised matrices either panels or the integer scale tables beside the codes in the GGUF.
    Weights,
    /// Keys and values of all past positions.
    KvCache,
    /// Buffers of the forward pass and the logits.
    Activations,
    /// Vocabulary and merge tables.
    Tokenizer,
}

impl Purpose {
    /// All purposes, in the order in which [`PoolUsage::used`] counts them.
    pub const ALL: [Purpose; 4] =
        [Purpose::Weights, Purpose::KvCache, Purpose::Activations, Purpose::Tokenizer];
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Weights => "weights",
            Purpose::KvCache => "KV cache",
            Purpose::Activations => "activations",
            Purpose::Tokenizer => "tokenizer",
        })
    }
}

/// The pool cannot serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the SLM pool is full: {purpose} wants {wanted} bytes and {free} are free; give the pool more memory or the model a smaller context"
)]
pub struct PoolFull {
    /// What the memory was for.
    pub purpose: Purpose,
    /// Bytes asked for, alignment included.
    pub wanted: usize,
    /// Bytes that were free.
    pub free: usize,
}

/// How the bytes of a pool are used; the parts and `free` add up to `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// Bytes of the whole pool.
    pub size: usize,
    /// Bytes not handed out yet.
    pub free: usize,
    used: [usize; 4],
}

impl PoolUsage {
    /// Bytes handed out for one purpose, alignment included.
    pub fn used(&self, purpose: Purpose) -> usize {
        self.used[purpose as usize]
    }
}

/// A 64-byte aligned bump arena; see the module.
pub struct Pool<'p> {
    rest: &'p mut [u8],
    size: usize,
    used: [usize; 4],
}

/// Every piece starts at a multiple of this: a cache line, and the widest vector there is.
pub const ALIGNMENT: usize = 64;

impl<'p> Pool<'p> {
    /// A pool over `memory`, all of it free.
    pub fn new(memory: &'p mut [u8]) -> Self {
        Self { size: memory.len(), rest: memory, used: [0; 4] }
    }

    /// `n` zeroed values of `T`, 64-byte aligned.
    pub fn take<T: bytemuck::Pod>(&mut self, purpose: Purpose, n: usize) -> Result<&'p mut [T], PoolFull> {
        let piece = self.take_unzeroed(purpose, n)?;
        piece.fill(T::zeroed());
        Ok(piece)
    }

    /// As [`take`](Self::take), but with whatever the memory held: for large tables whose owner writes each
    /// value before reading it (zeroing tens of MiB would be felt at boot).
    pub fn take_unzeroed<T: bytemuck::Pod>(
        &mut self,
        purpose: Purpose,
        n: usize,
    ) -> Result<&'p mut [T], PoolFull> {
        let free = self.rest.len();
        let padding = self.rest.as_ptr().align_offset(ALIGNMENT);
        let wanted = n.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(padding));
        let full = PoolFull { purpose, wanted: wanted.unwrap_or(usize::MAX), free };
        let wanted = wanted.filter(|&wanted| wanted <= free).ok_or(full)?;
        let (piece, rest) = core::mem::take(&mut self.rest).split_at_mut(wanted);
        self.rest = rest;
        self.used[purpose as usize] += wanted;
        // Cannot fail: the piece is aligned to 64 and a whole number of `T` long. A zero-sized request
        // yields an empty slice.
        bytemuck::try_cast_slice_mut(piece.get_mut(padding..).unwrap_or_default()).map_err(|_| full)
    }

    /// The accounting as it stands.
    pub fn usage(&self) -> PoolUsage {
        PoolUsage { size: self.size, free: self.rest.len(), used: self.used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    #[test]
    fn full_names_purpose_and_sizes() {
        let mut memory = vec![0u8; 4096];
        let mut pool = Pool::new(&mut memory);
        let error = pool.take::<u64>(Purpose::KvCache, 1000).unwrap_err();
        assert_eq!((error.purpose, error.free), (Purpose::KvCache, 4096));
        assert!(error.wanted >= 8000);
        assert!(pool.take::<u64>(Purpose::KvCache, usize::MAX).is_err());
        assert_eq!(pool.usage().free, 4096);
    }

    proptest! {
        #[test]
        fn pieces_are_aligned_zeroed_disjoint_and_accounted(sizes in prop::collection::vec(0usize..300, 0..40)) {
            let mut memory = vec![0xAAu8; 10_000];
            let mut pool = Pool::new(&mut memory);
            let mut pieces: Vec<&mut [u32]> = Vec::new();
            for (i, &n) in sizes.iter().enumerate() {
                let purpose = Purpose::ALL[i % 4];
                if let Ok(piece) = pool.take::<u32>(purpose, n) {
                    prop_assert_eq!(piece.len(), n);
                    prop_assert!(n == 0 || (piece.as_ptr() as usize).is_multiple_of(ALIGNMENT));
                    prop_assert!(piece.iter().all(|&v| v == 0));
                    piece.fill(i as u32 + 1);
                    pieces.push(piece);
                }
                let usage = pool.usage();
                let used: usize = Purpose::ALL.iter().map(|&p| usage.used(p)).sum();
                prop_assert_eq!(used + usage.free, usage.size);
            }
            for piece in pieces {
                prop_assert!(piece.windows(2).all(|w| w[0] == w[1]));
            }
        }
    }
}
