//! Block formats and products: values equal to the `gguf` Python package's, variants equal to one another.
//!
//! `vectors/blocks.json` is made by `vectors/make.py`.

use llm::parallel::SingleThread;
use llm::pool::Pool;
use llm::quant::activation::ActivationBuffers;
use llm::quant::float::{Bf16, F16};
use llm::quant::panel::{Panels, has_panels};
use llm::quant::{
    self, Format, Iq4Nl, Iq4Xs, Kind, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Q8K,
};
use llm::simd::{QuantRows, Variant, multiply, multiply_panels};
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

/// Products as `[row][token]`.
fn by_row(out: &[f32], rows: usize, tokens: usize) -> Vec<f32> {
    (0..rows * tokens)
        .map(|i| (i / tokens, i % tokens))
        .map(|(row, token)| out[(row / 16 * tokens + token) * 16 + row % 16])
        .collect()
}

fn check_products<F: Format>(columns: usize, tokens: usize, seed: u64) {
    const ROWS: usize = 21;
    let columns = columns.next_multiple_of(F::ELEMENTS);
    let data = rows::<F>(ROWS, columns, seed);
    let groups = columns / quant::GROUP;
    let shift = quant::scales::shift::<F>(&data, groups, &SingleThread).unwrap();
    assert_eq!(quant::scales::shift::<F>(&data, groups, &Threads::new(3)).unwrap(), shift);
    let unit = quant::scales::power_of_two(-shift);
    let mut scales = vec![0; ROWS * groups * F::ENTRIES];
    quant::scales::build::<F>(&data, shift, &mut scales, &SingleThread);
    let mut in_parts = vec![0; scales.len()];
    quant::scales::build::<F>(&data, shift, &mut in_parts, &Threads::new(3));
    assert_eq!(scales, in_parts, "{}: scale table differs with threads", F::NAME);

    let mut random = llm::random::SplitMix64::new(seed ^ 1);
    let x: Vec<f32> = (0..columns * tokens)
        .map(|_| (random.next_f32() - 0.5) * if random.next_u64().is_multiple_of(50) { 100.0 } else { 1.0 })
        .collect();
    let mut memory = vec![0u8; 4 << 20];
    let mut pool = Pool::new(&mut memory);
    let panels = has_panels(F::KIND)
        .then(|| Panels::new::<F>(&data, ROWS, groups, shift, &mut pool, &Threads::new(2)).unwrap());
    let mut buffers = ActivationBuffers::new(&mut pool, tokens, columns).unwrap();
    let rows = QuantRows { kind: F::KIND, data: &data, scales: &scales, unit };
    let mut results: Vec<(String, Vec<f32>)> = Vec::new();
    for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
        let activations = buffers.quantise(variant, &x, columns, F::MAX_SCALE, &SingleThread);
        let mut out = vec![f32::NAN; ROWS.next_multiple_of(16) * tokens];
        multiply(variant, rows, activations, &mut out);
        results.push((format!("{variant}, rows"), by_row(&out, ROWS, tokens)));
        if let Some(panels) = panels {
            // Every variant multiplies panels, if only to state what they hold.
            let activations = buffers.quantise(Variant::Sse2, &x, columns, F::MAX_SCALE, &SingleThread);
            multiply_panels(variant, panels, activations, &mut out);
            results.push((format!("{variant}, panels"), by_row(&out, ROWS, tokens)));
        }
    }
    let (first, result) = &results[0];
    for (name, other) in &results {
        assert_eq!(other, result, "{}: {name} and {first} differ", F::NAME);
    }
    let activations = buffers.quantise(Variant::Sse2, &x, columns, F::MAX_SCALE, &SingleThread);

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
                let scale = factors[i / 32].scale(i % 32 / 8) as f64 * f64::from(activations.units[token]);
                let code = activations.codes[token * columns + i];
                let a = f64::from(code) * scale;
                assert!((a - f64::from(*x)).abs() <= 0.501 * scale, "{x} became {a}");
                sum += f64::from(*w) * a;
                size += (f64::from(*w) * a).abs();
                codes += a.abs() * (f64::from(F::MAX_CODE) + 1.0);
            }
            let found = f64::from(result[row * tokens + token]);
            let allowed = 2e-7 * size + 0.5 * f64::from(F::MAX_MULTIPLIER) * f64::from(unit) * codes;
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
}

