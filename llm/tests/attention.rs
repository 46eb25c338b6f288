//! Attention: every variant and form of the cache gives what a straightforward softmax gives, as exactly as its numbers
//! allow, and all variants the same.

use llm::engine::Variant;
use llm::model::attention::{Scores, attend};
use llm::model::kv::{KvCache, KvFormat, Place, Shape};
use llm::pool::Pool;
use llm::random::SplitMix64;
use proptest::prelude::*;

/// `softmax(cap(scale * query . keys)) . values` in doubles.
fn reference(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    seen: std::ops::Range<usize>,
    scores: Scores,
) -> Vec<f64> {
    let head_dim = query.len();
    let (scale, cap) = (f64::from(scores.scale), f64::from(scores.cap));
    let weights: Vec<f64> = seen
        .clone()
        .map(|p| {
            let key = &keys[p * head_dim..(p + 1) * head_dim];
            let dot: f64 = query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
            if cap == 0.0 { dot * scale } else { cap * (dot * scale / cap).tanh() }
        })
        .collect();
    let highest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = weights.iter().map(|weight| (weight - highest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    (0..head_dim)
        .map(|d| {
            seen.clone().zip(&weights).map(|(p, w)| w * f64::from(values[p * head_dim + d])).sum::<f64>()
                / sum
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_variant_gives_the_softmax(
        half_dim in 1usize..70, positions in 1usize..70, hidden in 0usize..70, capped: bool, seed: u64,
    ) {
        let head_dim = 2 * half_dim;
        let mut random = SplitMix64::new(seed);
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| 2.0 * random.next_f32() - 1.0).collect() };
        let (query, keys) = (numbers(head_dim), numbers(head_dim * positions));
        let values = numbers(head_dim * positions);
        let seen = hidden.min(positions - 1)..positions;
        let scores = Scores { scale: 3.0 / (head_dim as f32).sqrt(), cap: if capped { 1.5 } else { 0.0 } };
        let wanted = reference(&query, &keys, &values, seen.clone(), scores);
        for (format, allowed) in [(KvFormat::Float, 2e-6), (KvFormat::Integer, 2e-3), (KvFormat::Byte, 6e-2)] {
            let shape = Shape { layers: 1, kv_heads: 1, head_dim };
            // What was never stored must not be seen: the memory holds infinite scales there.
            let mut memory = vec![0x7Fu8; 1 << 20];
            let mut cache = KvCache::new(shape, positions, format, &mut Pool::new(&mut memory)).unwrap();
            // In two parts, as two batches would, and in pages that lie backwards.
            let pages: Vec<u32> = (0..cache.pages() as u32).rev().collect();
            let (half, cut) = (positions / 2, positions / 2 * head_dim);
            let places = |positions: std::ops::Range<usize>| positions.map(|position| Place { position, pages: &pages });
            cache.store(0, places(0..half), &keys[..cut], &values[..cut]);
            cache.store(0, places(half..positions), &keys[cut..], &values[cut..]);
            let mut first: Option<Vec<f32>> = None;
            for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
                let mut out = vec![0.0f32; head_dim];
                attend(variant, &query, cache.head(0, 0, &pages), seen.clone(), scores, &mut out);
                for (found, wanted) in out.iter().zip(&wanted) {
                    let off = (f64::from(*found) - wanted).abs();
                    prop_assert!(off < allowed, "{format:?} {variant}: {found}, should be {wanted}");
                }
                prop_assert_eq!(first.get_or_insert_with(|| out.clone()), &out, "{:?} {}", format, variant);
            }

            // What is copied out and in again is the same.
            let mut bytes = vec![0u8; positions * llm::model::kv::bytes_per_position(shape, format)];
            cache.copy_out(&pages, 0..positions, &mut bytes);
            let mut memory = vec![0xFFu8; 1 << 20];
            let mut copy = KvCache::new(shape, positions, format, &mut Pool::new(&mut memory)).unwrap();
            let pages: Vec<u32> = (0..copy.pages() as u32).collect();
            copy.copy_in(&pages, 0..positions, &bytes);
            let mut out = vec![0.0f32; head_dim];
            attend(Variant::Portable, &query, copy.head(0, 0, &pages), seen.clone(), scores, &mut out);
            prop_assert_eq!(first.unwrap(), out);
        }
    }
}
