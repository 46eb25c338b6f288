//! `cargo xtask eval perplexity`: the engine's perplexity beside llama.cpp's, for the same file and text, in one run.
//!
//! Both cut the text into chunks of 512 tokens and count the predictions of each chunk's second half
//! ([`Engine::perplexity`]). llama.cpp keeps keys and values in F16; ours come in the formats that are asked for, so that what a
//! format loses is seen beside the others.

use crate::bench::llama_cpp::{Estimate, LlamaCpp};
use crate::bench::table::{Style, Table};
use crate::machine_report::host;
use crate::model::fetch;
use crate::model_memory::model_memory;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use llm::clock::StdClock;
use llm::engine::{Engine, KvFormat, LoadOptions, Perplexity};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::threads::Threads;
use llm::tokenizer::Special;
use std::path::{Path, PathBuf};

/// Tokens of a chunk, as `llama-perplexity` has it where nothing else is asked for.
const CHUNK: usize = 512;
const POOL_BYTES: usize = 2 << 30;
/// The largest relative difference from llama.cpp.
const TARGET: f64 = 0.005;
/// The text where none is given: prose of this repository, some 25 KB.
const DEFAULT_TEXTS: [&str; 2] = ["docs/architecture.md", "README.md"];

/// What to compare.
#[derive(Args, Debug)]
pub struct Options {
    /// The model (default: the pinned one).
    model: Option<PathBuf>,
    /// The text, UTF-8 (default: docs/architecture.md and README.md).
    text: Option<PathBuf>,
    /// At most so many chunks of 512 tokens.
    #[arg(long)]
    chunks: Option<usize>,
    /// How our keys and values are stored.
    #[arg(long, value_delimiter = ',', default_values = ["integer"])]
    kv: Vec<String>,
    /// Threads of either engine.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print the table in Markdown.
    #[arg(long)]
    markdown: bool,
}

/// The formats of keys and values by name.
const FORMATS: [(&str, KvFormat); 3] =
    [("integer", KvFormat::Integer), ("q8", KvFormat::Byte), ("float", KvFormat::Float)];

/// Compares and prints.
pub fn eval(options: &Options) -> Result<()> {
    let formats = options.kv.iter().map(|name| format_named(name)).collect::<Result<Vec<_>>>()?;
    let path = match &options.model {
        Some(path) => path.clone(),
        None => fetch::fetch()?,
    };
    let (name, text) = read_text(options.text.as_deref())?;
    let model = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut rows = Vec::new();
    let mut facts = None;
    for &(kv, format) in &formats {
        let (tokens, chunks, found) = ours(&model, &text, format, options)
            .with_context(|| format!("{} with {kv} keys and values", path.display()))?;
        facts = Some((tokens, chunks));
        rows.push((kv, found));
    }
    let Some((tokens, chunks)) = facts else { bail!("--kv names no format") };
    let peer = LlamaCpp::build()?;
    eprintln!("{}: {chunks} chunks", peer.name());
    let theirs = with_text_file(&text, |file| peer.perplexity(&path, file, CHUNK, chunks, options.threads))?;

    println!("machine  {}; accelerator none", host());
    println!("model    {}", path.display());
    println!(
        "text     {name}: {} bytes, {tokens} tokens, {chunks} chunks of {CHUNK}, second halves counted",
        text.len()
    );
    println!("target   within {:.1} % of llama.cpp\n", 100.0 * TARGET);
    print!(
        "{}",
        table(&rows, &theirs, &peer).print(if options.markdown { Style::Markdown } else { Style::Text })
    );
    Ok(())
}

fn table(rows: &[(&str, Vec<Perplexity>)], theirs: &Estimate, peer: &LlamaCpp) -> Table {
    let mut table =
        Table::new(&["engine", "KV", ">perplexity", ">+/-", ">difference", ">largest of a chunk", ""]);
    for (kv, found) in rows {
        let Some(last) = found.last() else { continue };
        let difference = last.value() / theirs.value - 1.0;
        table.row(vec![
            "AUTON".into(),
            (*kv).to_owned(),
            format!("{:.4}", last.value()),
            format!("{:.4}", last.error()),
            format!("{:+.3} %", 100.0 * difference),
            format!("{:.3} %", 100.0 * largest_difference(found, &theirs.chunks)),
            if difference.abs() <= TARGET { "met" } else { "missed" }.into(),
        ]);
    }
    table.row(vec![
        peer.name(),
        "F16".into(),
        format!("{:.4}", theirs.value),
        format!("{:.4}", theirs.error),
        "-".into(),
        "-".into(),
        String::new(),
    ]);
    table
}

