//! `cargo xtask bench llm`: the engine on this host with std threads, beside llama.cpp, in one interleaved run.
//!
//! What is measured is what `llama-bench` measures: a prompt of 512 tokens with the logits behind its last, and, apart from it, 128
//! decoding steps from an empty context. Both engines read the same file. In each repetition ours runs, then
//! llama.cpp, so that what else the machine does falls on both; the medians count.

use super::bandwidth::Buffer;
use super::llama_cpp::LlamaCpp;
use super::llm_report::{Bandwidth, File, MEMORY_TARGET, Report, Row, Target};
use super::models::{ENTRIES, Entry, Shape};
use super::phase::{Phase, Work};
use super::table::Style;
use crate::machine_report::{host, load_average};
use crate::model_memory::model_memory;
use anyhow::{Context, Result, bail};
use clap::Args;
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::{Pool, Purpose};
use llm::sample::Sampling;
use llm::threads::Threads;
use std::path::{Path, PathBuf};

const WORK: Work = Work { prefill: 512, decode: 128 };
/// Positions of our cache: those at which memory is judged.
const CONTEXT: usize = 2048;
/// Room for weights (repacked), KV cache and activations beside the file: small models only.
const POOL_BYTES: usize = 2 << 30;

/// What to measure and how to print it.
#[derive(Args, Debug)]
pub struct Options {
    /// Measure this GGUF instead of the models that the targets name.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Only these quantisations, models and phases, such as `Q4_1,decode` or `Wide-186M`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Leave llama.cpp out.
    #[arg(long)]
    alone: bool,
    /// Print the tables in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON, as `docs/schemas/bench-llm.schema.json` describes it.
    #[arg(long)]
    json: bool,
}

/// A file to measure, and what it is called.
struct Candidate {
    model: String,
    quantisation: String,
    note: &'static str,
    shape: Option<Shape>,
    path: PathBuf,
}

/// Measures what `options` ask for and prints one report.
pub fn bench(options: &Options) -> Result<()> {
    let selection = Selection::parse(&options.only)?;
    if options.repetitions == 0 || options.threads.is_empty() || options.threads.contains(&0) {
        bail!("at least one repetition and one thread are needed");
    }
    let files = match &options.model {
        Some(path) => vec![Candidate::of_user(path)?],
        None => selection.entries.iter().map(Candidate::of_entry).collect::<Result<_>>()?,
    };
    let peer = if options.alone { None } else { Some(LlamaCpp::build()?) };
    let mut report = Report {
        host: host(),
        load_before: load_average(),
        load_after: None,
        peer: peer.as_ref().map(|peer| (peer.name(), peer.instructions())),
        work: WORK,
        context: CONTEXT,
        repetitions: options.repetitions,
        bandwidth: bandwidth(&options.threads),
        files: Vec::new(),
        rows: Vec::new(),
    };
    for file in &files {
        measure(file, &selection.phases, options, peer.as_ref(), &mut report)?;
    }
    report.load_after = load_average();
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text(if options.markdown { Style::Markdown } else { Style::Text }));
    }
    Ok(())
}

