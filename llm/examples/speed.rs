//! Tokens per second of a GGUF model on this machine: `speed MODEL [THREADS] [PREFILL] [DECODE] [VARIANT]`.
//!
//! Also under user-mode emulation: `qemu-x86_64 -cpu max target/release/examples/speed MODEL`.

use llm::clock::StdClock;
use llm::engine::{Engine, Flow, LoadOptions, Sampling, Variant};
use llm::gguf::Gguf;
use llm::pool::{Pool, Purpose};
use llm::threads::Threads;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |i: usize, default| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (cpus, prefill, decode) = (number(2, 1), number(3, 128), number(4, 32));
    let variant = Variant::ALL.into_iter().find(|v| Some(v.to_string()) == arguments.get(5).cloned());
    let file = std::fs::read(arguments.get(1).ok_or("no model file given")?)?;
    let mut memory = vec![0u8; 1 << 30];
    let (threads, clock) = (Threads::new(cpus), StdClock::new());
    let options = LoadOptions { variant, ..LoadOptions::default() };
    let mut engine = Engine::load(Gguf::parse(&file)?, Pool::new(&mut memory), &threads, &clock, options)?;

    let info = engine.info();
    println!("load            {:8.3} s, context {}", info.load_ns as f64 / 1e9, info.context);
    for timing in info.timings.iter().flatten() {
        let (decode, prefill) = (timing.decode_ps as f64 / 1e3, timing.prefill_ps as f64 / 1e3);
        println!("{:10}      {decode:8.3} ns/MAC decode {prefill:8.3} prefill", timing.variant);
    }
    println!("decode uses {}, prefill uses {}", info.decode_variant, info.prefill_variant);
    for purpose in Purpose::ALL {
        println!("{purpose:15} {:8.1} MiB", engine.usage().used(purpose) as f64 / (1 << 20) as f64);
    }
    let prompt: Vec<u32> = (0..prefill as u32).map(|i| 1000 + i * 37 % 20_000).collect();
    let sampling = Sampling::greedy();
    let done = engine.generate(&prompt, &[], &sampling, decode, &mut |_| Flow::Continue)?;
    let rate = |tokens: usize, ns: u64| tokens as f64 * 1e9 / ns as f64;
    println!("prefill {:5}   {:8.2} tokens/s", done.prompt_tokens, rate(done.prompt_tokens, done.prefill_ns));
    println!(
        "decode  {:5}   {:8.2} tokens/s",
        done.generated_tokens,
        rate(done.generated_tokens, done.decode_ns)
    );
    Ok(())
}