/// The largest relative difference between the running estimates: other tokens, or a chunk that is fed otherwise, show here
/// though they may cancel out in the end.
fn largest_difference(ours: &[Perplexity], theirs: &[f64]) -> f64 {
    ours.iter().zip(theirs).map(|(our, their)| (our.value() / their - 1.0).abs()).fold(0.0, f64::max)
}

/// Tokens of the text, chunks that were read, and our running sums.
fn ours(
    model: &[u8],
    text: &str,
    kv: KvFormat,
    options: &Options,
) -> Result<(usize, usize, Vec<Perplexity>)> {
    let (threads, clock, mut memory) =
        (Threads::new(options.threads), StdClock::new(), model_memory(POOL_BYTES)?);
    let gguf = Gguf::parse(model).context("the file is no usable GGUF")?;
    let load = LoadOptions { context: Some(CHUNK), kv, ..LoadOptions::default() };
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, load)?;
    let mut tokens = Vec::new();
    // As llama.cpp reads it: what looks like a special token is text, but the beginning-of-sequence token is put first.
    engine.tokenizer().encode_parts([("", Special::Parse), (text, Special::None)], &mut tokens);
    let chunks = (tokens.len() / CHUNK).min(options.chunks.unwrap_or(usize::MAX));
    if tokens.len() < 2 * CHUNK || chunks == 0 {
        bail!("the text has {} tokens; at least {} are needed (two chunks)", tokens.len(), 2 * CHUNK);
    }
    let mut sums = Vec::new();
    engine.perplexity(&tokens[..chunks * CHUNK], CHUNK, &mut |sum| {
        sums.push(*sum);
        eprintln!("AUTON, {kv:?}: chunk {} of {chunks}: {:.4}", sums.len(), sum.value());
    })?;
    Ok((tokens.len(), chunks, sums))
}

/// Name and content of the text. Its last line break is left out, as llama.cpp's `-f` does.
fn read_text(path: Option<&Path>) -> Result<(String, String)> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read as UTF-8 text", path.display()))
    };
    let (name, mut text) = match path {
        Some(path) => (path.display().to_string(), read(path)?),
        None => {
            let root = Workspace::find().root;
            let texts = DEFAULT_TEXTS.map(|name| read(&root.join(name)));
            (DEFAULT_TEXTS.join(" and "), texts.into_iter().collect::<Result<String>>()?)
        }
    };
    if text.ends_with('\n') {
        text.pop();
    }
    Ok((name, text))
}

/// Gives `work` a file with `text`, which goes afterwards.
fn with_text_file<T>(text: &str, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let path = std::env::temp_dir().join(format!("auton-perplexity-{}.txt", std::process::id()));
    // The line break that llama.cpp takes away.
    std::fs::write(&path, format!("{text}\n"))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let result = work(&path);
    let _ = std::fs::remove_file(&path);
    result
}

fn format_named(name: &str) -> Result<(&'static str, KvFormat)> {
    let found = FORMATS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.with_context(|| {
        let names: Vec<&str> = FORMATS.iter().map(|(known, _)| *known).collect();
        format!("`{name}` is no format of keys and values; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_not_there_is_refused_with_the_choice() {
        assert_eq!(format_named("Float").unwrap().1, KvFormat::Float);
        let error = format_named("q3").unwrap_err().to_string();
        assert!(error.contains("`q3`") && error.contains("integer"), "{error}");
    }

    #[test]
    fn the_text_is_what_llama_cpp_reads_from_the_file() {
        let (_, text) = read_text(None).unwrap();
        let seen = with_text_file(&text, |path| Ok(std::fs::read_to_string(path)?)).unwrap();
        assert_eq!(seen.strip_suffix('\n'), Some(text.as_str()));
        assert!(read_text(Some(Path::new("/no/such.txt"))).unwrap_err().to_string().contains("/no/such.txt"));
    }
}
