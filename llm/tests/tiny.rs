//! A tiny random llama model in every weight format: equal in all variants, thread counts and batchings, and close to
//! a forward pass in f64 written down straightforwardly here.

mod common;

use llm::clock::StdClock;
use llm::engine::{Engine, Flow, KvFormat, LoadError, LoadOptions, Origin, Sampling, StopReason, Variant};
use llm::gguf::{GgmlType, Gguf, write::GgufWriter};
use llm::pool::{Pool, Purpose};
use llm::quant::{self, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, float};
use llm::sample::SplitMix64;
use llm::threads::Threads;
use std::collections::HashMap;

const WIDTH: usize = 256;
const FFN: usize = 512;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = WIDTH / HEADS;
const ROPE_DIMS: usize = 48;
const ROPE_SCALE: f32 = 2.0;
const LAYERS: usize = 2;
const VOCABULARY: usize = 264;
const FORMATS: [GgmlType; 11] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
];

type Weights = HashMap<String, Vec<f64>>;

/// Random blocks of a format, of about the size that trained weights have.
fn random_tensor(kind: GgmlType, elements: usize, random: &mut SplitMix64) -> Vec<u8> {
    if kind == GgmlType::F32 || kind == GgmlType::F16 || kind == GgmlType::BF16 {
        let values = (0..elements).map(|_| (random.next_f32() - 0.5) * 0.2);
        return values
            .flat_map(|v| match kind {
                GgmlType::F32 => v.to_le_bytes().to_vec(),
                GgmlType::F16 => half::f16::from_f32(v).to_le_bytes().to_vec(),
                _ => half::bf16::from_f32(v).to_le_bytes().to_vec(),
            })
            .collect();
    }
    let size = kind.type_size();
    let mut data: Vec<u8> =
        (0..elements / kind.block_size() * size).map(|_| random.next_u64() as u8).collect();
    // Scale so that values lie in about -0.1..0.1, and minimum so that they are centred.
    let (d, m): (f32, Option<f32>) = match kind {
        GgmlType::Q4_0 => (0.012, None),
        GgmlType::Q4_1 => (0.012, Some(-0.09)),
        GgmlType::Q5_0 => (0.006, None),
        GgmlType::Q5_1 => (0.006, Some(-0.09)),
        GgmlType::Q8_0 => (0.0008, None),
        GgmlType::Q4_K => (0.0004, Some(0.003)),
        GgmlType::Q5_K => (0.0002, Some(0.003)),
        _ => (0.00005, None),
    };
    let at = if kind == GgmlType::Q6_K { 208 } else { 0 };
    for block in data.chunks_exact_mut(size) {
        let spread = 0.5 + random.next_f32();
        block[at..at + 2].copy_from_slice(&half::f16::from_f32(d * spread).to_le_bytes());
        if let Some(m) = m {
            block[2..4].copy_from_slice(&half::f16::from_f32(m * spread).to_le_bytes());
        }
    }
    data
}

fn dequantise(kind: GgmlType, data: &[u8], elements: usize) -> Vec<f64> {
    let mut out = vec![0.0f32; elements];
    match kind {
        GgmlType::F32 => float::dequantise::<float::F32>(data, &mut out),
        GgmlType::F16 => float::dequantise::<float::F16>(data, &mut out),
        GgmlType::BF16 => float::dequantise::<float::Bf16>(data, &mut out),
        GgmlType::Q4_0 => quant::dequantise::<Q4_0>(data, &mut out),
        GgmlType::Q4_1 => quant::dequantise::<Q4_1>(data, &mut out),
        GgmlType::Q5_0 => quant::dequantise::<Q5_0>(data, &mut out),
        GgmlType::Q5_1 => quant::dequantise::<Q5_1>(data, &mut out),
        GgmlType::Q8_0 => quant::dequantise::<Q8_0>(data, &mut out),
        GgmlType::Q4_K => quant::dequantise::<Q4K>(data, &mut out),
        GgmlType::Q5_K => quant::dequantise::<Q5K>(data, &mut out),
        GgmlType::Q6_K => quant::dequantise::<Q6K>(data, &mut out),
        other => panic!("no {other:?} here"),
    }
    out.into_iter().map(f64::from).collect()
}

