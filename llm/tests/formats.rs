//! Block formats and products: values equal to the `gguf` Python package's, variants equal to one another.
//!
//! `vectors/blocks.json` is made by `vectors/make.py`.

use llm::parallel::SingleThread;
use llm::pool::Pool;
use llm::quant::activation::ActivationBuffers;
use llm::quant::float::{Bf16, F16};
use llm::quant::{
    self, Format, Iq4Nl, Iq4Xs, Kind, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Q8K,
};
use llm::simd::{QuantRows, Variant, dot_i16, multiply, weighted_sum_i16};
use llm::threads::Threads;
use proptest::prelude::*;

fn bytes(hex: &serde_json::Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// Our values of the blocks of a format.
fn dequantise(name: &str, blocks: &[u8], count: usize) -> Vec<f32> {
    let mut out = vec![0.0; count];
    match name {
        "Q4_0" => quant::dequantise::<Q4_0>(blocks, &mut out),
        "Q4_1" => quant::dequantise::<Q4_1>(blocks, &mut out),
        "Q5_0" => quant::dequantise::<Q5_0>(blocks, &mut out),
        "Q5_1" => quant::dequantise::<Q5_1>(blocks, &mut out),
        "Q8_0" => quant::dequantise::<Q8_0>(blocks, &mut out),
        "Q4_K" => quant::dequantise::<Q4K>(blocks, &mut out),
        "Q5_K" => quant::dequantise::<Q5K>(blocks, &mut out),
        "Q6_K" => quant::dequantise::<Q6K>(blocks, &mut out),
        "Q2_K" => quant::dequantise::<Q2K>(blocks, &mut out),
        "Q3_K" => quant::dequantise::<Q3K>(blocks, &mut out),
        "Q8_K" => quant::dequantise::<Q8K>(blocks, &mut out),
        "IQ4_NL" => quant::dequantise::<Iq4Nl>(blocks, &mut out),
        "IQ4_XS" => quant::dequantise::<Iq4Xs>(blocks, &mut out),
        "MXFP4" => quant::dequantise::<Mxfp4>(blocks, &mut out),
        "F16" => quant::float::dequantise::<F16>(blocks, &mut out),
        "BF16" => quant::float::dequantise::<Bf16>(blocks, &mut out),
        other => panic!("no format {other}"),
    }
    out
}

#[test]
fn values_equal_those_of_the_gguf_package() {
    let formats: serde_json::Value = serde_json::from_str(include_str!("vectors/blocks.json")).unwrap();
    let formats = formats.as_array().unwrap();
    assert_eq!(formats.len(), 16);
    for format in formats {
        let name = format["kind"].as_str().unwrap();
        let (blocks, values) = (bytes(&format["blocks"]), bytes(&format["values"]));
        let wanted: Vec<f32> =
            values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let found = dequantise(name, &blocks, wanted.len());
        for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            // Equal, also in the sign of zero where it can show.
            assert!(found == wanted, "{name} value {i}: {found:e}, should be {wanted:e}");
        }
    }
}

