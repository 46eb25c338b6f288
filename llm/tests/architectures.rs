//! Tiny models of every architecture against llama.cpp: the same logits, within what single precision leaves, and the same
//! tokens. `architectures/references.json` is made by `architectures/make.py`.

mod common;

use common::references::{each_case, file};
use llm::clock::StdClock;
use llm::engine::{Engine, KvFormat, LoadOptions, Variant};
use llm::gguf::Gguf;
use llm::model::BATCH;
use llm::pool::Pool;
use llm::threads::Threads;
use serde_json::Value;

/// What llama.cpp computed.
struct Reference {
    context: usize,
    /// Logits behind the prompt's token at a position.
    logits: Vec<(usize, Vec<f32>)>,
    greedy: Vec<u32>,
}

fn reference(case: &Value) -> Reference {
    let logits = case["logits"].as_object().unwrap().iter().map(|(position, hex)| {
        let hex = hex.as_str().unwrap();
        let word = |at| f32::from_bits(u32::from_str_radix(&hex[at..at + 8], 16).unwrap());
        (position.parse().unwrap(), (0..hex.len()).step_by(8).map(word).collect())
    });
    let mut logits: Vec<(usize, Vec<f32>)> = logits.collect();
    logits.sort_by_key(|(position, _)| *position);
    Reference {
        context: case["context"].as_u64().unwrap() as usize,
        logits,
        greedy: case["greedy"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect(),
    }
}

/// The distance of two vectors over the length of the second.
fn off(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = length(&mut found.iter().zip(wanted).map(|(f, w)| f64::from(f - w)));
    apart / length(&mut wanted.iter().map(|w| f64::from(*w)))
}

/// Runs `then` with an engine for the file.
fn with_engine<T>(file: &[u8], options: LoadOptions, then: impl FnOnce(&mut Engine<'_>) -> T) -> T {
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 16 << 20]);
    let engine = Engine::load(Gguf::parse(file).unwrap(), Pool::new(&mut memory), &threads, &clock, options);
    then(&mut engine.unwrap_or_else(|error| panic!("{error}")))
}

/// Largest relative distance: single precision leaves a few 1e-6; the f16 table through which llama.cpp computes GELU
/// leaves more.
fn allowed(architecture: &str) -> f64 {
    if architecture == "gemma2" { 1e-3 } else { 2e-5 }
}

#[test]
fn logits_and_tokens_are_those_of_llama_cpp() {
    each_case(|name, case, vocabulary, prompt| {
        let wanted = reference(case);
        let options =
            LoadOptions { context: Some(wanted.context), kv: KvFormat::Float, ..LoadOptions::default() };
        with_engine(&file(case, vocabulary, &|_| true), options, |engine| {
            let distances: Vec<f64> = wanted
                .logits
                .iter()
                .map(|(position, logits)| off(engine.logits(&prompt[..=*position]).unwrap(), logits))
                .collect();
            let most = distances.iter().copied().fold(0.0, f64::max);
            println!("{name}: relative distance {most:.1e}");
            assert!(most < allowed(case["architecture"].as_str().unwrap()), "{name}: {distances:?}");
            let mut fed = prompt.to_vec();
            for &token in &wanted.greedy {
                let chosen = llm::sample::argmax(engine.logits(&fed).unwrap());
                assert_eq!(chosen, Some(token), "{name}, token {}", fed.len());
                fed.push(token);
            }
        });
    });
}

/// What the references are there for shows in them: without the key, or in the other context, the logits are others.
#[test]
fn keys_make_the_difference_that_is_tested() {
    each_case(|name, case, vocabulary, prompt| {
        let wanted = reference(case);
        let (last, logits) = wanted.logits.last().unwrap();
        let distance = |without: &str, context: usize| {
            let options =
                LoadOptions { context: Some(context), kv: KvFormat::Float, ..LoadOptions::default() };
            with_engine(&file(case, vocabulary, &|key| key != without), options, |engine| {
                off(engine.logits(&prompt[..=*last]).unwrap(), logits)
            })
        };
        for key in case["without"].as_array().unwrap() {
            let key = key.as_str().unwrap();
            let distance = distance(key, wanted.context);
            println!("{name} without {key}: {distance:.1e}");
            assert!(distance > 5e-3, "{name}: {key} makes no difference ({distance})");
        }
        let long_and_short = case["tensors"].to_string().contains("rope_factors_long");
        let other = if wanted.context < 256 { 16 } else { 300 };
        if long_and_short && *last < other {
            assert!(distance("", other) > 5e-3, "{name}: the context makes no difference");
        }
    });
}

/// The integer cache, every variant, and a token alone or among others give the same logits, near those of the float cache.
#[test]
fn variants_are_equal_in_every_architecture() {
    each_case(|name, case, vocabulary, prompt| {
        let file = file(case, vocabulary, &|_| true);
        let wanted = reference(case);
        let (last, logits) = wanted.logits.last().unwrap();
        let mut first: Option<Vec<f32>> = None;
        for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
            let options = LoadOptions {
                context: Some(wanted.context),
                variant: Some(variant),
                ..LoadOptions::default()
            };
            let found =
                with_engine(&file, options, |engine| engine.logits(&prompt[..=*last]).unwrap().to_vec());
            assert!(off(&found, logits) < 1e-2, "{name}, {variant}: {}", off(&found, logits));
            assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{name}: {variant} differs");
        }
        // The first token of the second batch, alone and before others.
        let prompt: Vec<u32> = prompt.iter().copied().cycle().take(BATCH + 9).collect();
        let options =
            LoadOptions { context: Some(wanted.context.max(prompt.len())), ..LoadOptions::default() };
        with_engine(&file, options, |engine| {
            let alone = engine.logits(&prompt[..=BATCH]).unwrap().to_vec();
            let mut in_batch = Vec::new();
            engine
                .logits_each(&prompt, BATCH, &mut |position, logits| {
                    if position == BATCH {
                        in_batch = logits.to_vec();
                    }
                })
                .unwrap();
            assert_eq!(alone, in_batch, "{name}: a token's logits depend on its batch");
        });
    });
}
