//! The traces: every file of a folder that is in a known format, as workloads of one CPU.
//!
//! A format is recognised by the file's name: `*.bursts.csv` (closed loop), `*.swf` (Standard Workload Format), `*.tsv` (SWIM),
//! `AzureLLM*.csv` and `AzureFunctions*.csv`, each also with `.gz`, and `*.json` (rt-app). Nothing here knows a single trace by name.

mod azure;
mod bursts;
mod open;
mod rt_app;
mod swf;
mod swim;

pub use open::{Job, OpenTrace};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use sched::simulator::Workload;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A source of workloads.
#[derive(Debug, Clone)]
pub enum Trace {
    /// Jobs that come whether or not earlier ones are done; gaps are stretched for the load.
    Open(OpenTrace),
    /// Tasks that compute and sleep in turn; sleeps are stretched for the load.
    Closed(Workload),
    /// As described, at the load that it has.
    Fixed(Workload),
}

/// Everything found in a folder, by name, and what could not be read.
pub fn load(folder: &Path) -> Result<Vec<(String, Trace)>> {
    let mut found = Vec::new();
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        let parse: fn(&str) -> Result<Trace> = if stem.ends_with(".bursts.csv") {
            bursts::parse
        } else if stem.ends_with(".swf") {
            swf::parse
        } else if stem.ends_with(".tsv") {
            swim::parse
        } else if stem.starts_with("AzureLLM") {
            azure::parse_llm
        } else if stem.starts_with("AzureFunctions") {
            azure::parse_functions
        } else if stem.ends_with(".json") {
            rt_app::parse
        } else {
            continue;
        };
        let text = read(&path)?;
        let trace = parse(&text).with_context(|| format!("{} is not in its format", path.display()))?;
        let short = stem.split(".bursts").next().unwrap_or(stem);
        let short = short.trim_end_matches(".swf").trim_end_matches(".tsv").trim_end_matches(".csv");
        found.push((short.trim_end_matches(".json").to_owned(), trace));
    }
    Ok(found)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut text = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut text)?;
    } else {
        text = bytes;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
