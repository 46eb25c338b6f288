//! The files that `bench llm` measures: one model in the quantisations that the targets name, made by llama.cpp's own
//! `llama-quantize`, so that both engines read what its users have.
//!
//! They are kept in `~/.cache/auton/bench-models`, each with a stamp that says what it was made from; another stamp makes
//! it anew.

use super::llama_cpp::{LlamaCpp, VERSION};
use super::random_model;
use crate::file_lock::FileLock;
use crate::model::fetch::{self, write_atomically};
use crate::workspace::{created, user_cache_dir};
use anyhow::{Context, Result};
use llm::gguf::Gguf;
use std::path::{Path, PathBuf};

/// The model behind a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// SmolLM2-135M: width 576.
    SmolLm2,
    /// Random weights in a shape that holds K-quants: width 1024.
    Wide,
}

impl Shape {
    /// The name in tables and filters.
    pub fn name(self) -> &'static str {
        match self {
            Shape::SmolLm2 => "SmolLM2-135M",
            Shape::Wide => "Wide-186M",
        }
    }

    /// What a reader of the figures must know.
    pub fn note(self) -> &'static str {
        match self {
            Shape::SmolLm2 => {
                "the pinned Q4_1 file; Q4_0 and Q8_0 are requantised from it by llama-quantize (for speed, not for quality)"
            }
            Shape::Wide => {
                "RANDOM weights (speed only), 12 layers, width 1024, FFN 2816, 16/4 heads, SmolLM2's vocabulary: \
                 a shape that holds K-quants, which SmolLM2's width of 576 does not"
            }
        }
    }
}

/// A file that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The model.
    pub shape: Shape,
    /// `llama-quantize`'s name for the mixture of types.
    pub quantisation: &'static str,
}

/// All of them, in the order of the tables.
pub const ENTRIES: [Entry; 7] = [
    Entry { shape: Shape::SmolLm2, quantisation: "Q4_0" },
    Entry { shape: Shape::SmolLm2, quantisation: "Q4_1" },
    Entry { shape: Shape::SmolLm2, quantisation: "Q8_0" },
    Entry { shape: Shape::Wide, quantisation: "Q4_0" },
    Entry { shape: Shape::Wide, quantisation: "Q4_K_S" },
    Entry { shape: Shape::Wide, quantisation: "Q4_K_M" },
    Entry { shape: Shape::Wide, quantisation: "Q6_K" },
];

/// The quantisation of the pinned file.
const PINNED: &str = "Q4_1";

impl Entry {
    /// The file; made where it is not there yet.
    pub fn file(&self) -> Result<PathBuf> {
        if self.shape == Shape::SmolLm2 && self.quantisation == PINNED {
            return fetch::fetch();
        }
        let cache =
            user_cache_dir().context("the models are kept in ~/.cache/auton, and that cannot be written")?;
        let folder = created(cache.join("bench-models"))?;
        let _turn = FileLock::acquire(&folder.join("lock"), "making the models that are measured")?;
        let target = folder.join(format!("{}.{}.gguf", self.shape.name(), self.quantisation));
        let stamp = format!("{}; llama-quantize {VERSION} {}", self.origin(), self.quantisation);
        make(&target, &stamp, &|part| {
            let source = match self.shape {
                Shape::SmolLm2 => fetch::fetch()?,
                Shape::Wide => wide_in_f16(&folder)?,
            };
            LlamaCpp::build()?.quantise(&source, part, self.quantisation)
        })?;
        Ok(target)
    }

    /// What the file is made from.
    fn origin(&self) -> String {
        match self.shape {
            Shape::SmolLm2 => format!("{} {}", fetch::FILE_NAME, fetch::SHA256),
            Shape::Wide => format!("{}; vocabulary of {}", random_model::VERSION, fetch::SHA256),
        }
    }
}

/// The model with random weights, before it is quantised.
fn wide_in_f16(folder: &Path) -> Result<PathBuf> {
    let target = folder.join(format!("{}.F16.gguf", Shape::Wide.name()));
    let stamp = format!("{}; vocabulary of {}", random_model::VERSION, fetch::SHA256);
    make(&target, &stamp, &|part| {
        let smollm2 = std::fs::read(fetch::fetch()?)?;
        let file = random_model::write(&Gguf::parse(&smollm2).context("the pinned model cannot be read")?)?;
        std::fs::write(part, file).with_context(|| format!("{} cannot be written", part.display()))
    })?;
    Ok(target)
}

/// Makes `target` unless it is there with this stamp. The stamp is written last, so a file that was cut short has none.
fn make(target: &Path, stamp: &str, write: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let note = target.with_extension("stamp");
    if target.is_file() && std::fs::read_to_string(&note).is_ok_and(|made| made == stamp) {
        return Ok(());
    }
    eprintln!("making {} (once)", target.display());
    let part = target.with_extension("part");
    if let Err(error) = write(&part) {
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    let _ = std::fs::remove_file(&note);
    std::fs::rename(&part, target).with_context(|| format!("{} cannot be written", target.display()))?;
    write_atomically(&note, stamp.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::cell::Cell;

    #[test]
    fn a_file_is_made_once_for_each_stamp_and_a_failure_leaves_nothing() {
        let folder = std::env::temp_dir().join(format!("auton-bench-models-{}", std::process::id()));
        let target = created(folder.clone()).unwrap().join("a.gguf");
        let calls = Cell::new(0);
        let write = |part: &Path| {
            calls.set(calls.get() + 1);
            Ok(std::fs::write(part, [calls.get()])?)
        };
        for (stamp, made) in [("one", 1), ("one", 1), ("two", 2)] {
            make(&target, stamp, &write).unwrap();
            assert_eq!((calls.get(), std::fs::read(&target).unwrap()), (made, vec![made]));
        }
        let error = make(&target, "three", &|part| {
            std::fs::write(part, b"half")?;
            bail!("no space left")
        });
        assert_eq!(error.unwrap_err().to_string(), "no space left");
        assert_eq!(std::fs::read(&target).unwrap(), [2]);
        assert!(!target.with_extension("part").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
