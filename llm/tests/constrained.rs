//! The engine held to grammars, and beyond the end of its context; scores and embeddings.

mod common;

use common::tiny::{VOCABULARY, WIDTH, Weights, model};
use common::{copy_value, golden, golden_logits, medium_model};
use llm::clock::StdClock;
use llm::engine::{
    Engine, EngineError, Flow, GenerateOptions, Generation, LoadOptions, Origin, Overflow, Piece, Pooling,
    Sampling, StopReason,
};
use llm::gguf::{GgmlType, Gguf, write::GgufWriter};
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::pool::Pool;
use llm::threads::Threads;
use std::sync::Arc;

/// What one generation gave.
struct Run {
    tokens: Vec<u32>,
    text: String,
    done: Generation,
}

fn run(engine: &mut Engine<'_>, prompt: &[u32], options: GenerateOptions<'_>) -> Result<Run, EngineError> {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let mut sink = |piece: Piece<'_>| {
        if piece.origin == Origin::Model {
            tokens.push(piece.token);
            text.push_str(std::str::from_utf8(piece.bytes).unwrap());
        }
        Flow::Continue
    };
    let done = engine.generate_with(prompt, options, &mut sink)?;
    Ok(Run { tokens, text, done })
}

/// Runs `test` with an engine for `file`, with so many positions.
fn with_engine<R>(file: &[u8], context: usize, test: impl FnOnce(&mut Engine<'_>) -> R) -> R {
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 256 << 20]);
    let options = LoadOptions { context: Some(context), ..LoadOptions::default() };
    let pool = Pool::new(&mut memory);
    test(&mut Engine::load(Gguf::parse(file).unwrap(), pool, &threads, &clock, options).unwrap())
}

/// Options for a generation under a grammar.
fn held(sampling: Sampling, max_tokens: usize, constraint: &mut Constraint) -> GenerateOptions<'_> {
    GenerateOptions { sampling, max_tokens, constraint: Some(constraint), ..GenerateOptions::default() }
}

fn prompt() -> Vec<u32> {
    (0..20u32).map(|i| (i * 97 + 13) % 256).collect()
}

#[test]
fn what_the_model_says_is_of_the_grammar() {
    let (file, _) = model(GgmlType::Q4_1, false);
    with_engine(&file, 512, |engine| {
        let trie = Arc::new(TokenTrie::new(engine.tokenizer()).unwrap());
        for text in [
            "root ::= \"yes\" | \"no\"",
            "root ::= (\"a\" | [0-9]{2}){3,9} \".\"",
            "root ::= [ぁ-ゟ]{4} \"🙂\"",
            "root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\" | [0-9]",
        ] {
            let grammar = Arc::new(Grammar::parse(text).unwrap());
            let mut constraint = Constraint::new(grammar.clone(), trie.clone()).unwrap();
            for (temperature, seed, repeat_penalty) in
                [(0.0, 0, 1.0), (0.0, 0, 1.3), (2.0, 1, 1.1), (9.0, 2, 1.0)]
            {
                let sampling = Sampling { temperature, seed, repeat_penalty, ..Sampling::greedy() };
                let first = run(engine, &prompt(), held(sampling, 60, &mut constraint)).unwrap();
                assert!(!first.tokens.is_empty());
                match first.done.stop {
                    StopReason::EndOfText => {
                        assert!(grammar.matches(first.text.as_bytes()), "{:?}", first.text)
                    }
                    // Only the two that may go on for long.
                    stop => assert!(
                        stop == StopReason::MaxTokens && text.contains('v'),
                        "{stop:?} {:?}",
                        first.text
                    ),
                }
                // The same again, from masks that are known.
                let again = run(engine, &prompt(), held(sampling, 60, &mut constraint)).unwrap();
                assert_eq!((again.tokens, again.done.stop), (first.tokens, first.done.stop));
            }
            let usage = constraint.masks();
            assert!(usage.hits > usage.misses, "{usage:?}");
        }
    });
}

