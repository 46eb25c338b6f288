//! Nothing is allocated for a token, in any variant and form of the cache.

mod common;

use common::counting::allocations;
use common::tiny::model;
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, GenerateOptions, KvFormat, LoadOptions, Sampling, Sequence, Variant};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::Pool;
use llm::threads::Threads;

#[test]
fn no_token_costs_memory() {
    let (file, _) = model(GgmlType::Q4_1, false);
    let (threads, clock) = (Threads::new(2), StdClock::new());
    for kv in [KvFormat::Integer, KvFormat::Byte, KvFormat::Float] {
        for variant in Variant::ALL.into_iter().filter(|variant| variant.is_usable()) {
            let mut memory = vec![0u8; 16 << 20];
            let options = LoadOptions { context: Some(256), variant: Some(variant), kv };
            let gguf = Gguf::parse(&file).unwrap();
            let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
            let mut run = |tokens: usize| {
                let prompt: Vec<u32> = (0..100).collect();
                let before = allocations();
                let mut count = 0;
                let mut sink = |_: llm::engine::Piece<'_>| {
                    count += 1;
                    Flow::Continue
                };
                engine.generate(&prompt, &[], &Sampling::greedy(), tokens, &mut sink).unwrap();
                assert!(count >= tokens, "the model goes on to the end");
                allocations() - before
            };
            assert!(run(1) < 10, "the text of a token needs little room");
            // A prompt of two batches and few or many tokens: what the first run left is enough.
            let (few, many) = (run(2), run(60));
            assert_eq!(few, many, "{kv:?} {variant}");
        }
    }
}

#[test]
fn no_turn_of_several_sequences_costs_memory() {
    let (file, _) = model(GgmlType::Q4_1, false);
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 16 << 20]);
    let gguf = Gguf::parse(&file).unwrap();
    let mut engine =
        Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default()).unwrap();
    let begin = |engine: &mut Engine<'_>, first: u32| {
        let prompt: Vec<u32> = (first..first + 10).collect();
        let options = GenerateOptions { forced: &[65, 66], max_tokens: 20, ..GenerateOptions::default() };
        engine.begin(&prompt, options).unwrap()
    };
    let before = allocations();
    let mut sequences: Vec<Sequence> = (0..12).map(|number| begin(&mut engine, 10 * number)).collect();
    assert!(allocations() > before, "the counter counts");
    let mut sequences: Vec<&mut Sequence> = sequences.iter_mut().collect();
    let mut pieces = 0;
    let mut turn = || {
        let before = allocations();
        engine.step(&mut sequences, 40, &mut || true, &mut |_, _| {
            pieces += 1;
            Flow::Continue
        });
        allocations() - before
    };
    // The text of a token needs little room, once for each sequence.
    let first: u64 = (0..12).map(|_| turn()).sum();
    assert!(first <= 12 * 4, "{first} allocations");
    let later: u64 = (0..12).map(|_| turn()).sum();
    assert!(later <= 12, "{later} allocations: a buffer grows once more at most");
    assert!(pieces > 200, "{pieces} tokens were said");
}
