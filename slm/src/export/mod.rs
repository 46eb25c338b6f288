//! `auton export`: the trained model of a run in the forms that others read.
//!
//! `export gguf` writes `gguf/<name>.<TYPE>.gguf`, which the kernel and llama.cpp load; `export onnx` writes
//! `model.onnx`, the same graph for onnxruntime. Same weights, same bytes: nothing in the files depends on time or place.

pub mod gguf;
pub mod onnx;
pub mod vocabulary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use llm::gguf::GgmlType;
use rayon::prelude::*;

use crate::quantize::plain;
use crate::run_folder::RunFolder;
use crate::table::mib;
use crate::trained::{self, Trained};
use crate::whole_file;
use gguf::{Encoded, Facts};
use vocabulary::Vocabulary;

/// Element types of a file's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Type {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// 8 bits, one scale for each 32.
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits, one scale for each 32.
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits, a 6-bit scale and minimum for each 32 of 256.
    #[value(name = "q4_k")]
    Q4K,
}

impl Type {
    /// ggml's type.
    pub fn kind(self) -> GgmlType {
        match self {
            Type::F32 => GgmlType::F32,
            Type::F16 => GgmlType::F16,
            Type::Q8_0 => GgmlType::Q8_0,
            Type::Q4_0 => GgmlType::Q4_0,
            Type::Q4K => GgmlType::Q4_K,
        }
    }

    /// The type of the embedding in a file of this type: it is the head as well, and its errors meet every token, so the
    /// 4-bit files keep it in 8 bits.
    pub fn embedding(self) -> GgmlType {
        match self {
            Type::Q4_0 | Type::Q4K => GgmlType::Q8_0,
            other => other.kind(),
        }
    }
}

/// Options of `export gguf`.
#[derive(Debug, Clone, clap::Args)]
pub struct GgufArgs {
    /// The run's folder.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// The type of the matrices, each number rounded by itself; `auton quantize` rounds by what the model reads.
    #[arg(long = "type", value_enum, default_value = "f32")]
    pub kind: Type,
    /// The licence to record, an SPDX expression.
    #[arg(long, default_value = env!("CARGO_PKG_LICENSE"))]
    pub license: String,
}

/// A run's model ready to be written: weights and vocabulary, which belong together.
pub struct Source {
    /// The weights.
    pub model: Trained,
    /// The vocabulary.
    pub vocabulary: Vocabulary,
    run: RunFolder,
    license: String,
}

impl Source {
    /// Reads the model and the tokenizer of a run.
    pub fn read(run: &RunFolder, license: &str) -> Result<Source> {
        let model = Trained::read(run)?;
        let plain = !model.shape.name.is_empty() && !model.shape.name.contains(['/', '\\', '\0']);
        ensure!(
            plain,
            "the name {:?} in config.toml cannot be part of a file's name: change it",
            model.shape.name
        );
        let file = run.tokenizer();
        let named = || file.display().to_string();
        let json = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}: `auton tokenizer train` writes it", named()))?;
        let vocabulary = Vocabulary::parse(&json, model.shape.vocabulary as usize).with_context(named)?;
        Ok(Source { model, vocabulary, run: run.clone(), license: license.to_owned() })
    }

    /// Every tensor rounded by itself: matrices to the type's, the embedding to its embedding's, norms not at all.
    pub fn encode_plainly(&self, kind: Type) -> Result<BTreeMap<String, Encoded>> {
        let places = trained::places(&self.model.shape);
        let encoded = places.par_iter().map(|place| {
            let matrix = self.model.tensor(&place.name)?;
            let kind = match place.name.as_str() {
                trained::EMBEDDING | trained::HEAD => kind.embedding(),
                name if name.ends_with("norm.weight") => GgmlType::F32,
                _ => kind.kind(),
            };
            let data = plain::encode(&place.name, matrix, kind)?;
            Ok((place.name.clone(), Encoded { kind, data }))
        });
        encoded.collect()
    }

    /// The bytes of the file that holds these tensors.
    pub fn gguf(&self, kind: Type, method: &str, tensors: &BTreeMap<String, Encoded>) -> Result<Vec<u8>> {
        let (seed, chat) = data_facts(&self.run);
        let facts = Facts {
            kind: kind.kind(),
            method: method.to_owned(),
            license: self.license.clone(),
            run: run_name(self.run.path()),
            seed,
            chat,
        };
        gguf::write(&self.model, &self.vocabulary, &facts, tensors)
    }

    /// Where a file of this type belongs: `gguf/<name>.<TYPE>.gguf`, or `gguf/<name>.<TYPE>-<method>.gguf` where the
    /// method is not plain rounding.
    pub fn place(&self, kind: Type, method: &str) -> PathBuf {
        let method = if method == "plain" { String::new() } else { format!("-{method}") };
        self.run.join(format!("gguf/{}.{}{method}.gguf", self.model.shape.name, kind.kind()))
    }
}

/// `auton export gguf`.
pub fn gguf(args: &GgufArgs) -> Result<()> {
    let source = Source::read(&RunFolder::new(&args.run), &args.license)?;
    let bytes = source.gguf(args.kind, "plain", &source.encode_plainly(args.kind)?)?;
    let place = source.place(args.kind, "plain");
    whole_file::write(&place, &bytes)?;
    println!("{}: {}, {}", place.display(), args.kind.kind(), mib(bytes.len() as u64));
    Ok(())
}

fn run_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What `data/data.json` says: the seed, and whether there are conversations in the train split. A run without it (weights
/// from elsewhere) is no fault.
fn data_facts(run: &RunFolder) -> (Option<u64>, bool) {
    let text = std::fs::read_to_string(run.join("data/data.json")).unwrap_or_default();
    let data: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let chat = data["sources"]["train"]["chat"]["tokens"].as_u64();
    (data["seed"].as_u64(), chat.is_some_and(|tokens| tokens > 0))
}
