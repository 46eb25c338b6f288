//! Weights that were put by: the last ten, and their form in bytes.

use alloc::vec::Vec;

use thiserror::Error;

use super::network::{WEIGHTS, Weights};
use crate::Nanos;

/// How many versions are kept.
pub const VERSIONS: usize = 10;
/// Length of weights in bytes: magic, number of weights, weights, checksum.
pub const ENCODED: usize = 8 + 4 * WEIGHTS + 4;
const MAGIC: [u8; 4] = *b"ATW1";

/// Why bytes are not weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WeightsError {
    /// Too few or too many.
    #[error(
        "saved weights have {length} bytes, and not {ENCODED}: not a file of this kind, or of another version"
    )]
    Length {
        /// How many there were.
        length: usize,
    },
    /// Not what was saved.
    #[error("saved weights are damaged: their checksum does not fit")]
    Damaged,
    /// Not numbers.
    #[error("saved weights contain numbers that are not finite")]
    NotFinite,
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Weights {
    /// As bytes, little endian.
    #[must_use]
    pub fn encode(&self) -> [u8; ENCODED] {
        let mut bytes = [0; ENCODED];
        let count = (WEIGHTS as u32).to_le_bytes();
        let head = MAGIC.into_iter().chain(count);
        let numbers = self.iter().flat_map(f32::to_le_bytes);
        bytes.iter_mut().zip(head.chain(numbers)).for_each(|(to, from)| *to = from);
        let sum = checksum(&bytes[..ENCODED - 4]);
        bytes[ENCODED - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are not what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, WeightsError> {
        let length = bytes.len();
        let bytes: &[u8; ENCODED] = bytes.try_into().map_err(|_| WeightsError::Length { length })?;
        let (body, sum) = bytes.split_at(ENCODED - 4);
        let (head, numbers) = body.split_at(8);
        if checksum(body).to_le_bytes() != *sum
            || head[..4] != MAGIC
            || head[4..] != (WEIGHTS as u32).to_le_bytes()
        {
            return Err(WeightsError::Damaged);
        }
        let numbers = numbers.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number));
        Self::from_numbers(numbers).ok_or(WeightsError::NotFinite)
    }
}

/// Weights, and when they were put by.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Counts from 1.
    pub number: u32,
    /// When.
    pub time: Nanos,
    /// Steps of learning behind it, and the running average of the loss then.
    pub steps: u64,
    /// See `steps`.
    pub loss: f32,
    /// The weights.
    pub weights: Weights,
}

/// The last [`VERSIONS`] versions.
#[derive(Debug)]
pub struct Versions {
    /// Oldest first; its memory is reserved.
    kept: Vec<Version>,
    last: u32,
}

impl Versions {
    /// None; `None` when there is no memory for them.
    pub(super) fn new() -> Option<Self> {
        let mut kept = Vec::new();
        kept.try_reserve_exact(VERSIONS).ok()?;
        Some(Self { kept, last: 0 })
    }

    /// Puts a version by; the oldest goes if there are too many. Returns its number.
    pub(super) fn save(&mut self, weights: &Weights, time: Nanos, steps: u64, loss: f32) -> u32 {
        if self.kept.len() == VERSIONS {
            self.kept.remove(0);
        }
        self.last += 1;
        self.kept.push(Version { number: self.last, time, steps, loss, weights: weights.clone() });
        self.last
    }

    /// The last version; it is put by no longer, so that going back again goes further.
    pub(super) fn pop(&mut self) -> Option<Version> {
        self.kept.pop()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_there_and_back() {
        let weights = Weights::untrained();
        let mut bytes = weights.encode();
        assert_eq!(Weights::decode(&bytes), Ok(weights));
        assert_eq!(Weights::decode(&bytes[1..]), Err(WeightsError::Length { length: ENCODED - 1 }));
        for at in [0, 5, 100, ENCODED - 1] {
            bytes[at] ^= 4;
            assert_eq!(Weights::decode(&bytes), Err(WeightsError::Damaged), "byte {at}");
            bytes[at] ^= 4;
        }
        // A checksum that fits does not make a number of it.
        bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        let sum = checksum(&bytes[..ENCODED - 4]);
        bytes[ENCODED - 4..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Weights::decode(&bytes), Err(WeightsError::NotFinite));
    }

    #[test]
    fn the_last_ten_are_kept() {
        let Some(mut versions) = Versions::new() else { panic!("no memory") };
        let weights = Weights::untrained();
        for time in 0..13 {
            assert_eq!(versions.save(&weights, time, time, 0.0), time as u32 + 1);
        }
        assert_eq!(
            versions.iter().map(|version| version.number).collect::<Vec<_>>(),
            (4..=13).collect::<Vec<_>>()
        );
        assert_eq!(versions.pop().map(|version| version.number), Some(13));
        assert_eq!(versions.pop().map(|version| version.number), Some(12));
    }
}
