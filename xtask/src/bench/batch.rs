//! `cargo xtask bench batch`: tokens per second of several sequences that decode together, beside llama.cpp.
//!
//! Each sequence reads a short prompt of its own; then every turn of the engine gives each its next token, and only these turns
//! count. llama.cpp's `llama-batched-bench` does the same work without choosing tokens; ours chooses them. In each
//! repetition ours runs, then llama.cpp, so that what else the machine does falls on both; the medians count.

use super::llama_cpp::LlamaCpp;
use super::table::{Style, Table};
use crate::machine_report::{host, load_average, median};
use crate::model::fetch;
use crate::model_memory::model_memory;
use anyhow::{Context, Result, bail};
use clap::Args;
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, GenerateOptions, LoadOptions, Sequence};
use llm::gguf::Gguf;
use llm::model::BATCH;
use llm::pool::Pool;
use llm::threads::Threads;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Tokens of each prompt.
const PROMPT: usize = 16;
/// Positions of our cache, all sequences together.
const CONTEXT: usize = 4096;
const POOL_BYTES: usize = 2 << 30;

/// What to measure and how to print it.
#[derive(Args, Debug)]
pub struct Options {
    /// Measure this GGUF instead of the default model.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Numbers of sequences.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    sequences: Vec<usize>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Tokens that each sequence decodes.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Leave llama.cpp out.
    #[arg(long)]
    alone: bool,
    /// Print the table in Markdown.
    #[arg(long)]
    markdown: bool,
}

/// Measures what `options` ask for and prints one table.
pub fn bench(options: &Options) -> Result<()> {
    let most = options.sequences.iter().copied().max().unwrap_or(0);
    let least = [&options.sequences[..], &options.threads, &[options.tokens, options.repetitions]].concat();
    if most == 0 || least.contains(&0) || options.threads.is_empty() {
        bail!("at least one sequence, thread, token and repetition are needed");
    }
    let positions = (PROMPT + options.tokens).next_multiple_of(16);
    if 2 * most * positions > CONTEXT || 2 * most > BATCH {
        let room = (CONTEXT / positions).min(BATCH) / 2;
        bail!("{most} sequences of {positions} positions are too many: {room} can be measured");
    }
    let path = match &options.model {
        Some(path) => path.clone(),
        None => fetch::fetch()?,
    };
    let file = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let peer = if options.alone { None } else { Some(LlamaCpp::build()?) };
    println!("machine     {}", host());
    println!("load        {}", load_average().map_or("unknown".into(), |load| format!("{load:.1}")));
    println!("model       {}", path.display());
    if let Some(peer) = &peer {
        println!("peer        {}", peer.name());
    }
    println!("work        {} tokens of each sequence behind {PROMPT}; tokens/s, medians\n", options.tokens);
    let mut table =
        Table::new(&[">threads", ">sequences", ">all", ">each", ">times one alone", ">llama.cpp", ">ratio"]);
    for &threads in &options.threads {
        measure(&path, &file, threads, options, peer.as_ref(), &mut table)?;
    }
    print!("{}", table.print(if options.markdown { Style::Markdown } else { Style::Text }));
    Ok(())
}

