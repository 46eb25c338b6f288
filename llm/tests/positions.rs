//! `Engine::logits_each` gives what `Engine::logits` gives for each beginning of the text.

mod common;

use common::tiny::{VOCABULARY, model};
use llm::clock::StdClock;
use llm::engine::{Engine, EngineError, LoadOptions};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::Pool;
use llm::threads::Threads;

#[test]
fn every_position_has_the_logits_of_its_beginning() {
    let (file, _) = model(GgmlType::Q4_K, false);
    let (threads, clock) = (Threads::new(2), StdClock::new());
    let (mut memory, mut other) = (vec![0u8; 16 << 20], vec![0u8; 16 << 20]);
    let load = |memory| {
        let gguf = Gguf::parse(&file).unwrap();
        Engine::load(gguf, Pool::new(memory), &threads, &clock, LoadOptions::default()).unwrap()
    };
    let (mut engine, mut fresh): (Engine<'_>, Engine<'_>) = (load(&mut memory), load(&mut other));
    // Longer than two batches, and not a multiple of one.
    let tokens: Vec<u32> = (0..75).map(|i| i * 53 % 256).collect();
    for first in [0, 40, 74, 75] {
        let mut seen = Vec::new();
        engine
            .logits_each(&tokens, first, &mut |position, logits| {
                assert_eq!(logits.len(), VOCABULARY);
                assert_eq!(logits, fresh.logits(&tokens[..=position]).unwrap(), "position {position}");
                seen.push(position);
            })
            .unwrap();
        assert_eq!(seen, (first..tokens.len()).collect::<Vec<_>>());
    }
    let absent = VOCABULARY as u32;
    let error = engine.logits_each(&[1, absent], 0, &mut |_, _| panic!("nothing was read")).unwrap_err();
    assert_eq!(error, EngineError::NoSuchToken { token: absent, vocabulary: VOCABULARY });
    assert_eq!(engine.logits_each(&[], 0, &mut |_, _| {}), Err(EngineError::EmptyPrompt));
}
