//! A tiny random llama model in every weight format: equal in all variants, thread counts and batchings, and close to
//! a forward pass in f64 written down straightforwardly here.

mod common;

use common::tiny::{
    HEAD_DIM, HEADS, KV_HEADS, LAYERS, ROPE_DIMS, ROPE_SCALE, VOCABULARY, WIDTH, Weights, model,
};
use llm::clock::StdClock;
use llm::engine::{
    Engine, Flow, KvFormat, LoadError, LoadOptions, Origin, Piece, Sampling, StopReason, Variant,
};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::{Pool, Purpose};
use llm::prefix::PrefixCache;
use llm::threads::Threads;
const FORMATS: [GgmlType; 17] = [
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
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q8_K,
    GgmlType::IQ4_NL,
    GgmlType::IQ4_XS,
    GgmlType::MXFP4,
];

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
        let (file, weights) = model(kind, index % 2 == 0);
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
    let (file, _) = model(GgmlType::Q4_K, false);
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

/// The same tokens with and without the prefix cache, in both forms of keys and values; and it does save work.
#[test]
fn answers_are_the_same_with_a_prefix_cache() {
    let (file, _) = model(GgmlType::Q4_K, false);
    let (threads, clock) = (Threads::new(2), StdClock::new());
    let beginning = &tokens()[..21];
    let prompts: Vec<Vec<u32>> = [30u32, 31, 30, 32, 31, 30]
        .iter()
        .map(|&end| beginning.iter().copied().chain((0..15).map(|i| end * (i + 1) % 256)).collect())
        .collect();
    for kv in [KvFormat::Integer, KvFormat::Float] {
        let options = LoadOptions { context: Some(64), kv, ..LoadOptions::default() };
        let run = |limit: usize| {
            let mut memory = vec![0u8; 16 << 20];
            let gguf = Gguf::parse(&file).unwrap();
            let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
            let mut prefixes: PrefixCache<Vec<u8>> = PrefixCache::new();
            prefixes.set_limit(limit * engine.bytes_per_position());
            let mut answers = Vec::new();
            for (number, prompt) in prompts.iter().enumerate() {
                // In between the model does something else, which overwrites its own cache.
                engine.logits(&[200, 201, 202]).unwrap();
                engine.recall(prompt, &mut prefixes);
                let mut chosen = Vec::new();
                let mut sink = |piece: Piece<'_>| {
                    chosen.extend((piece.origin == Origin::Model).then_some(piece.token));
                    Flow::Continue
                };
                let done = engine.generate(prompt, &[], &Sampling::greedy(), 12, &mut sink).unwrap();
                // Now and then there is no memory.
                engine.remember(prompt, &mut prefixes, &mut |bytes| (number != 1).then(|| vec![0; bytes]));
                answers.push((chosen, done.reused_tokens));
            }
            (answers, prefixes.usage())
        };
        let (without, none) = run(0);
        assert!(without.iter().all(|(_, reused)| *reused == 0) && none.bytes == 0);
        let (with, usage) = run(1000);
        let chosen =
            |answers: &[(Vec<u32>, usize)]| answers.iter().map(|(c, _)| c.clone()).collect::<Vec<_>>();
        assert_eq!(chosen(&without), chosen(&with), "{kv:?}");
        // 36 tokens a prompt: 2 chunks in common, 4 in all.
        let reused: Vec<usize> = with.iter().map(|(_, reused)| *reused).collect();
        assert_eq!(reused, [0, 16, 32, 16, 16, 32], "{kv:?}");
        assert_eq!((usage.tokens, usage.evicted), (8 * 8, 0));
        let (tight, usage) = run(5 * 8);
        assert_eq!(chosen(&without), chosen(&tight), "{kv:?}");
        assert!(usage.bytes <= usage.limit && usage.evicted > 0);
    }
}

#[test]
fn pool_is_accounted_and_a_small_one_refused_in_one_sentence() {
    let (file, _) = model(GgmlType::Q6_K, true);
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
fn what_the_pool_held_before_does_not_matter() {
    let (file, _) = model(GgmlType::Q5_K, false);
    let (threads, clock) = (Threads::new(1), StdClock::new());
    let run = |filled: u8, kv| {
        let mut memory = vec![filled; 8 << 20];
        let options = LoadOptions { kv, ..LoadOptions::default() };
        let gguf = Gguf::parse(&file).unwrap();
        let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
        let mut chosen = Vec::new();
        let mut sink = |piece: Piece<'_>| {
            chosen.push(piece.token);
            Flow::Continue
        };
        engine.generate(&tokens(), &[1, 2], &Sampling::greedy(), 20, &mut sink).unwrap();
        (chosen, engine.logits(&tokens()).unwrap().to_vec())
    };
    for kv in [KvFormat::Integer, KvFormat::Float] {
        let zeroed = run(0, kv);
        // All ones are NaN as a float and -1 as an integer.
        assert_eq!(zeroed, run(0xff, kv));
        assert_eq!(zeroed, run(0x7f, kv));
    }
}
