//! `auton data build`: cleaned documents, split, shuffled and as tokens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use llm::random::SplitMix64;
use rayon::prelude::*;
use serde::Serialize;
use tokenizers::Tokenizer;

use super::clean::Cleaned;
use super::gather::gather;
use super::order::shuffled;
use super::split;
use crate::corpus::{Document, bar, document, write_json};
use crate::run_folder::{RunFolder, Split};
use crate::table::{Table, grouped, mib};
use crate::tokenizer::{END_OF_TEXT, SPECIAL};

/// Documents that are tokenised together.
const BATCH: usize = 2048;

/// What to build from.
#[derive(Debug, Clone, clap::Args)]
pub struct BuildArgs {
    /// The folder of the run.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// A text of your own, or a folder of texts, beside the run's corpus.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub text: Vec<PathBuf>,
    /// Splits and shuffles.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `data/data.json`.
#[derive(Serialize)]
struct Manifest {
    seed: u64,
    vocabulary: usize,
    tokens: BTreeMap<&'static str, u64>,
    bytes_per_token: f64,
    /// By split, then by source.
    sources: BTreeMap<&'static str, BTreeMap<String, Sum>>,
    cleaned: Cleaned,
}

#[derive(Default, Clone, Copy, Serialize)]
struct Sum {
    documents: u64,
    bytes: u64,
    tokens: u64,
}

/// Writes the run's `data/`.
pub fn build(args: &BuildArgs) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let coder = Coder::open(&run.tokenizer())?;
    let gathered = gather(&run, &args.text)?;
    let mut splits: BTreeMap<&'static str, Vec<Document>> = BTreeMap::new();
    for document in gathered.documents {
        splits.entry(split::of(&document, args.seed).name()).or_default().push(document);
    }

    let progress = bar(splits.values().map(|d| d.len() as u64).sum(), "tokenise");
    let mut manifest = Manifest {
        seed: args.seed,
        vocabulary: coder.vocabulary(),
        tokens: BTreeMap::new(),
        bytes_per_token: 0.0,
        sources: BTreeMap::new(),
        cleaned: gathered.cleaned,
    };
    std::fs::create_dir_all(run.join("data"))
        .with_context(|| format!("cannot make {}", run.join("data").display()))?;
    for split in Split::ALL {
        let mut documents = splits.remove(split.name()).unwrap_or_default();
        if split == Split::Train {
            ensure!(
                !documents.is_empty(),
                "no document is left to train on: the corpus is too small, or another --seed is needed"
            );
            documents = shuffled(documents, &mut SplitMix64::new(args.seed));
        } else {
            document::write(&run.documents(split), &documents)?;
        }
        let sums = write_tokens(&run.tokens(split), &documents, &coder, &progress)?;
        manifest.tokens.insert(split.name(), sums.values().map(|s| s.tokens).sum());
        manifest.sources.insert(split.name(), sums);
    }
    progress.finish_and_clear();
    let all = manifest.sources.values().flat_map(BTreeMap::values);
    let (bytes, tokens) = all.fold((0, 0), |(b, t), s| (b + s.bytes, t + s.tokens));
    manifest.bytes_per_token = bytes as f64 / tokens.max(1) as f64;
    write_json(&run.join("data/data.json"), &manifest)?;
    print(&manifest);
    Ok(())
}

fn print(manifest: &Manifest) {
    let mut table =
        Table::new(&["split", "source", ">documents", ">text", ">tokens", ">bytes/token", ">share"]);
    for (split, sources) in &manifest.sources {
        let all: u64 = sources.values().map(|s| s.tokens).sum();
        for (source, sum) in sources {
            table.row([
                split.to_string(),
                source.clone(),
                grouped(sum.documents),
                mib(sum.bytes),
                grouped(sum.tokens),
                format!("{:.2}", sum.bytes as f64 / sum.tokens.max(1) as f64),
                format!("{:.1} %", 100.0 * sum.tokens as f64 / all.max(1) as f64),
            ]);
        }
    }
    print!("{table}");
    let c = &manifest.cleaned;
    println!(
        "cleaned: {} duplicates and {} near-duplicates dropped, {} faults of UTF-8 replaced, {} control characters dropped, {} lines cut",
        c.exact_duplicates, c.near_duplicates, c.invalid_utf8, c.control_characters, c.cut_lines
    );
    let tokens: Vec<String> =
        manifest.tokens.iter().map(|(split, n)| format!("{split} {}", grouped(*n))).collect();
    println!("tokens: {}; {:.3} bytes a token", tokens.join(", "), manifest.bytes_per_token);
}

