//! The medium model against llama.cpp and a float64 reference (see `README.md` of the golden data).

mod common;

use common::{golden, golden_logits, max_difference, medium_model};
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, KvFormat, LoadOptions, Origin, Sampling, StopReason, Variant};
use llm::gguf::{Gguf, write::GgufWriter};
use llm::parallel::Parallel;
use llm::pool::Pool;
use llm::threads::Threads;

struct Prompt {
    name: String,
    tokens: Vec<u32>,
    /// Greedy tokens of the float64 reference, and how far the first was ahead of the second.
    greedy: Vec<u32>,
    margin: Vec<f32>,
    logits: Vec<f32>,
}

fn prompts() -> Option<Vec<Prompt>> {
    let reference = golden("f64-numpy.json")?;
    let inputs = golden("f32-avx2-kvf32.json")?;
    let numbers = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
    };
    let pairs = reference.as_array().unwrap().iter().zip(inputs["prompts"].as_array().unwrap());
    Some(
        pairs
            .map(|(reference, input)| {
                assert_eq!(reference["name"], input["name"]);
                let name = input["name"].as_str().unwrap().to_string();
                Prompt {
                    tokens: numbers(&input["tokens_special"]),
                    greedy: numbers(&reference["greedy"]),
                    margin: reference["margin"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|v| v.as_f64().unwrap() as f32)
                        .collect(),
                    logits: golden_logits(&format!("f64-{name}")),
                    name,
                }
            })
            .collect(),
    )
}

/// Greedy tokens of the engine, none of which ends the generation.
fn greedy(engine: &mut Engine<'_>, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens: Vec<u32> = Vec::new();
    // The references do not stop at the end of text, so each token is asked for by itself.
    while tokens.len() < count {
        let fed: Vec<u32> = prompt.iter().chain(&tokens).copied().collect();
        tokens.push(llm::sample::argmax(engine.logits(&fed).unwrap()).unwrap());
    }
    tokens
}

#[test]
fn file_as_it_is_meets_the_golden_comparison() {
    let Some((file, prompts)) = medium_model().zip(prompts()) else { return };
    let (threads, clock) = (Threads::new(2), StdClock::new());
    let mut memory = vec![0u8; 256 << 20];
    let options = LoadOptions { context: Some(512), ..LoadOptions::default() };
    let gguf = Gguf::parse(&file).unwrap();
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    for prompt in prompts {
        let difference = max_difference(engine.logits(&prompt.tokens).unwrap(), &prompt.logits);
        let theirs = ["q4_1-avx512", "q4_1-sse42"]
            .map(|build| max_difference(&golden_logits(&format!("{build}-{}", prompt.name)), &prompt.logits));
        let allowed = theirs[0].max(theirs[1]);
        println!(
            "{}: {difference:.3} from f64, llama.cpp {:.3} and {:.3}",
            prompt.name, theirs[0], theirs[1]
        );
        assert!(difference <= allowed, "{}: {difference} > {allowed}", prompt.name);
        // Each step is compared behind the reference's own tokens, so that one close call does not end it.
        for step in 0..prompt.greedy.len() {
            if prompt.margin[step] > 2.0 * allowed {
                let fed: Vec<u32> = prompt.tokens.iter().chain(&prompt.greedy[..step]).copied().collect();
                let token = llm::sample::argmax(engine.logits(&fed).unwrap());
                assert_eq!(token, Some(prompt.greedy[step]), "{} step {step}", prompt.name);
            }
        }
    }
}
