//! The medium model against llama.cpp and a float64 reference (see `README.md` of the golden data).

mod common;

use common::{golden, golden_logits, max_difference, medium_model};
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, KvFormat, LoadOptions, Origin, Sampling, StopReason};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::threads::Threads;

struct Prompt {
    name: String,
    tokens: Vec<u32>,
    /// Greedy tokens of the float64 reference, and how far the first was ahead of the second.
    greedy: Vec<u32>,
    margin: Vec<f32>,
    /// Absent where the data folder is.
    logits: Option<Vec<f32>>,
}

fn prompts() -> Vec<Prompt> {
    let reference = golden("f64-numpy.json");
    let inputs = golden("f32-avx2-kvf32.json");
    let numbers = |value: &serde_json::Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
    };
    let pairs = reference.as_array().unwrap().iter().zip(inputs["prompts"].as_array().unwrap());
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
        .collect()
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
    let Some((file, prompts)) = medium_model().map(|file| (file, prompts())) else { return };
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0u8; 128 << 20]);
    let options = LoadOptions { context: Some(512), ..LoadOptions::default() };
    let mut engine = load(&file, &mut memory, &threads, &clock, options);
    let mut too_far = Vec::new();
    for prompt in &prompts {
        let Some(logits) = &prompt.logits else { continue };
        let difference = max_difference(engine.logits(&prompt.tokens).unwrap(), logits);
        let Some(allowed) = allowed_difference(prompt) else { continue };
        println!("{:16} {difference:.3} from f64, at most {allowed:.3}", prompt.name);
        if difference > allowed {
            too_far.push(&prompt.name);
        }
    }
    assert!(too_far.is_empty(), "too far from the reference: {too_far:?}");
}

/// The larger of llama.cpp's two differences from the reference; `None` where the data is absent.
fn allowed_difference(prompt: &Prompt) -> Option<f32> {
    let reference = prompt.logits.as_ref()?;
    let of =
        |build: &str| Some(max_difference(&golden_logits(&format!("{build}-{}", prompt.name))?, reference));
    Some(of("q4_1-avx512")?.max(of("q4_1-sse42")?))
}

/// Greedy tokens behind `prompt` and the reference's own tokens, as far as `wanted` picks steps.
///
/// Each step is judged behind the reference's tokens, so that one close call does not end the comparison. The reference does not
/// stop at the end of a text.
fn check_greedy(engine: &mut Engine<'_>, prompt: &Prompt, wanted: impl Fn(usize) -> bool) -> usize {
    let mut fed = prompt.tokens.clone();
    let mut checked = 0;
    for (step, &reference) in prompt.greedy.iter().enumerate() {
        let mut token = None;
        let done = engine
            .generate(&fed, &[], &Sampling::greedy(), 1, &mut |piece| {
                token = (piece.origin == Origin::Model).then_some(piece.token).or(token);
                Flow::Continue
            })
            .unwrap();
        if wanted(step) {
            checked += 1;
            match token {
                Some(token) => assert_eq!(token, reference, "{} step {step}", prompt.name),
                None => assert!(
                    done.stop == StopReason::EndOfText && engine.tokenizer().is_end(reference),
                    "{} step {step}: text ended, should go on with {reference}",
                    prompt.name
                ),
            }
        }
        fed.push(reference);
    }
    checked
}

#[test]
fn file_as_it_is_chooses_the_tokens_that_are_clear() {
    let Some((file, prompts)) = medium_model().map(|file| (file, prompts())) else { return };
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0u8; 128 << 20]);
    let options = LoadOptions { context: Some(512), ..LoadOptions::default() };
    let mut engine = load(&file, &mut memory, &threads, &clock, options);
    for prompt in &prompts {
        let Some(allowed) = allowed_difference(prompt) else { continue };
        let checked = check_greedy(&mut engine, prompt, |step| prompt.margin[step] > 2.0 * allowed);
        println!("{:16} {checked} of {} tokens are clear, and equal", prompt.name, prompt.greedy.len());
        assert!(checked > 0);
    }
}

#[test]
fn f32_weights_give_the_reference_logits_and_all_its_tokens() {
    let Some((file, prompts)) = medium_model().map(|file| (file, prompts())) else { return };
    let file = common::with_f32_weights(&Gguf::parse(&file).unwrap());
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0u8; 128 << 20]);
    let options = LoadOptions { context: Some(512), kv: KvFormat::Float, ..LoadOptions::default() };
    let mut engine = load(&file, &mut memory, &threads, &clock, options);
    for prompt in &prompts {
        if let Some(logits) = &prompt.logits {
            let difference = max_difference(engine.logits(&prompt.tokens).unwrap(), logits);
            println!("{:16} {difference:.1e} from f64", prompt.name);
            assert!(difference < 1e-3, "{}: {difference}", prompt.name);
        }
        assert_eq!(check_greedy(&mut engine, prompt, |_| true), 32);
    }
}
