//! `Engine::traffic` counts the tensors that a token needs, each once.

mod common;

use common::tiny::{WIDTH, model};
use llm::clock::StdClock;
use llm::engine::{Engine, KvFormat, LoadOptions};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::Pool;
use llm::threads::Threads;

#[test]
fn a_tokens_traffic_is_every_weight_once_and_the_cache() {
    let (threads, clock) = (Threads::new(1), StdClock::new());
    for (separate_head, kv) in [(false, KvFormat::Float), (true, KvFormat::Integer)] {
        let (file, _) = model(GgmlType::F32, separate_head);
        let mut memory = vec![0u8; 16 << 20];
        let gguf = Gguf::parse(&file).unwrap();
        let all: usize = gguf.tensors().map(|tensor| tensor.data.len()).sum();
        let embedding = gguf.tensor("token_embd.weight").unwrap().data.len();
        let options = LoadOptions { context: Some(64), kv, ..LoadOptions::default() };
        let engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
        let traffic = engine.traffic();
        // A head of its own is read instead of the embedding, of which one row is read in either case.
        let weights = if separate_head { all - embedding } else { all } + 4 * WIDTH;
        assert_eq!(traffic.weights, weights);
        assert_eq!(traffic.behind(10) - traffic.behind(9), engine.bytes_per_position());
    }
}
