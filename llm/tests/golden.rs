//! The medium model against llama.cpp and a float64 reference (see `README.md` of the golden data).

mod common;

use common::{golden, golden_logits, max_difference, medium_model};
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions};
use llm::gguf::Gguf;
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

/// One leg: `logits[i]` of prompt `i`, and a closure that continues it.
fn load<'p>(
    file: &'p [u8],
    memory: &'p mut [u8],
    threads: &'p Threads,
    clock: &'p StdClock,
    options: LoadOptions,
) -> Engine<'p> {
    Engine::load(Gguf::parse(file).unwrap(), Pool::new(memory), threads, clock, options).unwrap()
}

#[test]
fn file_as_it_is_gives_logits_as_close_as_llama_cpp() {
    let Some((file, prompts)) = medium_model().zip(prompts()) else { return };
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 128 << 20]);
    let options = LoadOptions { context: Some(512), ..LoadOptions::default() };
    let mut engine = load(&file, &mut memory, &threads, &clock, options);
    let mut too_far = Vec::new();
    for prompt in &prompts {
        let difference = max_difference(engine.logits(&prompt.tokens).unwrap(), &prompt.logits);
        let allowed = allowed_difference(prompt);
        println!("{:16} {difference:.3} from f64, at most {allowed:.3}", prompt.name);
        if difference > allowed {
            too_far.push(&prompt.name);
        }
    }
    assert!(too_far.is_empty(), "too far from the reference: {too_far:?}");
}

/// The larger of llama.cpp's two differences from the reference.
fn allowed_difference(prompt: &Prompt) -> f32 {
    ["q4_1-avx512", "q4_1-sse42"]
        .map(|build| max_difference(&golden_logits(&format!("{build}-{}", prompt.name)), &prompt.logits))
        .into_iter()
        .fold(0.0, f32::max)
}
