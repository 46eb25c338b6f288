//! `auton data analyze`: what a run's documents are, before anybody trains on them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

use super::Coder;
use super::clean::Cleaned;
use super::duplicates::{self, Copy};
use super::gather::read;
use crate::corpus::Document;
use crate::run_folder::RunFolder;
use crate::table::{Table, grouped, mib};
use crate::tokenizer::SPECIAL;

/// What to look at.
#[derive(Debug, Clone, clap::Args)]
pub struct AnalyzeArgs {
    /// The folder of the run.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// A text of your own, or a folder of texts, beside the run's corpus.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub text: Vec<PathBuf>,
    /// Print one JSON object instead.
    #[arg(long)]
    pub json: bool,
}

/// What is found; `--json` prints it.
#[derive(Debug, Serialize)]
struct Findings {
    /// By source, and all together under `all`.
    sources: BTreeMap<String, Figures>,
    /// What cleaning replaces or drops.
    cleaned: Cleaned,
    /// How the vocabulary is used; none without a tokenizer.
    tokens: Option<TokenUse>,
}

#[derive(Debug, Default, Serialize)]
struct Figures {
    documents: u64,
    bytes: u64,
    longest_document: u64,
    words: u64,
    /// Different words, in lower case.
    vocabulary: u64,
    /// Per cent of the characters that are not ASCII.
    not_ascii_percent: f64,
    /// Documents that are, byte for byte, another one before.
    exact_duplicates: u64,
    /// Documents that are nearly another one before.
    near_duplicates: u64,
    tokens: Option<u64>,
    bytes_per_token: Option<f64>,
}

#[derive(Debug, Serialize)]
struct TokenUse {
    vocabulary: usize,
    /// Tokens that occur nowhere, but for the special ones.
    unused: usize,
    /// Per cent of all tokens that stand for one byte: text that the vocabulary covers badly.
    single_bytes_percent: f64,
    /// Per cent of all tokens that `[UNK]` or `<unk>` are: text that is lost.
    unknown_percent: f64,
}

/// Prints what the run's documents are.
pub fn analyze(args: &AnalyzeArgs) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let all = read(&run, &args.text)?;
    let coder = if run.tokenizer().is_file() { Some(Coder::open(&run.tokenizer())?) } else { None };
    let findings = find(&all.documents, all.cleaned, coder.as_ref())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print(&findings);
    }
    Ok(())
}

fn find(documents: &[Document], cleaned: Cleaned, coder: Option<&Coder>) -> Result<Findings> {
    let texts: Vec<&str> = documents.iter().map(|d| d.text.as_str()).collect();
    let copies = duplicates::find(&texts);
    let coded: Option<Vec<Vec<u16>>> = coder
        .map(|coder| documents.par_iter().map(|d| coder.encode(d)).collect::<Result<_>>())
        .transpose()?;

    let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, document) in documents.iter().enumerate() {
        members.entry(document.source.clone()).or_default().push(at);
    }
    members.insert("all".into(), (0..documents.len()).collect());
    let sources = members.into_iter().map(|(source, members)| {
        let of = |at: &usize| (texts.get(*at).copied().unwrap_or(""), copies.get(*at).copied().flatten());
        let mut figures = text_figures(members.iter().map(of));
        if let Some(coded) = &coded {
            let tokens: usize = members.iter().filter_map(|at| coded.get(*at)).map(Vec::len).sum();
            figures.tokens = Some(tokens as u64);
            figures.bytes_per_token = Some(figures.bytes as f64 / tokens.max(1) as f64);
        }
        (source, figures)
    });
    let sources = sources.collect();
    let tokens = coder.zip(coded).map(|(coder, coded)| token_use(coder, &coded));
    Ok(Findings { sources, cleaned, tokens })
}