/// Random rows of a format: any bytes, with half floats made finite and of a weight's size.
fn rows<F: Format>(rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let mut random = llm::random::SplitMix64::new(seed);
    let mut data: Vec<u8> =
        (0..rows * columns / F::ELEMENTS * F::BYTES).map(|_| random.next_u64() as u8).collect();
    let halves: &[usize] = match F::KIND {
        Kind::Q6K => &[208],
        Kind::Q2K => &[80, 82],
        Kind::Q3K => &[108],
        Kind::Q8K | Kind::Mxfp4 => &[],
        _ if F::HAS_MIN => &[0, 2],
        _ => &[0],
    };
    for block in data.chunks_exact_mut(F::BYTES) {
        for &at in halves {
            // Exponents 2^-14 to 2^-2, either sign.
            let bits = (random.next_u64() as u16 & 0x83FF) | ((1 + random.next_u64() as u16 % 12) << 10);
            block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
        // The same for the formats with another kind of scale.
        match F::KIND {
            Kind::Q8K => {
                block[..4].copy_from_slice(&((random.next_f32() - 0.5) / 64.0).to_le_bytes());
            }
            Kind::Mxfp4 => block[0] = 114 + block[0] % 12,
            _ => {}
        }
    }
    data
}

fn check_products<F: Format>(columns: usize, tokens: usize, seed: u64) {
    const ROWS: usize = 5;
    let columns = columns.next_multiple_of(F::ELEMENTS);
    let data = rows::<F>(ROWS, columns, seed);
    let groups = columns / quant::GROUP;
    let mut scales = vec![0; ROWS * groups * F::ENTRIES];
    let unit = quant::scales::build::<F>(&data, groups, &mut scales, &SingleThread).unwrap();
    let mut in_parts = vec![0; scales.len()];
    quant::scales::build::<F>(&data, groups, &mut in_parts, &Threads::new(3)).unwrap();
    assert_eq!(scales, in_parts, "{}: scale table differs with threads", F::NAME);

    let mut random = llm::random::SplitMix64::new(seed ^ 1);
    let x: Vec<f32> = (0..columns * tokens)
        .map(|_| (random.next_f32() - 0.5) * if random.next_u64().is_multiple_of(50) { 100.0 } else { 1.0 })
        .collect();
    let mut memory = vec![0u8; 1 << 20];
    let mut buffers = ActivationBuffers::new(&mut Pool::new(&mut memory), tokens, columns).unwrap();
    let activations = buffers.quantise(&x, columns);
    let rows = QuantRows { kind: F::KIND, data: &data, scales: &scales, unit };
    let results: Vec<Vec<f32>> = Variant::ALL
        .into_iter()
        .filter(|variant| variant.is_usable())
        .map(|variant| {
            let mut out = vec![f32::NAN; ROWS * tokens];
            multiply(variant, rows, activations, &mut out);
            out
        })
        .collect();
    for result in &results {
        assert_eq!(result, &results[0], "{}: variants differ", F::NAME);
    }

    // A straightforward product of the dequantised numbers. What may differ: the rounding of the sum to f32, and that
    // of table entries to their unit.
    let mut weights = vec![0.0f32; ROWS * columns];
    quant::dequantise::<F>(&data, &mut weights);
    for (row, weights) in weights.chunks_exact(columns).enumerate() {
        for (token, (x, factors)) in
            x.chunks_exact(columns).zip(activations.factors.chunks_exact(groups)).enumerate()
        {
            let (mut sum, mut size, mut codes) = (0.0f64, 0.0f64, 0.0f64);
            for (i, (w, x)) in weights.iter().zip(x).enumerate() {
                let scale =
                    factors[i / 32].scale((i % 32 / 8) as u32) as f64 * f64::from(activations.units[token]);
                let code = activations.codes[token * columns + i];
                let a = f64::from(code) * scale;
                assert!((a - f64::from(*x)).abs() <= 0.501 * scale, "{x} became {a}");
                sum += f64::from(*w) * a;
                size += (f64::from(*w) * a).abs();
                codes += a.abs() * (f64::from(F::MAX_CODE) + 1.0);
            }
            let found = f64::from(results[0][row * tokens + token]);
            let allowed = 2e-7 * size + 0.5 * f64::from(unit) * codes;
            assert!((found - sum).abs() <= allowed, "{}: {found}, should be {sum}", F::NAME);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_right_and_equal_in_all_variants(columns in 1usize..400, tokens in 1usize..7, seed: u64) {
        check_products::<Q4_0>(columns, tokens, seed);
        check_products::<Q4_1>(columns, tokens, seed);
        check_products::<Q5_0>(columns, tokens, seed);
        check_products::<Q5_1>(columns, tokens, seed);
        check_products::<Q8_0>(columns, tokens, seed);
        check_products::<Q4K>(columns, tokens, seed);
        check_products::<Q5K>(columns, tokens, seed);
        check_products::<Q6K>(columns, tokens, seed);
        check_products::<Q2K>(columns, tokens, seed);
        check_products::<Q3K>(columns, tokens, seed);
        check_products::<Q8K>(columns, tokens, seed);
        check_products::<Iq4Nl>(columns, tokens, seed);
        check_products::<Iq4Xs>(columns, tokens, seed);
        check_products::<Mxfp4>(columns, tokens, seed);
    }

    #[test]
    fn attention_products_are_right_in_all_variants(head in 1usize..80, count in 0usize..17, seed: u64) {
        let mut random = llm::random::SplitMix64::new(seed);
        let mut numbers = |n: usize, limit: i64| -> Vec<i16> {
            (0..n).map(|_| (random.next_u64() as i64 % (limit + 1)) as i16).collect()
        };
        let (query, weights, stored) = (numbers(head, 4095), numbers(count, 16383), numbers(head * count, 8191));
        for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
            let (mut dots, mut sums) = (vec![0; count], vec![0; head]);
            dot_i16(variant, &query, &stored, &mut dots);
            weighted_sum_i16(variant, &weights, &stored, &mut sums);
            for (dot, key) in dots.iter().zip(stored.chunks(head)) {
                let wanted: i64 = query.iter().zip(key).map(|(&q, &k)| i64::from(q) * i64::from(k)).sum();
                prop_assert_eq!(i64::from(*dot), wanted);
            }
            for (d, sum) in sums.iter().enumerate() {
                let wanted: i64 = (0..count).map(|i| i64::from(weights[i]) * i64::from(stored[i * head + d])).sum();
                prop_assert_eq!(i64::from(*sum), wanted);
            }
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    // All codes and activations at their limits, in a long row.
    let columns = 32 * 1024;
    let mut data = vec![0xFFu8; columns / 32 * Q4_1::BYTES];
    let mut signed = vec![0x80u8; columns / 32 * Q8_0::BYTES];
    for block in data.chunks_exact_mut(Q4_1::BYTES) {
        block[..4].copy_from_slice(&[0xFF, 0x7B, 0xFF, 0x7B]);
    }
    for block in signed.chunks_exact_mut(Q8_0::BYTES) {
        block[..2].copy_from_slice(&[0xFF, 0x7B]);
    }
    let x = vec![-1e20f32; columns];
    let mut memory = vec![0u8; 1 << 20];
    let mut buffers = ActivationBuffers::new(&mut Pool::new(&mut memory), 1, columns).unwrap();
    let activations = buffers.quantise(&x, columns);
    for (kind, data, sign) in [(Kind::Q4_1, &data, -1.0), (Kind::Q8_0, &signed, 1.0)] {
        let entries = if kind == Kind::Q4_1 { 2 } else { 1 };
        let mut scales = vec![0; columns / 32 * entries];
        let unit = match kind {
            Kind::Q4_1 => quant::scales::build::<Q4_1>(data, columns / 32, &mut scales, &SingleThread),
            _ => quant::scales::build::<Q8_0>(data, columns / 32, &mut scales, &SingleThread),
        };
        let rows = QuantRows { kind, data, scales: &scales, unit: unit.unwrap() };
        for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
            let mut out = [0.0f32];
            multiply(variant, rows, activations, &mut out);
            // 65504 is the largest half float.
            let per_weight = if kind == Kind::Q4_1 { 16.0 * 65504.0 } else { 128.0 * 65504.0 };
            let wanted = sign * 1e20 * per_weight * columns as f64;
            let off = (f64::from(out[0]) / wanted - 1.0).abs();
            assert!(off < 1e-5, "{kind:?} {variant}: {} {wanted}", out[0]);
        }
    }
}

#[test]
fn infinite_scales_are_refused() {
    let mut block = [0u8; Q4_0::BYTES];
    block[..2].copy_from_slice(&[0x00, 0x7C]);
    assert!(quant::scales::build::<Q4_0>(&block, 1, &mut [0], &SingleThread).is_err());
    let mut block = [0u8; Q8K::BYTES];
    block[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(quant::scales::build::<Q8K>(&block, 8, &mut [0; 8], &SingleThread).is_err());
    // The largest exponent of MXFP4 is an infinite scale in the standard; ggml reads it as 2^127, and so do we.
    let mut table = [0];
    let unit = quant::scales::build::<Mxfp4>(&[0xFF; Mxfp4::BYTES], 1, &mut table, &SingleThread).unwrap();
    assert_eq!(f64::from(table[0]) * f64::from(unit), 2f64.powi(127));
}

#[test]
fn scales_below_every_normal_float_are_rounded_to_one() {
    let mut block = [0u8; Q8K::BYTES];
    block[..4].copy_from_slice(&f32::from_bits(5 << 20).to_le_bytes());
    let mut table = [0; 8];
    let unit = quant::scales::build::<Q8K>(&block, 8, &mut table, &SingleThread).unwrap();
    assert_eq!((table, unit), ([1; 8], f32::MIN_POSITIVE));
}
