//! The medium model's perplexity on a short text, against what llama.cpp's `llama-perplexity` found (recorded, so that the
//! comparison needs no llama.cpp). `cargo xtask eval perplexity` compares afresh, on any text.

mod common;

use common::medium_model;
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::threads::Threads;
use llm::tokenizer::Special;

/// The largest relative difference.
const TARGET: f64 = 0.005;

#[test]
fn a_text_surprises_the_model_as_it_does_in_llama_cpp() {
    let Some(file) = medium_model() else { return };
    let text = include_str!("data/perplexity.txt").trim_end_matches('\n');
    let recorded: serde_json::Value = serde_json::from_str(include_str!("data/perplexity.json")).unwrap();
    let chunk = recorded["chunk"].as_u64().unwrap() as usize;
    let theirs: Vec<f64> =
        recorded["chunks"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();

    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 512 << 20]);
    let options = LoadOptions { context: Some(chunk), ..LoadOptions::default() };
    let gguf = Gguf::parse(&file).unwrap();
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    let mut tokens = Vec::new();
    engine.tokenizer().encode_parts([("", Special::Parse), (text, Special::None)], &mut tokens);
    assert_eq!(tokens.len() as u64, recorded["tokens"].as_u64().unwrap());

    let mut ours = Vec::new();
    let last = engine.perplexity(&tokens, chunk, &mut |sum| ours.push(sum.value())).unwrap();
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(last.tokens, theirs.len() * (chunk - 1 - chunk / 2));
    for (our, their) in ours.iter().zip(&theirs) {
        let difference = our / their - 1.0;
        println!("{our:.4}, llama.cpp {their:.4}: {:+.3} %", 100.0 * difference);
        assert!(difference.abs() <= TARGET, "{our:.4} where llama.cpp has {their:.4}");
    }
}