/// A model file and its weights. `change` may add to the metadata or replace it.
fn model(kind: GgmlType, separate_head: bool, change: impl FnOnce(&mut GgufWriter)) -> (Vec<u8>, Weights) {
    let mut file = GgufWriter::new();
    file.string("general.architecture", "llama").string("general.name", "tiny");
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 512),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FFN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("rope.dimension_count", ROPE_DIMS),
    ] {
        file.u32(&format!("llama.{key}"), value as u32);
    }
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5).f32("llama.rope.freq_base", 10_000.0);
    file.string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", ROPE_SCALE);
    common::byte_vocabulary(&mut file, VOCABULARY);
    change(&mut file);
    let mut random = SplitMix64::new(kind.id() as u64);
    let mut weights = Weights::new();
    let mut tensor = |name: String, kind: GgmlType, columns: usize, rows: usize| {
        let data = if rows == 1 {
            (0..columns).flat_map(|_| (0.8 + 0.4 * random.next_f32()).to_le_bytes()).collect()
        } else {
            random_tensor(kind, columns * rows, &mut random)
        };
        weights.insert(name.clone(), dequantise(kind, &data, columns * rows));
        let dims = [columns as u64, rows as u64];
        file.tensor(&name, kind, if rows == 1 { &dims[..1] } else { &dims }, &data);
    };
    tensor("token_embd.weight".into(), kind, WIDTH, VOCABULARY);
    tensor("output_norm.weight".into(), GgmlType::F32, WIDTH, 1);
    if separate_head {
        tensor("output.weight".into(), kind, WIDTH, VOCABULARY);
    }
    for layer in 0..LAYERS {
        for (name, columns, rows) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, KV_HEADS * HEAD_DIM),
            ("attn_v", WIDTH, KV_HEADS * HEAD_DIM),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", WIDTH, FFN),
            ("ffn_up", WIDTH, FFN),
            ("ffn_down", FFN, WIDTH),
        ] {
            tensor(format!("blk.{layer}.{name}.weight"), kind, columns, rows);
        }
        for name in ["attn_norm", "ffn_norm"] {
            tensor(format!("blk.{layer}.{name}.weight"), GgmlType::F32, WIDTH, 1);
        }
    }
    (file.finish(), weights)
}

/// `out[row] = sum of w[row][i] * x[i]`.
fn product(w: &[f64], x: &[f64]) -> Vec<f64> {
    w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn norm(x: &[f64], w: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(w).map(|(x, w)| x / (mean + 1e-5).sqrt() * w).collect()
}

fn rotate(heads: &mut [f64], position: usize) {
    for head in heads.chunks_mut(HEAD_DIM) {
        for i in 0..ROPE_DIMS / 2 {
            let frequency = 10_000f64.powf(-2.0 * i as f64 / ROPE_DIMS as f64);
            let (sin, cos) = (position as f64 / f64::from(ROPE_SCALE) * frequency).sin_cos();
            let (a, b) = (head[2 * i], head[2 * i + 1]);
            (head[2 * i], head[2 * i + 1]) = (a * cos - b * sin, a * sin + b * cos);
        }
    }
}

/// The whole model in f64, one token after the other.
fn reference(weights: &Weights, tokens: &[u32]) -> Vec<f64> {
    let mut cache: Vec<Vec<(Vec<f64>, Vec<f64>)>> = vec![Vec::new(); LAYERS];
    let mut x = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        let row = token as usize * WIDTH;
        x = weights["token_embd.weight"][row..row + WIDTH].to_vec();
        for (layer, past) in cache.iter_mut().enumerate() {
            let w = |name: &str| &weights[&format!("blk.{layer}.{name}.weight")];
            let h = norm(&x, w("attn_norm"));
            let (mut q, mut k, v) =
                (product(w("attn_q"), &h), product(w("attn_k"), &h), product(w("attn_v"), &h));
            rotate(&mut q, position);
            rotate(&mut k, position);
            past.push((k, v));
            let mut attended = Vec::new();
            for (head, q) in q.chunks(HEAD_DIM).enumerate() {
                let at = head / (HEADS / KV_HEADS) * HEAD_DIM;
                let dot = |k: &[f64]| q.iter().zip(&k[at..]).map(|(q, k)| q * k).sum::<f64>();
                let scores: Vec<f64> =
                    past.iter().map(|(k, _)| (dot(k) / (HEAD_DIM as f64).sqrt()).exp()).collect();
                let total: f64 = scores.iter().sum();
                attended.extend(
                    (0..HEAD_DIM).map(|d| {
                        past.iter().zip(&scores).map(|((_, v), s)| s / total * v[at + d]).sum::<f64>()
                    }),
                );
            }
            x.iter_mut().zip(product(w("attn_output"), &attended)).for_each(|(x, y)| *x += y);
            let h = norm(&x, w("ffn_norm"));
            let gate = product(w("ffn_gate"), &h);
            let up = product(w("ffn_up"), &h);
            let hidden: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            x.iter_mut().zip(product(w("ffn_down"), &hidden)).for_each(|(x, y)| *x += y);
        }
    }
    let head = weights.get("output.weight").unwrap_or(&weights["token_embd.weight"]);
    product(head, &norm(&x, &weights["output_norm.weight"]))
}

