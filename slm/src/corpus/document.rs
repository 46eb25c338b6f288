//! A document, and files of them: one object of JSON a line.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::lines::Lines;

/// A text with its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The kind of text: `man`, `linux`, `debian`, `commands`, `devices`, `copy`, `chat`, or `text` for a user's own.
    pub source: String,
    /// Which text of its source. Renderings of one thing share what stands before the first `#`: they stay in one
    /// split.
    pub name: String,
    /// The text itself.
    pub text: String,
}

impl Document {
    /// A document of these parts.
    pub fn new(source: &str, name: impl Into<String>, text: impl Into<String>) -> Self {
        Document { source: source.into(), name: name.into(), text: text.into() }
    }

    /// What all renderings of the same thing have in common.
    pub fn thing(&self) -> &str {
        self.name.split('#').next().unwrap_or(&self.name)
    }
}

/// Longest line that is read back; a document of the corpus is far shorter.
const LONGEST_LINE: usize = 64 << 20;

/// Writes `documents` to `file`, which appears whole or not at all.
pub fn write<'d>(file: &Path, documents: impl IntoIterator<Item = &'d Document>) -> Result<()> {
    let named = || format!("cannot write {}", file.display());
    let folder = file.parent().context("the file of documents has no folder")?;
    std::fs::create_dir_all(folder).with_context(named)?;
    let unfinished = file.with_extension("unfinished");
    let written = (|| -> Result<()> {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        for document in documents {
            serde_json::to_writer(&mut out, document)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(std::fs::rename(&unfinished, file)?)
    })();
    written.inspect_err(|_| drop(std::fs::remove_file(&unfinished))).with_context(named)
}

/// Reads the documents of `file` one after the other.
pub fn read(file: &Path) -> Result<impl Iterator<Item = Result<Document>>> {
    let reader = BufReader::new(File::open(file).with_context(|| format!("cannot read {}", file.display()))?);
    let place = file.display().to_string();
    let mut number = 0;
    Ok(Lines::new(reader, LONGEST_LINE).map(move |line| {
        number += 1;
        let line = line.with_context(|| format!("cannot read {place}"))?;
        ensure!(
            !line.cut,
            "{place}:{number}: the line is longer than {} MiB, which no document is",
            LONGEST_LINE >> 20
        );
        serde_json::from_slice(&line.bytes).with_context(|| {
            format!("{place}:{number} is no document {{\"source\", \"name\", \"text\"}} in JSON")
        })
    }))
}
