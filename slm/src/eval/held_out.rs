//! The data of a run, as the evaluation needs them: the documents of the test split with their tokens, and the streams that
//! the 3-grams are fitted on.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ngram::documents;
use crate::run_folder::{RunFolder, Split};

/// A document that was held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOut {
    /// The kind of text: `man`, `commands`, …
    pub source: String,
    /// Which one.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its tokens, without the one that ends it.
    pub tokens: Vec<u16>,
}

impl HeldOut {
    /// Whether it was written to be read by people, rather than generated from a list.
    pub fn is_prose(&self) -> bool {
        !["commands", "devices", "copy", "chat"].contains(&self.source.as_str())
    }
}

/// The data of a run.
pub struct Data {
    /// Tokens of the training split.
    pub train: Vec<u16>,
    /// Tokens of the validation split.
    pub valid: Vec<u16>,
    /// Documents of the test split, each text once, none that stands word for word in the training split.
    pub test: Vec<HeldOut>,
    /// Documents of the test split that stood there before.
    pub repeated: usize,
    /// Documents of the test split that were trained on.
    pub trained_on: usize,
}

/// A line of `data/test.jsonl`.
#[derive(Deserialize)]
struct Line {
    source: String,
    name: String,
    text: String,
}

impl Data {
    /// Reads the run's `data/`.
    pub fn read(run: &RunFolder) -> Result<Self> {
        let [train, valid, test] = Split::ALL.map(|split| tokens(&run.tokens(split)));
        let (train, valid, test) = (train?, valid?, test?);
        let file = run.documents(Split::Test);
        let held_out = lines(&file)?;
        let cut: Vec<&[u16]> = documents(&test).collect();
        ensure!(
            held_out.len() == cut.len(),
            "{} has {} documents but data/test.bin has {}; build the data again",
            file.display(),
            held_out.len(),
            cut.len()
        );
        ensure!(!train.is_empty(), "data/train.bin is empty; build the data again");

        let trained: HashSet<&[u16]> = documents(&train).collect();
        let mut seen = HashSet::new();
        let (mut test, mut repeated, mut trained_on) = (Vec::new(), 0, 0);
        for (Line { source, name, text }, tokens) in held_out.into_iter().zip(cut) {
            if trained.contains(tokens) {
                trained_on += 1;
            } else if !seen.insert(tokens) {
                repeated += 1;
            } else {
                test.push(HeldOut { source, name, text, tokens: tokens.to_vec() });
            }
        }
        ensure!(!test.is_empty(), "{} has no document that was not trained on", file.display());
        drop(trained);
        Ok(Data { train, valid, test, repeated, trained_on })
    }
}

/// Token ids, 16 bits each, little endian.
fn tokens(file: &Path) -> Result<Vec<u16>> {
    let bytes = std::fs::read(file)
        .with_context(|| format!("cannot read {}; `auton data build` makes it", file.display()))?;
    ensure!(bytes.len() % 2 == 0, "{} has an odd number of bytes; build the data again", file.display());
    Ok(bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect())
}

fn lines(file: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; `auton data build` makes it", file.display()))?;
    let numbered = text.lines().enumerate();
    numbered
        .map(|(n, line)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {}", file.display(), n + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(train: &[u16], test: &[u16], lines: &str) -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        std::fs::create_dir(run.join("data")).unwrap();
        let bytes = |tokens: &[u16]| tokens.iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<u8>>();
        for (split, tokens) in [(Split::Train, train), (Split::Valid, &[5, 0]), (Split::Test, test)] {
            std::fs::write(run.tokens(split), bytes(tokens)).unwrap();
        }
        std::fs::write(run.documents(Split::Test), lines).unwrap();
        (folder, run)
    }

    fn line(name: &str) -> String {
        format!("{{\"source\":\"man\",\"name\":\"{name}\",\"text\":\"text\"}}\n")
    }

    #[test]
    fn what_was_trained_on_or_stands_twice_is_left_out() {
        let lines: String = ["a", "b", "c", "d"].map(line).concat();
        let (_folder, run) = run_with(&[7, 8, 0, 9, 0], &[1, 2, 0, 9, 0, 1, 2, 0, 3, 0], &lines);
        let data = Data::read(&run).unwrap();
        let names: Vec<&str> = data.test.iter().map(|d| d.name.as_str()).collect();
        assert_eq!((names, data.repeated, data.trained_on), (vec!["a", "d"], 1, 1));
        assert_eq!(data.test[1].tokens, [3]);
    }

    #[test]
    fn damaged_data_are_named() {
        let refused =
            |(_folder, run): (tempfile::TempDir, RunFolder)| format!("{:#}", Data::read(&run).err().unwrap());
        assert!(refused(run_with(&[1, 0], &[1, 2, 0], "")).contains("0 documents but data/test.bin has 1"));
        assert!(refused(run_with(&[1, 0], &[1, 2, 0], "{}\n")).contains("line 1"));
        assert!(refused(run_with(&[], &[1, 2, 0], &line("a"))).contains("train.bin is empty"));
        assert!(refused(run_with(&[1, 0], &[1, 0], &line("a"))).contains("not trained on"));
        let folder = tempfile::tempdir().unwrap();
        let error = Data::read(&RunFolder::new(folder.path())).err().unwrap();
        assert!(format!("{error:#}").contains("auton data build"));
    }
}
