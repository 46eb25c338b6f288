//! `auton quantize`: the trained model of a run with fewer bits for each weight, and what that costs.
//!
//! Two methods for each type: `plain` rounds every number by itself as llama.cpp's reference does; `gptq` rounds by what
//! the matrices are multiplied with on tokens of the train split. Matrices of the blocks are rounded so; the embedding,
//! which is the head as well, is always rounded plainly and kept in 8 bits ([`Type::embedding`]).
//! Where no method is asked for, both are made. Every file is measured on the same tokens of the valid split, by the
//! engine that runs in the kernel, and the table is kept in `gguf/quantize.json`.

pub mod block;
pub mod calibrate;
pub mod gptq;
pub mod hessian;
pub mod measure;
pub mod plain;
pub mod q4_0;
pub mod q4_k;
pub mod q8_0;
pub mod record;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::export::{Source, Type};
use crate::run_folder::{RunFolder, Split};
use crate::whole_file;
use measure::Surprise;
use record::{Report, Row};

/// How numbers are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// Each by itself.
    Plain,
    /// By what the matrices are multiplied with.
    Gptq,
}

impl Method {
    /// As files and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Plain => "plain",
            Method::Gptq => "gptq",
        }
    }
}

/// Options of `quantize`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The run's folder.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// Types to make (default: all that the model's widths allow).
    #[arg(long = "type", value_enum, value_delimiter = ',')]
    pub types: Vec<Type>,
    /// How to round (default: both ways, to compare them).
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Tokens of the train split that gptq looks at.
    #[arg(long, default_value_t = 32_768)]
    pub calibration: usize,
    /// Tokens of the valid split that the perplexity is measured on; 0: it is not measured.
    #[arg(long, default_value_t = 32_768)]
    pub perplexity: usize,
    /// The licence to record, an SPDX expression.
    #[arg(long, default_value = env!("CARGO_PKG_LICENSE"))]
    pub license: String,
}

/// `auton quantize`.
pub fn quantize(args: &Args) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let source = Source::read(&run, &args.license)?;
    let types = types(args, &source)?;
    let methods = args.method.map_or(vec![Method::Plain, Method::Gptq], |method| vec![method]);
    let calibration = if methods.contains(&Method::Gptq) {
        spread(&tokens(&run, Split::Train, &source)?, source.model.shape.context as usize, args.calibration)
    } else {
        Vec::new()
    };
    let valid = match args.perplexity {
        0 => Vec::new(),
        limit => {
            let mut valid = tokens(&run, Split::Valid, &source)?;
            valid.truncate(limit);
            let context = source.model.shape.context as usize;
            ensure!(
                valid.len() >= context,
                "{} has {} tokens, less than one context of {context}: build more data, or pass --perplexity 0",
                run.tokens(Split::Valid).display(),
                valid.len()
            );
            valid
        }
    };

    let context = source.model.shape.context as usize;
    let measured = |name: &str, file: &[u8]| -> Result<Option<Surprise>> {
        (!valid.is_empty()).then(|| measure::surprise(name, file, &valid, context)).transpose()
    };
    let row = |kind: Type, method: &str, bytes: usize| {
        Row::new(&source.place(kind, method), kind, method, bytes, &source.model.shape)
    };
    let full = source.gguf(Type::F32, "plain", &source.encode_plainly(Type::F32)?)?;
    let base = measured("F32", &full)?;
    let mut rows = vec![row(Type::F32, "plain", full.len()).measured(base.as_ref(), None)];
    for &kind in &types {
        for &method in &methods {
            let mut tensors = source.encode_plainly(kind)?;
            if method == Method::Gptq {
                tensors.extend(calibrate::round_blocks(&source.model, &calibration, kind.kind())?);
            }
            let bytes = source.gguf(kind, method.name(), &tensors)?;
            let place = source.place(kind, method.name());
            whole_file::write(&place, &bytes)?;
            let found = measured(&file_name(&place), &bytes)?;
            let mut row = row(kind, method.name(), bytes.len()).measured(found.as_ref(), base.as_ref());
            if method == Method::Gptq {
                row.calibration_tokens = calibration.len();
            }
            rows.push(row);
        }
    }
    let place = run.join("gguf/quantize.json");
    let read = valid.len() / context * context;
    let report = Report::new(&source.model.sha256, read, rows, Report::read(&place));
    whole_file::write(&place, report.json()?.as_bytes())?;
    print!("{}", report.table());
    Ok(())
}

/// The types asked for, or all that fit the widths (which is said).
fn types(args: &Args, source: &Source) -> Result<Vec<Type>> {
    if let Some(kind) = args.types.iter().find(|kind| matches!(kind, Type::F32 | Type::F16)) {
        bail!("{} is no quantised type: `auton export gguf` writes it", kind.kind());
    }
    if !args.types.is_empty() {
        return Ok(args.types.clone());
    }
    if source.model.shape.holds_k_quants() {
        return Ok(vec![Type::Q8_0, Type::Q4_0, Type::Q4K]);
    }
    eprintln!("note: some widths are no multiples of 256, so Q4_K is left out");
    Ok(vec![Type::Q8_0, Type::Q4_0])
}

/// Token ids of a split, checked against the vocabulary.
fn tokens(run: &RunFolder, split: Split, source: &Source) -> Result<Vec<u32>> {
    let file = run.tokens(split);
    let bytes = std::fs::read(&file)
        .with_context(|| format!("cannot read {}: `auton data build` writes it", file.display()))?;
    let (pairs, rest) = bytes.as_chunks::<2>();
    ensure!(rest.is_empty(), "{} ends in half a token: build the data again", file.display());
    let ids: Vec<u32> = pairs.iter().map(|pair| u32::from(u16::from_le_bytes(*pair))).collect();
    let rows = source.model.shape.vocabulary;
    if let Some(id) = ids.iter().find(|id| u64::from(**id) >= rows) {
        bail!(
            "{} holds token {id}, but the vocabulary has {rows}: they are of different runs",
            file.display()
        );
    }
    Ok(ids)
}

/// About `wanted` tokens: whole contexts from all over `tokens`, at equal distances.
fn spread(tokens: &[u32], context: usize, wanted: usize) -> Vec<u32> {
    let all: Vec<&[u32]> = tokens.chunks_exact(context.max(1)).collect();
    let count = wanted.div_ceil(context.max(1)).clamp(1, all.len().max(1));
    (0..count)
        .filter_map(|i| all.get(i * all.len() / count))
        .flat_map(|chunk| chunk.iter().copied())
        .collect()
}

fn file_name(place: &Path) -> String {
    place.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_comes_from_all_over_the_split() {
        let tokens: Vec<u32> = (0..103).collect();
        assert_eq!(spread(&tokens, 10, 30), (0..10).chain(30..40).chain(60..70).collect::<Vec<_>>());
        assert_eq!(spread(&tokens, 10, 1_000).len(), 100);
        assert!(spread(&tokens[..5], 10, 30).is_empty());
    }
}