/// The product of a long row of one block, repeated, with activations at their limit: in every variant `x` times the sum of
/// the weights.
fn check_extreme<F: Format>(block: &[u8]) {
    let columns = 32 * 1024;
    let groups = columns / quant::GROUP;
    let data = block.repeat(columns / F::ELEMENTS);
    let mut weights = vec![0.0f32; columns];
    quant::dequantise::<F>(&data, &mut weights);
    let value = -1e20f32;
    let wanted = f64::from(value) * weights.iter().map(|&w| f64::from(w)).sum::<f64>();
    let shift = quant::scales::shift::<F>(&data, groups, &SingleThread).unwrap();
    let mut scales = vec![0; groups * F::ENTRIES];
    quant::scales::build::<F>(&data, shift, &mut scales, &SingleThread);
    let rows =
        QuantRows { kind: F::KIND, data: &data, scales: &scales, unit: quant::scales::power_of_two(-shift) };
    let mut memory = vec![0u8; 4 << 20];
    let mut pool = Pool::new(&mut memory);
    let panels = Panels::new::<F>(&data, 1, groups, shift, &mut pool, &SingleThread).unwrap();
    let mut buffers = ActivationBuffers::new(&mut pool, 1, columns).unwrap();
    for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
        let mut out = [0.0f32; 32];
        let x = vec![value; columns];
        let (by_row, by_panel) = out.split_at_mut(16);
        multiply(variant, rows, buffers.quantise(variant, &x, columns, F::MAX_SCALE, &SingleThread), by_row);
        multiply_panels(
            variant,
            panels,
            buffers.quantise(Variant::Sse2, &x, columns, F::MAX_SCALE, &SingleThread),
            by_panel,
        );
        for found in [by_row[0], by_panel[0]] {
            let off = (f64::from(found) / wanted - 1.0).abs();
            assert!(off < 1e-5, "{} {variant}: {found} {wanted}", F::NAME);
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    // 0x7BFF is the largest half float, 65504.
    const LARGEST: [u8; 2] = [0xFF, 0x7B];
    let filled = |bytes: usize, fill: u8, halves: &[usize]| {
        let mut block = vec![fill; bytes];
        halves.iter().for_each(|&at| block[at..at + 2].copy_from_slice(&LARGEST));
        block
    };
    check_extreme::<Q4_0>(&filled(Q4_0::BYTES, 0x00, &[0]));
    check_extreme::<Q4_1>(&filled(Q4_1::BYTES, 0xFF, &[0, 2]));
    check_extreme::<Q5_1>(&filled(Q5_1::BYTES, 0xFF, &[0, 2]));
    check_extreme::<Q8_0>(&filled(Q8_0::BYTES, 0x80, &[0]));
    check_extreme::<Q4K>(&filled(Q4K::BYTES, 0xFF, &[0, 2]));
    check_extreme::<Q5K>(&filled(Q5K::BYTES, 0xFF, &[0, 2]));
    // Codes 0 (less 32) and scales of -128.
    let mut block = filled(Q6K::BYTES, 0x00, &[208]);
    block[192..208].fill(0x80);
    check_extreme::<Q6K>(&block);
}

#[test]
fn infinite_scales_are_refused() {
    let mut block = [0u8; Q4_0::BYTES];
    block[..2].copy_from_slice(&[0x00, 0x7C]);
    assert!(quant::scales::shift::<Q4_0>(&block, 1, &SingleThread).is_err());
    let mut block = [0u8; Q8K::BYTES];
    block[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(quant::scales::shift::<Q8K>(&block, 8, &SingleThread).is_err());
    // The largest exponent of MXFP4 is an infinite scale in the standard; ggml reads it as 2^127, and so do we.
    let mut table = [0];
    let block = [0xFF; Mxfp4::BYTES];
    let shift = quant::scales::shift::<Mxfp4>(&block, 1, &SingleThread).unwrap();
    quant::scales::build::<Mxfp4>(&block, shift, &mut table, &SingleThread);
    assert_eq!(f64::from(table[0]) * f64::from(quant::scales::power_of_two(-shift)), 2f64.powi(127));
}

#[test]
fn scales_below_every_normal_float_are_rounded_to_one() {
    let mut block = [0u8; Q8K::BYTES];
    block[..4].copy_from_slice(&f32::from_bits(5 << 20).to_le_bytes());
    let mut table = [0; 8];
    let shift = quant::scales::shift::<Q8K>(&block, 8, &SingleThread).unwrap();
    let unit = quant::scales::power_of_two(-shift);
    quant::scales::build::<Q8K>(&block, shift, &mut table, &SingleThread);
    assert_eq!((table, unit), ([1; 8], f32::MIN_POSITIVE));
}