fn text_figures<'t>(texts: impl Iterator<Item = (&'t str, Option<Copy>)>) -> Figures {
    let mut figures = Figures::default();
    let mut vocabulary: HashSet<String> = HashSet::new();
    let (mut characters, mut not_ascii) = (0u64, 0u64);
    for (text, copy) in texts {
        figures.documents += 1;
        figures.bytes += text.len() as u64;
        figures.longest_document = figures.longest_document.max(text.len() as u64);
        match copy {
            Some(Copy::Exact(_)) => figures.exact_duplicates += 1,
            Some(Copy::Near(_)) => figures.near_duplicates += 1,
            None => {}
        }
        characters += text.chars().count() as u64;
        not_ascii += text.chars().filter(|c| !c.is_ascii()).count() as u64;
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            figures.words += 1;
            let word = word.to_lowercase();
            if !vocabulary.contains(&word) {
                vocabulary.insert(word);
            }
        }
    }
    figures.vocabulary = vocabulary.len() as u64;
    figures.not_ascii_percent = 100.0 * not_ascii as f64 / characters.max(1) as f64;
    figures
}

fn token_use(coder: &Coder, coded: &[Vec<u16>]) -> TokenUse {
    let mut counts: HashMap<u16, u64> = HashMap::new();
    coded.iter().flatten().for_each(|id| *counts.entry(*id).or_default() += 1);
    let all: u64 = counts.values().sum();
    let sum = |wanted: &dyn Fn(&str) -> bool| {
        let named = counts.iter().filter(|(id, _)| coder.token(**id).is_some_and(|t| wanted(&t)));
        100.0 * named.map(|(_, n)| n).sum::<u64>() as f64 / all.max(1) as f64
    };
    // One character stands for one byte in a byte-level vocabulary. Letters and digits alone are no sign of bad cover.
    let single = |token: &str| token.chars().count() == 1 && !token.is_ascii();
    let special = SPECIAL.len();
    TokenUse {
        vocabulary: coder.vocabulary(),
        unused: (special..coder.vocabulary()).filter(|id| !counts.contains_key(&(*id as u16))).count(),
        single_bytes_percent: sum(&|token| single(token) && !matches!(token, "Ġ" | "Ċ" | "ĉ" | "▁")),
        unknown_percent: sum(&|token| matches!(token, "[UNK]" | "<unk>")),
    }
}

fn print(findings: &Findings) {
    let mut table = Table::new(&[
        "source",
        ">documents",
        ">text",
        ">longest",
        ">words",
        ">vocabulary",
        ">not ASCII",
        ">same",
        ">near",
        ">tokens",
        ">bytes/token",
    ]);
    let (all, sources): (Vec<_>, Vec<_>) = findings.sources.iter().partition(|(name, _)| *name == "all");
    for (source, f) in sources.into_iter().chain(all) {
        table.row([
            source.clone(),
            grouped(f.documents),
            mib(f.bytes),
            mib(f.longest_document),
            grouped(f.words),
            grouped(f.vocabulary),
            format!("{:.2} %", f.not_ascii_percent),
            grouped(f.exact_duplicates),
            grouped(f.near_duplicates),
            f.tokens.map_or("-".into(), grouped),
            f.bytes_per_token.map_or("-".into(), |n| format!("{n:.2}")),
        ]);
    }
    print!("{table}");
    let c = &findings.cleaned;
    println!(
        "to clean: {} faults of UTF-8, {} control characters, {} lines over {} MiB",
        c.invalid_utf8,
        c.control_characters,
        c.cut_lines,
        super::gather::LONGEST_LINE >> 20
    );
    match &findings.tokens {
        None => println!("no tokenizer yet: `auton tokenizer train` makes one"),
        Some(t) => println!(
            "tokenizer: {} tokens, {} of them unused; {:.2} % of the text's tokens are single bytes outside ASCII, {:.2} % unknown",
            grouped(t.vocabulary as u64),
            t.unused,
            t.single_bytes_percent,
            t.unknown_percent
        ),
    }
}
