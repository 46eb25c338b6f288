//! `cargo xtask bench llm`: the engine on this host with std threads, beside llama.cpp, in one interleaved run.
//!
//! What is measured is what `llama-bench` measures: a prompt of 512 tokens, and, apart from it, 128 generated tokens
//! from an empty context.

use super::llama_cpp::{self, Rates};
use crate::machine_report::{host, median};
use crate::model::{fetch, manifest::Manifest};
use anyhow::{Context, Result};
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::sample::Sampling;
use llm::threads::Threads;
use std::path::Path;

const PROMPT: usize = 512;
const GENERATED: usize = 128;
const CONTEXT: usize = 1024;
/// Room for weights (repacked), KV cache and activations beside the file: small models only.
const POOL_BYTES: usize = 1 << 30;

/// Measures `model` (the default one if `None`), `repetitions` times, with llama.cpp where `beside` is set.
pub fn bench(model: Option<&Path>, repetitions: usize, beside: bool) -> Result<()> {
    let path = match model {
        Some(path) => path.to_path_buf(),
        None => fetch::fetch()?,
    };
    let manifest = Manifest::of_file(&path)?;
    let peer = if beside { Some(llama_cpp::build()?) } else { None };
    println!("machine  {}", host());
    println!(
        "model    {}, {} M parameters, {}",
        manifest.name,
        manifest.parameters / 1_000_000,
        manifest.quantisation
    );
    println!("runs     {repetitions}, interleaved, medians; prefill {PROMPT}, decode {GENERATED}");
    println!(
        "peer     {}",
        peer.as_ref()
            .map_or("none".to_owned(), |_| format!("llama.cpp of llama-cpp-python {}", llama_cpp::VERSION))
    );

    let file = std::fs::read(&path)?;
    for threads in [1, 2] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let workers = Threads::new(threads);
        let clock = StdClock::new();
        let mut memory = vec![0; POOL_BYTES];
        let gguf = Gguf::parse(&file).context("the model cannot be read")?;
        let options = LoadOptions { context: Some(CONTEXT), ..LoadOptions::default() };
        let mut engine = Engine::load(gguf, Pool::new(&mut memory), &workers, &clock, options)
            .context("the model cannot be loaded")?;
        for repetition in 0..repetitions as u32 {
            ours.push(measure(&mut engine, repetition)?);
            if let Some(program) = &peer {
                theirs.push(llama_cpp::measure(program, &path, threads, PROMPT, GENERATED)?);
            }
        }
        if threads == 1 {
            let info = engine.info();
            println!("kernels  prefill {:?}, decode {:?}\n", info.prefill_variant, info.decode_variant);
            println!(
                "{:<8} {:<8} {:>14} {:>14} {:>8}",
                "phase", "threads", "AUTON tok/s", "llama.cpp", "ratio"
            );
        }
        print_row("prefill", threads, &ours, &theirs, |rates| rates.prefill);
        print_row("decode", threads, &ours, &theirs, |rates| rates.decode);
    }
    Ok(())
}

fn print_row(phase: &str, threads: usize, ours: &[Rates], theirs: &[Rates], pick: impl Fn(&Rates) -> f64) {
    let middle = |rates: &[Rates]| median(&rates.iter().map(&pick).collect::<Vec<_>>());
    let (Some(our), their) = (middle(ours), middle(theirs)) else { return };
    let peer = their.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
    let ratio = their.map_or("-".to_owned(), |rate| format!("{:.2}", our / rate));
    println!("{phase:<8} {threads:<8} {our:>14.1} {peer:>14} {ratio:>8}");
}

fn measure(engine: &mut Engine<'_>, repetition: u32) -> Result<Rates> {
    let mut go_on = |_: llm::engine::Piece<'_>| Flow::Continue;
    // Any ids do: the work does not depend on them. But no two prompts may begin alike, for the engine keeps the keys
    // and values of a common beginning.
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| 1000 + repetition + i * 61 % 40_000).collect();
    let reading = engine.generate(&prompt, &[], &Sampling::greedy(), 1, &mut go_on)?;
    let writing = engine.generate(&prompt[..1], &[], &Sampling::greedy(), GENERATED, &mut go_on)?;
    let rate = |tokens: usize, ns: u64| tokens as f64 / (ns as f64 / 1e9);
    Ok(Rates {
        prefill: rate(reading.prompt_tokens - reading.reused_tokens, reading.prefill_ns),
        decode: rate(writing.generated_tokens, writing.decode_ns),
    })
}
