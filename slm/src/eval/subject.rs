//! The model under test: a GGUF file, run by the engine that the kernel runs.
//!
//! The work is shared out to threads that each have an engine of their own: nothing waits for the others, and the figures do
//! not depend on how many there are.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use indicatif::ProgressBar;
use llm::clock::StdClock;
use llm::engine::{Engine, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::threads::Threads;
use llm::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xtask::model::fetch::hex;

/// Memory of an engine beside the weights.
const POOL: usize = 256 << 20;

/// What is known about the model before it says anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The file's name.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// The model's name in the file.
    pub name: String,
    /// Type of most weights in the blocks.
    pub quantisation: String,
    /// Number of weights.
    pub parameters: u64,
    /// Tokens of the vocabulary.
    pub vocabulary: u64,
    /// Positions it was made for.
    pub context: u64,
}

/// A model that loads.
pub struct Subject {
    bytes: Vec<u8>,
    file: PathBuf,
    facts: Facts,
    threads: usize,
}

impl Subject {
    /// Reads `file` and sees that it loads; work will be shared by `threads` threads.
    pub fn open(file: &Path, threads: usize) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let facts = with_engine(&bytes, |engine| {
            let info = engine.info();
            Ok(Facts {
                file: name,
                sha256,
                bytes: info.file_bytes as u64,
                name: info.name.to_owned(),
                quantisation: info.quantisation.to_owned(),
                parameters: info.parameters,
                vocabulary: info.vocabulary as u64,
                context: info.context as u64,
            })
        });
        let facts = facts.with_context(|| file.display().to_string())?;
        Ok(Subject { bytes, file: file.to_owned(), facts, threads: threads.max(1) })
    }

    /// What is known about it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Lends its tokenizer.
    pub fn with_tokenizer<R>(&self, work: impl FnOnce(&Tokenizer<'_>) -> R) -> Result<R> {
        with_engine(&self.bytes, |engine| Ok(work(engine.tokenizer())))
    }

    /// Does `work` on every item, in any order, and gives the results in the order of the items. `bar` counts them.
    pub fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        bar: &ProgressBar,
        work: impl Fn(&mut Engine<'_>, &T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one_thread = || {
            with_engine(&self.bytes, |engine| {
                let mut done = Vec::new();
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    done.push((at, work(engine, item)?));
                    bar.inc(1);
                }
                Ok(done)
            })
            .inspect_err(|_| failed.store(true, Ordering::Relaxed))
        };
        let done: Vec<Result<Vec<(usize, R)>>> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.threads.min(items.len())).map(|_| scope.spawn(one_thread)).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a thread of the evaluation broke off")))
            };
            workers.into_iter().map(join).collect()
        });
        bar.finish_and_clear();
        let done =
            done.into_iter().collect::<Result<Vec<_>>>().with_context(|| self.file.display().to_string())?;
        let mut in_order: Vec<(usize, R)> = done.into_iter().flatten().collect();
        in_order.sort_by_key(|(at, _)| *at);
        Ok(in_order.into_iter().map(|(_, result)| result).collect())
    }
}

/// Loads the model as the kernel does, for one CPU, and lends it.
fn with_engine<R>(bytes: &[u8], work: impl FnOnce(&mut Engine<'_>) -> Result<R>) -> Result<R> {
    let gguf = Gguf::parse(bytes)?;
    // Some types are repacked at load: room for the weights once more.
    let mut memory = vec![0u8; POOL + 2 * bytes.len()];
    let (threads, clock) = (Threads::new(1), StdClock::new());
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default())?;
    work(&mut engine)
}
