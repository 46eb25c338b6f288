//! `auton validate`: will this file load, and make sense, in the kernel?

use std::path::Path;

use anyhow::{Context, Result, ensure};
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, LEAST_CONTEXT, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::{Pool, Purpose};
use llm::sample::Sampling;
use llm::threads::Threads;
use llm::tokenizer::Special;

use crate::table::mib;
use crate::{report, tensor};

/// Memory for the run beside the weights; what the kernel gives the model by default.
const POOL: usize = 256 << 20;

/// Reads and runs `file`, printing what is found; the first fault is the error.
pub fn validate(file: &Path, prompt: &str, max_tokens: usize) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    all(&bytes, prompt, max_tokens).with_context(|| file.display().to_string())
}

fn all(bytes: &[u8], prompt: &str, max_tokens: usize) -> Result<()> {
    let gguf = Gguf::parse(bytes)?;
    println!(
        "GGUF version {}, {}, {} keys, {} tensors\n",
        gguf.version(),
        mib(bytes.len() as u64),
        gguf.metadata_len(),
        gguf.tensors_len()
    );
    println!("{}", report::metadata(&gguf));

    let mut table = report::tensors();
    for t in gguf.tensors() {
        let greatest = tensor::check_finite(t.name, &tensor::values(&t)?)?;
        report::tensor(&mut table, &t, greatest);
    }
    println!("{table}");
    println!("{}", report::types(&gguf));
    println!("tensors: every value is finite");
    run(gguf, bytes.len(), prompt, max_tokens)
}

/// Loads the model as the kernel does and lets it say something.
fn run(gguf: Gguf<'_>, file_bytes: usize, prompt: &str, max_tokens: usize) -> Result<()> {
    // Some types are repacked at load: room for the weights once more.
    let mut memory = vec![0u8; POOL + 2 * file_bytes];
    let threads = Threads::new(std::thread::available_parallelism().map_or(1, usize::from).min(8));
    let clock = StdClock::new();
    let options = LoadOptions { context: Some(LEAST_CONTEXT), ..LoadOptions::default() };
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options)?;
    println!("tokenizer: {} tokens", engine.tokenizer().vocab_size());

    let mut tokens = Vec::new();
    engine.tokenizer().encode(prompt, Special::Parse, &mut tokens);
    ensure!(!tokens.is_empty(), "the tokenizer makes no token of the prompt {prompt:?}");
    let mut text = Vec::new();
    for id in &tokens {
        engine.tokenizer().decode(*id, &mut text);
    }
    ensure!(
        String::from_utf8_lossy(&text).trim_start() == prompt.trim_start(),
        "the tokenizer does not give {prompt:?} back, but {:?}",
        String::from_utf8_lossy(&text)
    );

    let mut answer = Vec::new();
    let done = engine.generate(&tokens, &[], &Sampling::greedy(), max_tokens, &mut |piece| {
        answer.extend_from_slice(piece.bytes);
        Flow::Continue
    })?;
    println!("generation, {} tokens greedy: {:?}", done.generated_tokens, String::from_utf8_lossy(&answer));
    let usage = engine.usage();
    let parts = Purpose::ALL.map(|p| format!("{p} {}", mib(usage.used(p) as u64)));
    println!("memory at context {}: {}", engine.info().context, parts.join(", "));
    println!("valid");
    Ok(())
}
