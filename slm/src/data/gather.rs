//! All documents of a run, cleaned and without duplicates: what `tokenizer train`, `data build` and `data analyze` share.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::clean::Cleaned;
use super::duplicates::{self, Copy};
use super::lines::Lines;
use crate::corpus::{Document, document};
use crate::run_folder::RunFolder;

/// Longest line of a user's text; what is over is cut away.
pub const LONGEST_LINE: usize = 1 << 20;
/// A user's text is cut, at the end of a line, into documents of about this many bytes: one long file too has something to
/// hold out.
const LONGEST_DOCUMENT: usize = 16 << 10;
/// Most bytes of text together: all of it is held in memory.
const LARGEST_CORPUS: usize = 2 << 30;

/// The documents, and what was cleaned away.
pub struct Gathered {
    /// Every document that is left, in the order of the files.
    pub documents: Vec<Document>,
    /// Counts.
    pub cleaned: Cleaned,
}

/// Reads the corpus of `run` and the texts of `more`, and drops what repeats.
pub fn gather(run: &RunFolder, more: &[PathBuf]) -> Result<Gathered> {
    let mut all = read(run, more)?;
    all.drop_duplicates();
    Ok(all)
}

/// Reads the corpus of `run` and the texts of `more` (files, or folders with all their files), cleaned.
pub fn read(run: &RunFolder, more: &[PathBuf]) -> Result<Gathered> {
    let mut all = Gathered { documents: Vec::new(), cleaned: Cleaned::default() };
    for file in corpus_files(run)? {
        for document in document::read(&file)? {
            let mut document = document?;
            document.text = all.cleaned.controls(document.text);
            all.documents.push(document);
        }
    }
    for path in more {
        add_text(path, &mut all)?;
    }
    ensure!(
        !all.documents.is_empty(),
        "{} holds no documents: run `auton data fetch --run {}` first, or name texts by --text",
        run.join("corpus").display(),
        run.path().display()
    );
    let bytes: usize = all.documents.iter().map(|d| d.text.len()).sum();
    ensure!(
        bytes <= LARGEST_CORPUS,
        "{} MiB of text are more than the {} MiB that are read at a time",
        bytes >> 20,
        LARGEST_CORPUS >> 20
    );
    Ok(all)
}

/// Files of documents, in order of their names.
fn corpus_files(run: &RunFolder) -> Result<Vec<PathBuf>> {
    let folder = run.join("corpus");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let named = || format!("cannot read {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(named)? {
        let path = entry.with_context(named)?.path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Adds a file, or the files of a folder.
fn add_text(path: &Path, all: &mut Gathered) -> Result<()> {
    let named = || format!("cannot read {}", path.display());
    if path.is_dir() {
        let entries: std::io::Result<Vec<_>> = std::fs::read_dir(path).with_context(named)?.collect();
        let mut paths: Vec<PathBuf> = entries.with_context(named)?.into_iter().map(|e| e.path()).collect();
        paths.sort();
        // A link may lead back to where we are.
        return paths.iter().filter(|p| !p.is_symlink()).try_for_each(|p| add_text(p, all));
    }
    ensure!(path.is_file(), "{} is neither a file nor a folder", path.display());
    let name = path.display().to_string();
    let mut text = String::new();
    let mut number = 0;
    let mut held: usize = all.documents.iter().map(|d| d.text.len()).sum();
    let mut lines =
        Lines::new(BufReader::new(File::open(path).with_context(named)?), LONGEST_LINE).peekable();
    while let Some(line) = lines.next() {
        let line = line.with_context(named)?;
        all.cleaned.cut_lines += usize::from(line.cut);
        text.push_str(&all.cleaned.text(&line.bytes));
        text.push('\n');
        if text.len() >= LONGEST_DOCUMENT || lines.peek().is_none() {
            held += text.len();
            if held > LARGEST_CORPUS {
                bail!("{name} is too large: {} MiB of text are read at a time", LARGEST_CORPUS >> 20);
            }
            all.documents.push(Document::new("text", format!("{name}/{number}"), std::mem::take(&mut text)));
            number += 1;
        }
    }
    Ok(())
}

/// Sources whose documents repeat on purpose.
fn is_generated(source: &str) -> bool {
    matches!(source, "commands" | "devices" | "copy" | "chat")
}

impl Gathered {
    fn drop_duplicates(&mut self) {
        let before = self.documents.len();
        self.documents.retain(|d| !d.text.trim().is_empty());
        self.cleaned.empty += before - self.documents.len();
        let prose: Vec<&str> =
            self.documents.iter().filter(|d| !is_generated(&d.source)).map(|d| d.text.as_str()).collect();
        let mut copies = duplicates::find(&prose).into_iter();
        let cleaned = &mut self.cleaned;
        self.documents.retain(|d| {
            match if is_generated(&d.source) { None } else { copies.next().flatten() } {
                None => return true,
                Some(Copy::Exact(_)) => cleaned.exact_duplicates += 1,
                Some(Copy::Near(_)) => cleaned.near_duplicates += 1,
            }
            false
        });
    }
}