fn tokens() -> Vec<u32> {
    // More than a batch, and no multiple of one.
    (0..45u32).map(|i| (i * 97 + 13) % VOCABULARY as u32).collect()
}

fn logits(file: &[u8], threads: usize, options: LoadOptions) -> Vec<f32> {
    let (threads, clock, mut memory) = (Threads::new(threads), StdClock::new(), vec![0u8; 16 << 20]);
    let gguf = Gguf::parse(file).unwrap();
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    engine.logits(&tokens()).unwrap().to_vec()
}

#[test]
fn every_format_is_equal_in_all_variants_and_close_to_f64() {
    for (index, kind) in FORMATS.into_iter().enumerate() {
        let (file, weights) = model(kind, index % 2 == 0, |_| ());
        let variants: Vec<Variant> = Variant::ALL.into_iter().filter(|variant| variant.is_usable()).collect();
        let options = |variant| LoadOptions { variant: Some(variant), ..LoadOptions::default() };
        let first = logits(&file, 1, options(variants[0]));
        for &variant in &variants {
            assert_eq!(first, logits(&file, 1, options(variant)), "{kind:?}: {variant} differs");
            assert_eq!(
                first,
                logits(&file, 3, options(variant)),
                "{kind:?}: {variant} differs with 3 threads"
            );
        }
        let wanted = reference(&weights, &tokens());
        let off = |found: &[f32]| {
            let square: f64 = found.iter().zip(&wanted).map(|(f, w)| (f64::from(*f) - w).powi(2)).sum();
            (square / wanted.iter().map(|w| w * w).sum::<f64>()).sqrt()
        };
        let exact = logits(&file, 2, LoadOptions { kv: KvFormat::Float, ..LoadOptions::default() });
        println!("{kind:?}: relative error {:.1e}, {:.1e} with an f32 cache", off(&first), off(&exact));
        let is_float = index < 3;
        assert!(off(&first) < if is_float { 1e-3 } else { 3e-2 }, "{kind:?}: {}", off(&first));
        assert!(off(&exact) < if is_float { 1e-5 } else { 3e-2 }, "{kind:?}: {}", off(&exact));
    }
}

#[test]
fn generation_streams_reuses_and_stops() {
    let (file, _) = model(GgmlType::Q4_K, false, |_| ());
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 16 << 20]);
    let gguf = Gguf::parse(&file).unwrap();
    let options = LoadOptions { context: Some(64), ..LoadOptions::default() };
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    let (prompt, record) = (tokens()[..40].to_vec(), [7u32, 8, 9]);
    let run = |engine: &mut Engine<'_>, sampling: &Sampling, max, stop_after| {
        let mut seen: Vec<(u32, Origin)> = Vec::new();
        let done = engine
            .generate(&prompt, &record, sampling, max, &mut |piece| {
                assert!(std::str::from_utf8(piece.bytes).is_ok());
                if piece.origin != Origin::Prompt {
                    seen.push((piece.token, piece.origin));
                }
                if seen.len() == stop_after { Flow::Stop } else { Flow::Continue }
            })
            .unwrap();
        (seen, done)
    };

    let (seen, done) = run(&mut engine, &Sampling::greedy(), 5, usize::MAX);
    assert_eq!((done.prompt_tokens, done.reused_tokens, done.generated_tokens), (43, 0, 5));
    assert_eq!(done.stop, StopReason::MaxTokens);
    let forced: Vec<u32> = seen.iter().filter(|(_, origin)| *origin == Origin::Record).map(|s| s.0).collect();
    assert_eq!(forced, record);
    // The model's tokens are those of the logits in a fresh context.
    let mut fed: Vec<u32> = prompt.iter().chain(&record).copied().collect();
    let chosen: Vec<u32> = seen.iter().filter(|(_, origin)| *origin == Origin::Model).map(|s| s.0).collect();
    for token in &chosen[..5] {
        assert_eq!(Some(*token), llm::sample::argmax(engine.logits(&fed).unwrap()));
        fed.push(*token);
    }
    // Again, with the prompt still in the cache: the same tokens.
    let (again, done) = run(&mut engine, &Sampling::greedy(), 5, usize::MAX);
    assert_eq!((again, done.reused_tokens), (seen.clone(), 42));

    let (stopped, done) = run(&mut engine, &Sampling::greedy(), 5, 4);
    assert_eq!((stopped.len(), done.stop), (4, StopReason::Cancelled));
    let (_, done) = run(&mut engine, &Sampling::greedy(), 1000, usize::MAX);
    assert!(matches!(done.stop, StopReason::ContextFull | StopReason::EndOfText));
    let warm = |seed| Sampling { temperature: 1.5, top_k: 0, seed, ..Sampling::greedy() };
    let drawn = run(&mut engine, &warm(1), 8, usize::MAX).0;
    assert_eq!(drawn, run(&mut engine, &warm(1), 8, usize::MAX).0);
    assert_ne!(drawn, run(&mut engine, &warm(2), 8, usize::MAX).0);

    assert!(engine.generate(&[], &[], &warm(0), 1, &mut |_| Flow::Continue).is_err());
    assert!(engine.generate(&[9999], &[], &warm(0), 1, &mut |_| Flow::Continue).is_err());
    assert!(engine.generate(&[1; 65], &[], &warm(0), 1, &mut |_| Flow::Continue).is_err());
}