/// Text to tokens.
pub struct Coder {
    /// Marks like `<|im_end|>` in a text are characters.
    plain: Tokenizer,
    /// They are tokens: in generated conversations only.
    marked: Tokenizer,
}

impl Coder {
    /// The tokenizer in `file`.
    pub fn open(file: &Path) -> Result<Self> {
        ensure!(file.is_file(), "there is no {}: run `auton tokenizer train` first", file.display());
        let marked =
            Tokenizer::from_file(file).map_err(|e| anyhow!("{} is no tokenizer: {e}", file.display()))?;
        ensure!(
            marked.token_to_id(SPECIAL[0]) == Some(END_OF_TEXT.into()),
            "{}: the token {END_OF_TEXT} is not {}, which ends documents",
            file.display(),
            SPECIAL[0]
        );
        let mut plain = marked.clone();
        plain.set_encode_special_tokens(true);
        let coder = Coder { plain, marked };
        ensure!(
            coder.vocabulary() <= 1 << 16,
            "{} has {} tokens, but data hold 16 bits a token: at most 65,536",
            file.display(),
            coder.vocabulary()
        );
        Ok(coder)
    }

    /// Tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.marked.get_vocab_size(true)
    }

    /// A token as the vocabulary writes it.
    pub fn token(&self, id: u16) -> Option<String> {
        self.marked.id_to_token(id.into())
    }

    /// The tokens of a document, without the one that ends it.
    pub fn encode(&self, document: &Document) -> Result<Vec<u16>> {
        let tokenizer = if document.source == "chat" { &self.marked } else { &self.plain };
        let coded = tokenizer
            .encode_fast(document.text.as_str(), false)
            .map_err(|e| anyhow!("{} {}: {e}", document.source, document.name))?;
        coded.get_ids().iter().map(|id| Ok(u16::try_from(*id)?)).collect()
    }
}

/// Writes documents as tokens, each ended by the end-of-text token; the file appears whole or not at all.
fn write_tokens(
    file: &Path,
    documents: &[Document],
    coder: &Coder,
    progress: &indicatif::ProgressBar,
) -> Result<BTreeMap<String, Sum>> {
    let named = || format!("cannot write {}", file.display());
    let unfinished = file.with_extension("bin.unfinished");
    let sums = write_all(&unfinished, documents, coder, progress)
        .inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
        .with_context(named)?;
    std::fs::rename(&unfinished, file).with_context(named)?;
    Ok(sums)
}

fn write_all(
    file: &Path,
    documents: &[Document],
    coder: &Coder,
    progress: &indicatif::ProgressBar,
) -> Result<BTreeMap<String, Sum>> {
    let mut out = BufWriter::new(File::create(file)?);
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for batch in documents.chunks(BATCH) {
        let coded: Vec<Vec<u16>> = batch.par_iter().map(|d| coder.encode(d)).collect::<Result<_>>()?;
        for (document, mut ids) in batch.iter().zip(coded) {
            ids.push(END_OF_TEXT);
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            out.write_all(&bytes)?;
            let sum = sums.entry(document.source.clone()).or_default();
            sum.documents += 1;
            sum.bytes += document.text.len() as u64;
            sum.tokens += ids.len() as u64;
        }
        progress.inc(batch.len() as u64);
    }
    out.into_inner().map_err(|e| e.into_error())?.sync_all()?;
    Ok(sums)
}