/// Adds one file's facts and rows to `report`.
fn measure(
    candidate: &Candidate,
    phases: &[Phase],
    options: &Options,
    peer: Option<&LlamaCpp>,
    report: &mut Report,
) -> Result<()> {
    let path = &candidate.path;
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    for (at, &threads) in options.threads.iter().enumerate() {
        let (workers, clock) = (Threads::new(threads), StdClock::new());
        let mut memory = model_memory(POOL_BYTES)?;
        let gguf =
            Gguf::parse(&bytes).with_context(|| format!("{} is no usable GGUF file", path.display()))?;
        let embedding = gguf.tensor("token_embd.weight").map_or("none", |tensor| tensor.kind.name());
        let load = LoadOptions { context: Some(CONTEXT), ..LoadOptions::default() };
        let mut engine = Engine::load(gguf, Pool::new(&mut memory), &workers, &clock, load)
            .with_context(|| format!("{} cannot be loaded", path.display()))?;
        let info = engine.info();
        if at == 0 {
            let (usage, traffic) = (engine.usage(), engine.traffic());
            report.files.push(File {
                model: candidate.model.clone(),
                quantisation: candidate.quantisation.clone(),
                note: candidate.note,
                random_weights: candidate.shape == Some(Shape::Wide),
                weights: info.quantisation,
                embedding,
                parameters: info.parameters,
                bytes: bytes.len(),
                memory: Purpose::ALL.map(|purpose| (purpose, usage.used(purpose))),
                memory_target: (candidate.shape == Some(Shape::SmolLm2)).then_some(MEMORY_TARGET),
                // Decoding steps look back at 1, 2 … positions, themselves included.
                token_bytes: traffic.behind(WORK.decode.div_ceil(2)),
            });
        }
        let file = report.files.len() - 1;
        let mut rows: Vec<Row> = phases
            .iter()
            .map(|&phase| Row {
                file,
                phase,
                threads,
                kernel: match phase {
                    Phase::Prefill => info.prefill_variant.to_string(),
                    Phase::Decode => info.decode_variant.to_string(),
                },
                ours: Vec::new(),
                peer: Vec::new(),
                target: candidate.target(phase),
            })
            .collect();
        let first = start_token(&mut engine)?;
        for repetition in 0..options.repetitions {
            for row in &mut rows {
                row.ours.push(match row.phase {
                    Phase::Prefill => prefill(&mut engine, repetition)?,
                    Phase::Decode => decode(&mut engine, first)?.0,
                });
            }
            if let Some(peer) = peer {
                let rates = peer.measure(path, threads, phases, &WORK)?;
                rows.iter_mut().zip(rates).for_each(|(row, rate)| row.peer.push(rate));
            }
            for row in &rows {
                eprintln!(
                    "{} {}, {} threads, run {} of {}: {}",
                    candidate.model,
                    candidate.quantisation,
                    threads,
                    repetition + 1,
                    options.repetitions,
                    row.last_run()
                );
            }
        }
        report.rows.append(&mut rows);
    }
    Ok(())
}

/// Tokens per second of reading a prompt, the logits behind it included.
fn prefill(engine: &mut Engine<'_>, repetition: usize) -> Result<f64> {
    // Any ids do: the work does not depend on them. But no two prompts may begin alike, for the engine keeps the keys
    // and values of a common beginning.
    let ids = engine.info().vocabulary as u32;
    let first = repetition as u32 + 1;
    let prompt: Vec<u32> = (0..WORK.prefill as u32).map(|i| (first + i * 61) % ids).collect();
    let done = engine.generate(&prompt, &[], &Sampling::greedy(), 1, &mut |_| Flow::Continue)?;
    Ok(rate(done.prompt_tokens - done.reused_tokens, done.prefill_ns + done.decode_ns))
}

/// Decoding steps per second behind the token `first`, and how many there were.
fn decode(engine: &mut Engine<'_>, first: u32) -> Result<(f64, usize)> {
    // The first token that is chosen comes from the prompt's logits; every later one takes a step.
    let done =
        engine.generate(&[first], &[], &Sampling::greedy(), WORK.decode + 1, &mut |_| Flow::Continue)?;
    let steps = done.generated_tokens.saturating_sub(1);
    Ok((rate(steps, done.decode_ns), steps))
}

/// A token behind which the model does not end its text before all steps are done. To find it warms the engine up.
fn start_token(engine: &mut Engine<'_>) -> Result<u32> {
    for first in [1000, 2000, 3000, 100, 200, 300, 10, 20] {
        if first < engine.info().vocabulary as u32 && decode(engine, first)?.1 == WORK.decode {
            return Ok(first);
        }
    }
    bail!("the model ends its text before {} tokens, whatever it begins with", WORK.decode)
}

fn rate(tokens: usize, ns: u64) -> f64 {
    tokens as f64 / (ns.max(1) as f64 / 1e9)
}

fn bandwidth(threads: &[usize]) -> Vec<Bandwidth> {
    let buffer = Buffer::default();
    let measured = threads.iter().map(|&threads| {
        let bytes_per_second = buffer.read_rate(threads);
        eprintln!("read bandwidth, {threads} threads: {:.1} GB/s", bytes_per_second / 1e9);
        Bandwidth { threads, bytes_per_second }
    });
    measured.collect()
}

