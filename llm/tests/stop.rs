//! Reading a prompt can be stopped often, on slow machines too, and none of that changes what the model computes.

mod common;

use common::tiny::{LAYERS, VOCABULARY, model};
use llm::clock::{Clock, StdClock};
use llm::engine::{Engine, Flow, LoadOptions, Origin, Sampling, StopReason};
use llm::gguf::{GgmlType, Gguf};
use llm::model::BATCH;
use llm::pool::Pool;
use llm::threads::Threads;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock on which only the tests' own `sink` lets time pass.
#[derive(Default)]
struct ByHand(AtomicU64);

impl Clock for ByHand {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn prompt() -> Vec<u32> {
    (0..150u32).map(|i| (i * 97 + 13) % VOCABULARY as u32).collect()
}

/// What one generation gave.
#[derive(PartialEq, Debug)]
struct Run {
    chosen: Vec<u32>,
    questions: usize,
    stop: StopReason,
    reused: usize,
}

/// Continues the prompt; the question number `stop_at` while the prompt is read is answered with a stop, and `passes`
/// is called at each.
fn run(engine: &mut Engine<'_>, stop_at: usize, passes: &dyn Fn()) -> Run {
    let (mut chosen, mut questions) = (Vec::new(), 0);
    let mut sink = |piece: llm::engine::Piece<'_>| match piece.origin {
        Origin::Prompt => {
            questions += 1;
            passes();
            if questions == stop_at { Flow::Stop } else { Flow::Continue }
        }
        _ => {
            chosen.push(piece.token);
            Flow::Continue
        }
    };
    let done = engine.generate(&prompt(), &[], &Sampling::greedy(), 6, &mut sink).unwrap();
    Run { chosen, questions, stop: done.stop, reused: done.reused_tokens }
}

#[test]
fn a_stop_is_asked_for_before_each_layer_and_leaves_the_cache_right() {
    let (file, _) = model(GgmlType::Q4_1, false);
    let (threads, clock, mut memory) = (Threads::new(2), StdClock::new(), vec![0u8; 16 << 20]);
    let gguf = Gguf::parse(&file).unwrap();
    let mut engine =
        Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default()).unwrap();
    let undisturbed = run(&mut engine, usize::MAX, &|| ());
    // A question before each layer of each batch.
    let batches = prompt().len().div_ceil(BATCH);
    assert_eq!(undisturbed.questions, batches * LAYERS);

    for stop_at in 1..=batches * LAYERS {
        let other: Vec<u32> = vec![stop_at as u32; 3];
        engine.generate(&other, &[], &Sampling::greedy(), 1, &mut |_| Flow::Continue).unwrap();
        let stopped = run(&mut engine, stop_at, &|| ());
        assert_eq!(
            (stopped.stop, stopped.questions, stopped.chosen.len()),
            (StopReason::Cancelled, stop_at, 0)
        );
        // Whole batches that were read are reused, half-read ones are not; the answer is the same.
        let after = run(&mut engine, usize::MAX, &|| ());
        assert_eq!(after.reused, (stop_at - 1) / LAYERS * BATCH);
        assert_eq!((after.chosen, after.stop), (undisturbed.chosen.clone(), undisturbed.stop));
    }
}

#[test]
fn slow_machines_are_asked_more_often_and_compute_the_same() {
    let (file, _) = model(GgmlType::Q6_K, true);
    let threads = Threads::new(1);
    // For each pace, in nanoseconds a layer: the questions, the tokens chosen, the logits of them all in one go.
    let at_pace = |pace: u64| {
        let (clock, mut memory) = (ByHand::default(), vec![0u8; 16 << 20]);
        let gguf = Gguf::parse(&file).unwrap();
        let mut engine =
            Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default()).unwrap();
        let passes = || {
            clock.0.fetch_add(pace, Ordering::Relaxed);
        };
        let found = run(&mut engine, usize::MAX, &passes);
        let mut fed = prompt();
        fed.extend(&found.chosen);
        (found.questions, found.chosen, engine.logits(&fed).unwrap().to_vec())
    };
    let (questions, chosen, logits) = at_pace(0);
    assert_eq!(questions, prompt().len().div_ceil(BATCH) * LAYERS);
    let quick = at_pace(300_000_000);
    assert_eq!(quick.0, questions);
    // A batch, then half as many tokens, a quarter and so on, then one at a time.
    let slow = at_pace(300_000_001);
    let (halvings, in_batches) = (BATCH.ilog2() as usize, 2 * BATCH - 2);
    assert_eq!(slow.0, (halvings + prompt().len() - in_batches) * LAYERS);
    for other in [quick, slow] {
        assert_eq!((&other.1, &other.2), (&chosen, &logits));
    }
}
