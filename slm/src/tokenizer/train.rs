//! Training and its check.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use indicatif::ProgressBar;
use rayon::prelude::*;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::{AddedToken, Tokenizer, decoders};

use super::SPECIAL;
use crate::corpus::Document;
use crate::data::order::hash;
use crate::data::{gather, split_of};
use crate::run_folder::{RunFolder, Split};

/// How text is cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Byte-level byte-pair encoding: what the models of this project use; loses nothing.
    Bpe,
    /// WordPiece, as of BERT: words outside its vocabulary become `[UNK]`.
    Wordpiece,
    /// A unigram language model, as of SentencePiece.
    Unigram,
}

/// What to train.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// The folder of the run.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// How text is cut into tokens.
    #[arg(long, value_enum, default_value = "bpe")]
    pub kind: Kind,
    /// Tokens in all.
    #[arg(long, default_value_t = 4096)]
    pub vocab: usize,
    /// Draws the documents that are looked at, and splits as `data build` does.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much text is looked at.
    #[arg(long, default_value = "16MB", value_parser = crate::corpus::size)]
    pub sample: usize,
    /// A text of your own, or a folder of texts, beside the run's corpus.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub text: Vec<PathBuf>,
}

/// Trains, checks, and writes the run's `tokenizer.json`.
pub fn train(args: &TrainArgs) -> Result<()> {
    let least = match args.kind {
        Kind::Bpe => 256 + SPECIAL.len(),
        Kind::Wordpiece | Kind::Unigram => 200,
    };
    ensure!(
        (least..=1 << 16).contains(&args.vocab),
        "a vocabulary of {} tokens cannot be made: name {least} to 65536",
        args.vocab
    );
    let run = RunFolder::new(&args.run);
    let mut documents = gather(&run, &args.text)?.documents;
    // Marks of conversations are tokens of their own and no text.
    documents.retain(|d| split_of(d, args.seed) == Split::Train && d.source != "chat");
    ensure!(
        !documents.is_empty(),
        "no document is left to train on: the corpus is too small, or another --seed is needed"
    );
    documents.sort_by_cached_key(|d| hash(args.seed, &[&d.source, &d.name, "tokenizer"]));
    let mut bytes = 0;
    let enough = documents.iter().position(|d| {
        bytes += d.text.len();
        bytes > args.sample
    });
    documents.truncate(enough.unwrap_or(documents.len()).max(1));

    let spinner =
        ProgressBar::new_spinner().with_message(format!("tokenizer from {} documents", documents.len()));
    spinner.enable_steady_tick(Duration::from_millis(200));
    let mut tokenizer = untrained(args.kind)?;
    let mut trainer = trainer(args.kind, args.vocab)?;
    tokenizer
        .train(&mut trainer, documents.iter().map(|d| d.text.as_str()))
        .map_err(|e| anyhow!("the tokenizer cannot be trained: {e}"))?;
    spinner.finish_and_clear();
    for (id, special) in (0u32..).zip(SPECIAL) {
        let found = tokenizer.token_to_id(special);
        ensure!(found == Some(id), "the token {special} has the number {found:?}, not {id}");
    }
    check(&tokenizer, args.kind, &documents)?;
    let made = tokenizer.get_vocab_size(true);
    if made < args.vocab {
        println!("note: the texts give only {made} of the {} tokens", args.vocab);
    }
    let file = run.tokenizer();
    let unfinished = file.with_extension("json.unfinished");
    std::fs::create_dir_all(run.path()).with_context(|| format!("cannot make {}", run.path().display()))?;
    tokenizer.save(&unfinished, true).map_err(|e| anyhow!("cannot write {}: {e}", unfinished.display()))?;
    std::fs::rename(&unfinished, &file).with_context(|| format!("cannot write {}", file.display()))
}

fn untrained(kind: Kind) -> Result<Tokenizer> {
    let fault = |e: tokenizers::Error| anyhow!("the tokenizer cannot be set up: {e}");
    let mut tokenizer;
    match kind {
        Kind::Bpe => {
            tokenizer = Tokenizer::new(BPE::default());
            // llama.cpp's pre-tokenizer "smollm": digits apart, then GPT-2's pattern.
            let cut = Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]);
            tokenizer.with_pre_tokenizer(Some(cut));
            tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
        }
        Kind::Wordpiece => {
            let model = WordPiece::builder().unk_token("[UNK]".into()).build().map_err(fault)?;
            tokenizer = Tokenizer::new(model);
            tokenizer.with_pre_tokenizer(Some(Whitespace {}));
            tokenizer.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
        }
        Kind::Unigram => {
            tokenizer = Tokenizer::new(Unigram::default());
            let spaces = Metaspace::new('▁', PrependScheme::Never, true);
            tokenizer.with_pre_tokenizer(Some(spaces.clone()));
            tokenizer.with_decoder(Some(spaces));
        }
    }
    Ok(tokenizer)
}

fn trainer(kind: Kind, vocabulary: usize) -> Result<TrainerWrapper> {
    let mut special: Vec<AddedToken> = SPECIAL.map(|s| AddedToken::from(s, true)).to_vec();
    Ok(match kind {
        Kind::Bpe => BpeTrainer::builder()
            .vocab_size(vocabulary)
            .show_progress(false)
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build()
            .into(),
        Kind::Wordpiece => {
            special.push(AddedToken::from("[UNK]", true));
            WordPieceTrainer::builder()
                .vocab_size(vocabulary)
                .show_progress(false)
                .special_tokens(special)
                .build()
                .into()
        }
        Kind::Unigram => {
            special.push(AddedToken::from("<unk>", true));
            let built = UnigramTrainer::builder()
                .vocab_size(vocabulary as u32)
                .show_progress(false)
                .special_tokens(special)
                .unk_token(Some("<unk>".into()))
                .build();
            built.map_err(|e| anyhow!("the unigram model cannot be set up: {e}"))?.into()
        }
    })
}

/// Says how well the tokenizer does; byte-level BPE must give every text back byte for byte.
fn check(tokenizer: &Tokenizer, kind: Kind, documents: &[Document]) -> Result<()> {
    let mut plain = tokenizer.clone();
    plain.set_encode_special_tokens(true);
    let each = documents.par_iter().map(|document| -> Result<(usize, usize, usize)> {
        let fault = |e: tokenizers::Error| anyhow!("{} {}: {e}", document.source, document.name);
        let coded = plain.encode_fast(document.text.as_str(), false).map_err(fault)?;
        let back = plain.decode(coded.get_ids(), false).map_err(fault)?;
        Ok((document.text.len(), coded.len(), usize::from(back == document.text)))
    });
    let sums: Vec<(usize, usize, usize)> = each.collect::<Result<_>>()?;
    let (bytes, tokens, same) = sums.iter().fold((0, 0, 0), |(b, t, s), n| (b + n.0, t + n.1, s + n.2));
    if kind == Kind::Bpe {
        if same < documents.len() {
            bail!(
                "{} of {} documents do not come back from their tokens byte for byte",
                documents.len() - same,
                documents.len()
            );
        }
        let missing = ByteLevel::alphabet()
            .into_iter()
            .filter(|c| tokenizer.token_to_id(&c.to_string()).is_none())
            .count();
        ensure!(missing == 0, "{missing} of the 256 bytes have no token");
    }
    println!(
        "tokenizer: {} tokens, {:.3} bytes a token on {} documents, {same} of which come back byte for byte",
        tokenizer.get_vocab_size(true),
        bytes as f64 / tokens.max(1) as f64,
        documents.len()
    );
    Ok(())
}