/// Adds the rows of one number of threads.
fn measure(
    path: &Path,
    file: &[u8],
    threads: usize,
    options: &Options,
    peer: Option<&LlamaCpp>,
    table: &mut Table,
) -> Result<()> {
    let (workers, clock, mut memory) = (Threads::new(threads), StdClock::new(), model_memory(POOL_BYTES)?);
    let gguf = Gguf::parse(file).with_context(|| format!("{} is no usable GGUF file", path.display()))?;
    let load = LoadOptions { context: Some(CONTEXT), ..LoadOptions::default() };
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &workers, &clock, load)
        .with_context(|| format!("{} cannot be loaded", path.display()))?;
    let most = options.sequences.iter().copied().max().unwrap_or(1);
    let prompts = lasting_prompts(&mut engine, most, options.tokens)?;
    let mut ours = vec![Vec::new(); options.sequences.len()];
    let mut theirs = ours.clone();
    for repetition in 1..=options.repetitions {
        for (rates, &count) in ours.iter_mut().zip(&options.sequences) {
            rates.push(decode(&mut engine, &prompts[..count], options.tokens)?.rate);
        }
        if let Some(peer) = peer {
            let found = peer.measure_batches(path, threads, PROMPT, options.tokens, &options.sequences)?;
            theirs.iter_mut().zip(found).for_each(|(rates, rate)| rates.push(rate));
        }
        eprintln!("{threads} threads: run {repetition} of {}", options.repetitions);
    }
    let alone = decode_median(&ours, &options.sequences);
    for ((ours, theirs), &count) in ours.iter().zip(&theirs).zip(&options.sequences) {
        let (ours, theirs) = (median(ours).unwrap_or(0.0), median(theirs));
        let text =
            |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        table.row(vec![
            threads.to_string(),
            count.to_string(),
            format!("{ours:.1}"),
            format!("{:.1}", ours / count as f64),
            text(alone.map(|alone| ours / alone), 2),
            text(theirs, 1),
            text(theirs.map(|theirs| ours / theirs), 2),
        ]);
    }
    Ok(())
}

/// The rate of one sequence, if that was measured.
fn decode_median(rates: &[Vec<f64>], sequences: &[usize]) -> Option<f64> {
    let at = sequences.iter().position(|&count| count == 1)?;
    median(&rates[at])
}

/// `count` prompts behind which the model does not end its text too early, found among twice as many.
fn lasting_prompts(engine: &mut Engine<'_>, count: usize, tokens: usize) -> Result<Vec<Vec<u32>>> {
    let vocabulary = engine.info().vocabulary as u32;
    let prompt =
        |number: u32| (0..PROMPT as u32).map(|i| (100 + number * 631 + i * 61) % vocabulary).collect();
    let mut prompts: Vec<Vec<u32>> = (0..2 * count as u32).map(prompt).collect();
    let mut lasted = decode(engine, &prompts, tokens)?.lasted.into_iter();
    prompts.retain(|_| lasted.next().unwrap_or(false));
    prompts.truncate(count);
    if prompts.len() < count {
        bail!("the model ends its texts before {tokens} tokens: ask for fewer with --tokens");
    }
    Ok(prompts)
}

/// What one run found.
struct Run {
    /// Tokens per second of all sequences together.
    rate: f64,
    /// Of each sequence, whether it got all its tokens.
    lasted: Vec<bool>,
}

/// Has all prompts read, and times the turns behind that.
fn decode(engine: &mut Engine<'_>, prompts: &[Vec<u32>], tokens: usize) -> Result<Run> {
    // The first token comes from the prompt's logits; every later one takes a step.
    let begin = |prompt: &Vec<u32>| {
        engine.begin(prompt, GenerateOptions { max_tokens: tokens + 1, ..GenerateOptions::default() })
    };
    let mut sequences: Vec<Sequence> = prompts.iter().map(begin).collect::<Result<_, _>>()?;
    // The rows of one turn, how many sequences still read, and how many have ended.
    let mut turn = || {
        let mut all: Vec<&mut Sequence> = sequences.iter_mut().collect();
        let step = engine.step(&mut all, BATCH, &mut || true, &mut |_, _| Flow::Continue);
        let count = |which: &dyn Fn(&Sequence) -> bool| all.iter().filter(|sequence| which(sequence)).count();
        let ended = count(&|sequence| sequence.ended().is_some());
        (step.unwrap_or_default().decoded, count(&|sequence| sequence.is_reading()), ended)
    };
    while turn().1 > 0 {}
    // Some have said more than others by now, so all decode only until the first one ends.
    let (begun, mut decoded, mut ended) = (Instant::now(), 0, 0);
    while ended == 0 {
        let found = turn();
        (decoded, ended) = (decoded + found.0, found.2);
    }
    let seconds = begun.elapsed().as_secs_f64();
    while ended < prompts.len() {
        ended = turn().2;
    }
    let mut lasted = Vec::new();
    for sequence in sequences {
        lasted.push(engine.end(sequence)?.generated_tokens > tokens);
    }
    Ok(Run { rate: decoded as f64 / seconds, lasted })
}