/// Where the model's own choice is allowed it is taken: of a bit-equal model under `.*`, up to the first token that could not be
/// text.
#[test]
fn a_grammar_that_allows_all_changes_nothing() {
    let (file, _) = model(GgmlType::Q8_0, true);
    with_engine(&file, 512, |engine| {
        let trie = Arc::new(TokenTrie::new(engine.tokenizer()).unwrap());
        let grammar = Arc::new(Grammar::parse("root ::= .*").unwrap());
        let mut constraint = Constraint::new(grammar.clone(), trie.clone()).unwrap();
        let mut compared = 0;
        for seed in 0..30u32 {
            let sampling = Sampling { temperature: 1.0, seed: seed.into(), ..Sampling::greedy() };
            let prompt = [seed, 7, 200];
            for sampling in [sampling, Sampling::greedy()] {
                let options = GenerateOptions { sampling, max_tokens: 8, ..GenerateOptions::default() };
                let free = run(engine, &prompt, options).unwrap().tokens;
                let held = run(engine, &prompt, held(sampling, 8, &mut constraint)).unwrap().tokens;
                // A sampler draws from other candidates where some are forbidden, so only the likeliest are compared.
                if sampling.temperature == 0.0 {
                    let text = free.iter().take_while(|&&token| token < 128).count();
                    assert_eq!(held[..text], free[..text]);
                    compared += text;
                }
                assert!(held.iter().all(|&token| token < 256));
            }
        }
        assert!(compared > 5, "{compared} tokens were compared");
    });
}

/// The tiny model with the byte `z` taken out of its vocabulary.
fn without_z() -> Vec<u8> {
    let (file, _) = model(GgmlType::Q4_1, false);
    let (gguf, mut changed) = (Gguf::parse(&file).unwrap(), GgufWriter::new());
    for (key, value) in gguf.metadata() {
        if key == "tokenizer.ggml.token_type" {
            let unused = |id: usize| {
                if id == usize::from(b'z') {
                    5
                } else if id < 256 {
                    1
                } else {
                    3
                }
            };
            changed.i32s(key, (0..VOCABULARY).map(unused));
        } else {
            copy_value(&mut changed, key, value);
        }
    }
    for tensor in gguf.tensors() {
        changed.tensor(tensor.name, tensor.kind, &tensor.dims[..tensor.n_dims as usize], tensor.data);
    }
    changed.finish()
}

#[test]
fn where_no_token_is_allowed_the_generation_ends() {
    with_engine(&without_z(), 512, |engine| {
        let trie = Arc::new(TokenTrie::new(engine.tokenizer()).unwrap());
        let grammar = Arc::new(Grammar::parse("root ::= \"ab\" [y-z] \"z\"").unwrap());
        let mut constraint = Constraint::new(grammar.clone(), trie.clone()).unwrap();
        let options = GenerateOptions {
            max_tokens: 60,
            constraint: Some(&mut constraint),
            ..GenerateOptions::default()
        };
        let run = run(engine, &prompt(), options).unwrap();
        assert_eq!((run.text.as_str(), run.done.stop), ("aby", StopReason::NoTokenAllowed));
    });
}

#[test]
fn a_shifted_context_is_that_of_the_tokens_kept() {
    let (file, _) = model(GgmlType::Q4_1, false);
    let (context, keep) = (48, 8);
    let stopped = with_engine(&file, context, |engine| {
        run(engine, &prompt(), GenerateOptions { max_tokens: 200, ..GenerateOptions::default() }).unwrap()
    });
    assert_eq!((stopped.done.stop, stopped.done.shifts), (StopReason::ContextFull, 0));
    let shifting =
        GenerateOptions { max_tokens: 200, overflow: Overflow::Shift { keep }, ..GenerateOptions::default() };
    let shifted = with_engine(&file, context, |engine| run(engine, &prompt(), shifting).unwrap());
    // 28 fit, then 20 for each half of the other 40.
    assert_eq!(
        (shifted.done.stop, shifted.done.shifts),
        (StopReason::MaxTokens, (200 - 29usize).div_ceil(20))
    );
    assert_eq!(shifted.tokens[..stopped.tokens.len()], stopped.tokens);

    // Each token, by fresh engines from what was kept.
    let mut window = prompt();
    let expected: Vec<u32> = with_engine(&file, context, |engine| {
        shifted
            .tokens
            .iter()
            .map(|&said| {
                if window.len() > context {
                    // The newest token is not in the cache yet.
                    let newest = window.pop().unwrap();
                    window.drain(keep..keep + (context - keep).div_ceil(2));
                    window.push(newest);
                }
                let logits = engine.logits(&window).unwrap();
                let best = (0u32..).zip(logits).fold((0, f32::NEG_INFINITY), |best, (token, &x)| {
                    if x > best.1 { (token, x) } else { best }
                });
                window.push(said);
                best.0
            })
            .collect()
    });
    assert_eq!(shifted.tokens, expected);
}