impl Candidate {
    fn of_user(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = path.canonicalize().with_context(|| format!("{} is not there", path.display()))?;
        Ok(Self {
            model: name,
            quantisation: "as it is".into(),
            note: "a file given by the user",
            shape: None,
            path,
        })
    }

    fn of_entry(entry: &Entry) -> Result<Self> {
        let (model, quantisation) = (entry.shape.name().to_owned(), entry.quantisation.to_owned());
        Ok(Self {
            model,
            quantisation,
            note: entry.shape.note(),
            shape: Some(entry.shape),
            path: entry.file()?,
        })
    }

    /// The ratio to llama.cpp that is wanted. It does not repack Q4_1, so there is more to gain there.
    fn target(&self, phase: Phase) -> Option<Target> {
        self.shape?;
        Some(match (self.quantisation.as_str(), phase) {
            ("Q4_1", _) => 1.5,
            (_, Phase::Decode) => 1.3,
            (_, Phase::Prefill) => 1.0,
        })
    }
}

/// What `--only` leaves.
#[derive(Debug, PartialEq)]
struct Selection {
    entries: Vec<Entry>,
    phases: Vec<Phase>,
}

impl Selection {
    /// Words of one kind widen the selection, words of different kinds narrow it.
    fn parse(words: &[String]) -> Result<Self> {
        let same = |word: &String, name: &str| word.eq_ignore_ascii_case(name);
        let known = |word: &String| {
            let entry = ENTRIES.iter().any(|e| same(word, e.shape.name()) || same(word, e.quantisation));
            entry || Phase::ALL.iter().any(|phase| same(word, &phase.to_string()))
        };
        if let Some(word) = words.iter().find(|word| !known(word)) {
            let mut names: Vec<&str> =
                ENTRIES.iter().flat_map(|e| [e.shape.name(), e.quantisation]).collect();
            names.sort_unstable();
            names.dedup();
            bail!("`{word}` is nothing to choose; there are prefill, decode, {}", names.join(", "));
        }
        // No word of a kind: all of that kind.
        let chosen = |names: &[&str], all: &[&str]| {
            let of_kind = |word: &&String| all.iter().any(|name| same(word, name));
            let mut asked = words.iter().filter(of_kind).peekable();
            asked.peek().is_none() || asked.any(|word| names.iter().any(|name| same(word, name)))
        };
        let shapes = ENTRIES.map(|entry| entry.shape.name());
        let kinds = ENTRIES.map(|entry| entry.quantisation);
        let entries = ENTRIES
            .into_iter()
            .filter(|entry| chosen(&[entry.shape.name()], &shapes) && chosen(&[entry.quantisation], &kinds));
        let phases = Phase::ALL.into_iter().filter(|phase| {
            chosen(
                &[&phase.to_string()],
                &Phase::ALL.map(|phase| phase.to_string()).each_ref().map(|s| s.as_str()),
            )
        });
        let selection = Self { entries: entries.collect(), phases: phases.collect() };
        if selection.entries.is_empty() {
            bail!("no model has all of `{}`", words.join(","));
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(words: &str) -> Result<Selection> {
        Selection::parse(&words.split_terminator(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_choose_rows() {
        assert_eq!(select("").unwrap(), Selection { entries: ENTRIES.to_vec(), phases: Phase::ALL.to_vec() });
        let one = select("q4_1,decode").unwrap();
        assert_eq!((one.entries.len(), one.phases), (1, vec![Phase::Decode]));
        assert_eq!(select("Q4_0").unwrap().entries.len(), 2);
        assert_eq!(select("Q4_0,Wide-186M").unwrap().entries, [ENTRIES[3]]);
        assert_eq!(select("Q4_0,Q8_0,SmolLM2-135M").unwrap().entries, [ENTRIES[0], ENTRIES[2]]);
    }

    #[test]
    fn what_selects_nothing_is_refused_with_the_choice() {
        let error = select("Q9").unwrap_err().to_string();
        assert!(error.contains("`Q9`") && error.contains("Q4_K_M"), "{error}");
        assert_eq!(
            select("Q6_K,SmolLM2-135M").unwrap_err().to_string(),
            "no model has all of `Q6_K,SmolLM2-135M`"
        );
    }
}