#[test]
fn pool_is_accounted_and_a_small_one_refused_in_one_sentence() {
    let (file, _) = model(GgmlType::Q6_K, true, |_| ());
    let (threads, clock) = (Threads::new(1), StdClock::new());
    let load = |memory: &mut [u8], context| -> Result<usize, LoadError> {
        let (gguf, options) =
            (Gguf::parse(&file).unwrap(), LoadOptions { context, ..LoadOptions::default() });
        let engine = Engine::load(gguf, Pool::new(memory), &threads, &clock, options)?;
        let usage = engine.usage();
        let used: usize = Purpose::ALL.iter().map(|&purpose| usage.used(purpose)).sum();
        assert_eq!(used + usage.free, usage.size);
        Ok(engine.info().context)
    };
    let mut memory = vec![0xAAu8; 8 << 20];
    assert_eq!(load(&mut memory, None).unwrap(), 512);
    assert_eq!(load(&mut memory, Some(100)).unwrap(), 100);
    assert!(matches!(load(&mut memory, Some(513)), Err(LoadError::BadContext { asked: 513, limit: 512 })));
    // Smaller and smaller pools: less context, then a refusal, never a panic.
    let mut contexts = Vec::new();
    for size in (0..4 << 20).rev().step_by(64 << 10) {
        match load(&mut memory[..size], None) {
            Ok(context) => contexts.push(context),
            Err(error) => assert!(error.to_string().contains("pool"), "{error}"),
        }
    }
    assert!(contexts.iter().any(|&context| context < 512), "no reduced context seen: {contexts:?}");
    assert!(
        contexts.windows(2).all(|pair| pair[0] >= pair[1]) && contexts.iter().all(|&context| context >= 256)
    );
}

#[test]
fn absurd_metadata_is_refused_by_name() {
    let (threads, clock) = (Threads::new(1), StdClock::new());
    let (good, _) = model(GgmlType::Q8_0, false, |_| ());
    let error = |key: &str, value: Option<u32>| {
        // The same file with one value changed or removed.
        let gguf = Gguf::parse(&good).unwrap();
        let mut file = GgufWriter::new();
        for (name, found) in gguf.metadata() {
            match (name == key, value) {
                (true, Some(value)) => {
                    file.u32(name, value);
                }
                (true, None) => (),
                (false, _) => common::copy_value(&mut file, name, found),
            }
        }
        for tensor in gguf.tensors() {
            file.tensor(tensor.name, tensor.kind, &tensor.dims[..tensor.n_dims as usize], tensor.data);
        }
        let (file, mut memory) = (file.finish(), vec![0u8; 16 << 20]);
        let gguf = Gguf::parse(&file).unwrap();
        let loaded = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default());
        loaded.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (key, value) in [
        ("general.architecture", None),
        ("general.architecture", Some(1)),
        ("llama.block_count", None),
        ("llama.block_count", Some(0)),
        ("llama.block_count", Some(u32::MAX)),
        ("llama.embedding_length", Some(0)),
        ("llama.embedding_length", Some(u32::MAX)),
        ("llama.feed_forward_length", Some(u32::MAX)),
        ("llama.context_length", Some(0)),
        ("llama.attention.head_count", Some(0)),
        ("llama.attention.head_count_kv", Some(3)),
        ("llama.attention.head_count_kv", Some(0)),
        ("llama.rope.dimension_count", Some(47)),
        ("llama.rope.dimension_count", Some(1000)),
        ("llama.attention.layer_norm_rms_epsilon", None),
    ] {
        let error = error(key, value);
        assert!(error.contains(key), "{key} = {value:?}: {error:?}");
    }
    // Plausible numbers that do not fit the tensors name the tensor.
    for (key, value) in [
        ("llama.block_count", 3),
        ("llama.embedding_length", 512),
        ("llama.feed_forward_length", 1024),
        ("llama.attention.head_count_kv", 4),
    ] {
        let error = error(key, Some(value));
        assert!(error.contains(".weight"), "{key} = {value}: {error:?}");
    }
}