/// Where the receiver says stop while the kept part is read again, the engine is as good as new.
#[test]
fn a_shift_can_be_stopped() {
    let (file, _) = model(GgmlType::Q4_1, false);
    with_engine(&file, 48, |engine| {
        let plain =
            run(engine, &prompt(), GenerateOptions { max_tokens: 5, ..GenerateOptions::default() }).unwrap();
        let mut model_tokens = 0;
        let mut sink = |piece: Piece<'_>| {
            model_tokens += usize::from(piece.origin == Origin::Model);
            if piece.origin == Origin::Prompt && model_tokens > 0 { Flow::Stop } else { Flow::Continue }
        };
        let options = GenerateOptions {
            max_tokens: 200,
            overflow: Overflow::Shift { keep: 0 },
            ..GenerateOptions::default()
        };
        let done = engine.generate_with(&prompt(), options, &mut sink).unwrap();
        assert_eq!((done.stop, done.shifts, model_tokens), (StopReason::Cancelled, 1, 29));
        let again =
            run(engine, &prompt(), GenerateOptions { max_tokens: 5, ..GenerateOptions::default() }).unwrap();
        assert_eq!(again.tokens, plain.tokens);
    });
}

/// The second query with one system prompt reads only what is new in it.
#[test]
fn a_system_prompt_is_read_once() {
    let (file, _) = model(GgmlType::Q4_1, false);
    with_engine(&file, 256, |engine| {
        let system: Vec<u32> = (0..100u32).map(|i| i * 7 % 256).collect();
        let question = |n: u32| [&system[..], &[n, n + 1, n + 2]].concat();
        let options = || GenerateOptions { max_tokens: 4, ..GenerateOptions::default() };
        assert_eq!(run(engine, &question(1), options()).unwrap().done.reused_tokens, 0);
        assert_eq!(run(engine, &question(50), options()).unwrap().done.reused_tokens, system.len());
    });
}

#[test]
fn a_score_is_the_sum_of_log_softmax() {
    let (file, _) = model(GgmlType::Q5_K, false);
    let continuation: Vec<u32> = (0..40u32).map(|i| i * 31 % 256).collect();
    let fresh = |prompt: &[u32], continuation: &[u32]| {
        with_engine(&file, 512, |engine| engine.score(prompt, continuation).unwrap())
    };
    let score = fresh(&prompt(), &continuation);
    assert_eq!(score.each.len(), continuation.len());
    assert_eq!(score.sum, score.each.iter().sum::<f64>());
    with_engine(&file, 512, |engine| {
        for (at, (&token, &each)) in continuation.iter().zip(&score.each).enumerate() {
            let logits = engine.logits(&[&prompt()[..], &continuation[..at]].concat()).unwrap();
            let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            assert!((each - (f64::from(logits[token as usize]) - sum.ln())).abs() < 1e-9, "{at}");
        }
        assert_eq!(engine.score(&prompt(), &[]).unwrap().sum, 0.0);
        assert_eq!(engine.score(&[], &[1]), Err(EngineError::EmptyPrompt));
        assert!(engine.score(&[1], &[9999]).is_err());

        // In any order with other calls the results are those of fresh engines.
        let generate = |engine: &mut Engine<'_>| {
            run(engine, &prompt(), GenerateOptions { max_tokens: 9, ..GenerateOptions::default() })
                .unwrap()
                .tokens
        };
        let said = with_engine(&file, 512, generate);
        let other = [5u32, 6, 7];
        for _ in 0..2 {
            assert_eq!(engine.score(&prompt(), &continuation).unwrap(), score);
            assert_eq!(generate(engine), said);
            assert_eq!(engine.score(&prompt(), &other).unwrap(), fresh(&prompt(), &other));
            assert_eq!(engine.score(&prompt(), &said).unwrap(), fresh(&prompt(), &said));
            assert_eq!(generate(engine), said);
        }
    });
}

