//! A weight that is not a number shows, wherever it is: the engine says so instead of answering.

mod common;

use common::tiny::model;
use llm::clock::StdClock;
use llm::engine::{Engine, EngineError, Flow, KvFormat, LoadOptions, Sampling};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::Pool;
use llm::threads::Threads;

#[test]
fn a_weight_that_is_no_number_is_reported() {
    let (threads, clock) = (Threads::new(1), StdClock::new());
    let (whole, _) = model(GgmlType::F32, true);
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        let mut file = whole.clone();
        let at = {
            let gguf = Gguf::parse(&file).unwrap();
            let tensor = gguf.tensor(&format!("blk.1.{name}.weight")).unwrap();
            tensor.data.as_ptr() as usize - file.as_ptr() as usize
        };
        file[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        for kv in [KvFormat::Integer, KvFormat::Byte, KvFormat::Float] {
            let mut memory = vec![0u8; 16 << 20];
            let options = LoadOptions { kv, ..LoadOptions::default() };
            let gguf = Gguf::parse(&file).unwrap();
            let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
            let mut sink = |_: llm::engine::Piece<'_>| Flow::Continue;
            let result = engine.generate(&[1, 2, 3, 4], &[], &Sampling::greedy(), 4, &mut sink);
            assert_eq!(result.unwrap_err(), EngineError::NotFinite, "{name} {kv:?}");
        }
    }
}
