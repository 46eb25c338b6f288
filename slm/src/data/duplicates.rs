//! Texts that are the same, or nearly: MinHash over shingles of words.
//!
//! A text's signature holds, for each of 64 hash functions, the least hash of its shingles (5 words each); two signatures
//! agree in about the share of shingles that the texts have in common (their Jaccard similarity). Candidates are texts that
//! agree in one of 16 bands of 4 entries; at a similarity of 0.8 a pair is missed with probability (1 - 0.8⁴)¹⁶ ≈ 0.02 %.

use std::collections::HashMap;

use rayon::prelude::*;

use super::order::hash;

const BANDS: usize = 16;
const ROWS: usize = 4;
const SHINGLE: usize = 5;
/// Similarity from which a text counts as the same.
pub const NEAR: f64 = 0.8;

type Signature = [u32; BANDS * ROWS];

/// What a text is a copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The same text, byte for byte, as the one at this index.
    Exact(usize),
    /// At least [`NEAR`] of the shingles of the one at this index.
    Near(usize),
}

/// For each text, which earlier one it repeats.
pub fn find(texts: &[&str]) -> Vec<Option<Copy>> {
    let mut by_text: HashMap<&str, usize> = HashMap::new();
    let mut copies: Vec<Option<Copy>> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let first = *by_text.entry(text).or_insert(at);
            (first != at).then_some(Copy::Exact(first))
        })
        .collect();
    let signatures: Vec<Option<Signature>> = texts.par_iter().map(|text| signature(text)).collect();
    let mut bands: HashMap<(usize, [u32; ROWS]), Vec<usize>> = HashMap::new();
    for (at, signature) in signatures.iter().enumerate() {
        let (Some(signature), None) = (signature, copies.get(at).copied().flatten()) else { continue };
        let keys: Vec<_> = signature.as_chunks::<ROWS>().0.iter().copied().enumerate().collect();
        let near = keys
            .iter()
            .filter_map(|key| bands.get(key))
            .flatten()
            .find(|other| {
                signatures.get(**other).is_some_and(|o| o.is_some_and(|o| alike(&o, signature) >= NEAR))
            })
            .copied();
        match (near, copies.get_mut(at)) {
            (Some(first), Some(copy)) => *copy = Some(Copy::Near(first)),
            _ => keys.into_iter().for_each(|key| bands.entry(key).or_default().push(at)),
        }
    }
    copies
}

fn alike(a: &Signature, b: &Signature) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

/// `None` for a text too short to have shingles.
fn signature(text: &str) -> Option<Signature> {
    let words: Vec<u64> = text.split_whitespace().map(|word| hash(0, &[word])).collect();
    let mut least = [u32::MAX; BANDS * ROWS];
    for shingle in words.windows(SHINGLE) {
        let mixed = shingle
            .iter()
            .fold(0u64, |state, word| (state.rotate_left(11) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for (n, least) in least.iter_mut().enumerate() {
            // Multiply-shift: odd factors make independent enough functions of one good hash.
            let factor = (n as u64 * 2 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93) | 1;
            *least = (*least).min((mixed.wrapping_mul(factor) >> 32) as u32);
        }
    }
    (words.len() >= SHINGLE).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_found_and_different_texts_are_not() {
        let text = |from: usize| (from..from + 400).map(|n| format!("word{n} ")).collect::<String>();
        let (a, near, other) = (text(0), text(10), text(300));
        assert_eq!(
            find(&[&a, &other, &a, &near, "short", "short one"]),
            [None, None, Some(Copy::Exact(0)), Some(Copy::Near(0)), None, None]
        );
    }
}