/// Several continuations of one prompt cost their own tokens (and the prompt's last one).
#[test]
fn a_prompt_is_read_once_for_all_its_continuations() {
    let (file, _) = model(GgmlType::Q4_1, false);
    with_engine(&file, 512, |engine| {
        engine.score(&prompt(), &[1, 2, 3]).unwrap();
        let before =
            engine.generate(&prompt(), &[], &Sampling::greedy(), 1, &mut |_| Flow::Continue).unwrap();
        assert_eq!(before.reused_tokens, prompt().len() - 1);
        engine.score(&prompt(), &[4, 5]).unwrap();
        let longer = [&prompt()[..], &[4, 9]].concat();
        let after = engine.generate(&longer, &[], &Sampling::greedy(), 1, &mut |_| Flow::Continue).unwrap();
        assert_eq!(after.reused_tokens, prompt().len() + 1);
    });
}

#[test]
fn an_embedding_is_the_states_before_the_logits() {
    let (file, weights) = model(GgmlType::F32, true);
    let length = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    with_engine(&file, 512, |engine| {
        let tokens = prompt();
        let logits = engine.logits(&tokens).unwrap().to_vec();
        let last = engine.embed(&tokens, Pooling::Last, false).unwrap().to_vec();
        // The head's rows times the last state are the logits.
        for (token, logit) in logits.iter().enumerate() {
            assert!((row(&weights, token, &last) - f64::from(*logit)).abs() < 1e-3, "{token}");
        }
        let each: Vec<Vec<f32>> = (1..=tokens.len())
            .map(|end| engine.embed(&tokens[..end], Pooling::Last, false).unwrap().to_vec())
            .collect();
        assert_eq!(each[tokens.len() - 1], last);
        let mean = engine.embed(&tokens, Pooling::Mean, false).unwrap().to_vec();
        for (at, x) in mean.iter().enumerate() {
            let wanted = each.iter().map(|state| f64::from(state[at])).sum::<f64>() / tokens.len() as f64;
            assert!((f64::from(*x) - wanted).abs() < 1e-6, "{at}");
        }
        let unit = engine.embed(&tokens, Pooling::Mean, true).unwrap().to_vec();
        assert!((length(&unit) - 1.0).abs() < 1e-6);
        assert!(
            unit.iter().zip(&mean).all(|(u, m)| (f64::from(*u) * length(&mean) - f64::from(*m)).abs() < 1e-6)
        );
        // The cache is right behind it, and its own result does not depend on what was there.
        assert_eq!(engine.logits(&tokens).unwrap(), logits);
        assert_eq!(engine.embed(&tokens, Pooling::Last, false).unwrap(), last);
        assert_eq!(engine.embed(&tokens, Pooling::Mean, false).unwrap(), mean);
        assert!(engine.embed(&[], Pooling::Mean, false).is_err());
    });
}

fn row(weights: &Weights, token: usize, state: &[f32]) -> f64 {
    let row = &weights["output.weight"][token * WIDTH..(token + 1) * WIDTH];
    row.iter().zip(state).map(|(w, x)| w * f64::from(*x)).sum()
}

/// The first token of each golden prompt, scored with the real model, against log-softmax of the float64 reference's logits.
#[test]
fn scores_are_near_the_float64_reference() {
    let Some(file) = medium_model() else { return };
    let reference = golden("f64-numpy.json");
    let inputs = golden("f32-avx2-kvf32.json");
    with_engine(&file, 512, |engine| {
        for (reference, input) in
            reference.as_array().unwrap().iter().zip(inputs["prompts"].as_array().unwrap())
        {
            let name = input["name"].as_str().unwrap();
            let Some(logits) = golden_logits(&format!("f64-{name}")) else { return };
            let ids = |value: &serde_json::Value| -> Vec<u32> {
                value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
            };
            let (prompt, greedy) = (ids(&input["tokens_special"]), ids(&reference["greedy"]));
            let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let sum: f64 = logits.iter().map(|&x| (f64::from(x) - highest).exp()).sum();
            let wanted = f64::from(logits[greedy[0] as usize]) - highest - sum.ln();
            let score = engine.score(&prompt, &greedy[..4]).unwrap();
            println!(
                "{name:16} {:.4}, the reference {wanted:.4}; four tokens {:.3}",
                score.each[0], score.sum
            );
            // Q4_1 weights and activations of 8 bits: half of what the logits may differ by (see golden.rs).
            assert!((score.each[0] - wanted).abs() < 0.3, "{name}: {} {wanted}", score.each[0]);
        }
    });
}
