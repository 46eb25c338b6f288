//! Opening a model: its memory, the command line's wishes, and what is shown of it.

use super::source::Source;
use super::upload::Uploaded;
use super::{LOAD_FAILED, SHOWN, desk, worst_case};
use crate::boot;
use crate::memory::{OutOfMemory, Region, frames};
use crate::services::clock::KernelClock;
use crate::services::parallel::WORKERS;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use llm::engine::{Engine, KvFormat, LoadOptions};
use llm::gguf::Gguf;
use llm::grammar::TokenTrie;
use llm::pool::{Pool, PoolUsage, Purpose};
use llm::template::Template;
use shell::slm::{SlmCandidate, SlmError, SlmPool, SlmState};

/// Size of the pool where `slm.pool=<MiB>` does not say.
const POOL_MIB: u64 = 256;
/// What the rest of the kernel keeps when memory is short.
const RESERVE: u64 = 24 << 20;
/// A smaller pool is not tried.
const LEAST_POOL: u64 = 8 << 20;

/// A loaded model and its memory.
pub struct Model {
    // NOTE: before the region, so that it is dropped first: it borrows the region's memory.
    pub engine: Engine<'static>,
    pub template: Template,
    /// The vocabulary for grammars, from the first query with one on.
    pub trie: Option<Arc<TokenTrie>>,
    /// As the file names it.
    licence: &'static str,
    _pool: Region,
    /// The file, where it is not part of the boot; the engine reads it.
    _file: Option<Arc<Uploaded>>,
}

/// Loads a model, and says so everywhere.
pub fn open(source: Source) -> Result<Model, SlmError> {
    let result = try_open(source);
    LOAD_FAILED.store(result.is_err(), Ordering::Relaxed);
    match &result {
        Ok(model) => {
            show_loaded(&model.engine, model.licence);
            worst_case::forget();
            desk::set_open(true);
            let info = model.engine.info();
            log::info!("SLM: Neural backend ready (vocab={}, ctx={})", info.vocabulary, info.context);
        }
        Err(SlmError::Load(reason)) => show_unloaded(reason),
        Err(_) => {}
    }
    result
}

fn try_open(source: Source) -> Result<Model, SlmError> {
    let gguf = Gguf::parse(source.bytes).map_err(|error| SlmError::Load(error.to_string()))?;
    let mut region = pool().map_err(SlmError::Load)?;
    let memory = region.as_mut_slice();
    // SAFETY: the region lives as long as the engine: `Model` owns both and drops the engine first, and on the way
    // there `load` either moves the borrow into the engine or drops it.
    let memory: &'static mut [u8] =
        unsafe { core::slice::from_raw_parts_mut(memory.as_mut_ptr(), memory.len()) };
    let options = LoadOptions { context: context()?, kv: kv_format()?, ..LoadOptions::default() };
    let engine = Engine::load(gguf, Pool::new(memory), &WORKERS, &KernelClock, options)
        .map_err(|error| SlmError::Load(error.to_string()))?;
    let licence = gguf.get("general.license").and_then(|value| value.as_str()).unwrap_or_default();
    Ok(Model {
        engine,
        template: Template::from_gguf(&gguf),
        trie: None,
        licence,
        _pool: region,
        _file: source.keep,
    })
}

/// Tokens of context that the command line asks for; `None` for as many as the model and the pool allow.
fn context() -> Result<Option<usize>, SlmError> {
    let Some(text) = boot::option("slm.ctx") else { return Ok(None) };
    match text.parse() {
        Ok(tokens) => Ok(Some(tokens)),
        Err(_) => Err(SlmError::Load(alloc::format!(
            "slm.ctx={text}: give a number of tokens, such as slm.ctx=2048"
        ))),
    }
}

/// How keys and values are stored: 14-bit integers, or 8-bit ones in half the memory.
fn kv_format() -> Result<KvFormat, SlmError> {
    match boot::option("slm.kv") {
        None | Some("integer") => Ok(KvFormat::Integer),
        Some("q8") => Ok(KvFormat::Byte),
        Some(text) => Err(SlmError::Load(alloc::format!(
            "slm.kv={text}: give slm.kv=integer (two bytes a number, as without it) or slm.kv=q8 (one byte)"
        ))),
    }
}

/// Memory for the run: what was asked for, or what is there.
fn pool() -> Result<Region, String> {
    let asked = match boot::option("slm.pool") {
        None => POOL_MIB,
        Some(text) => match text.parse() {
            Ok(mib) if (LEAST_POOL >> 20..1 << 20).contains(&mib) => mib,
            _ => {
                let least = LEAST_POOL >> 20;
                return Err(alloc::format!(
                    "slm.pool={text}: give a number of MiB from {least} on, such as slm.pool=256"
                ));
            }
        },
    };
    let free = frames::stats().free_bytes();
    let mut size = (asked << 20).min(free.saturating_sub(RESERVE));
    let mut refused = OutOfMemory { bytes: asked << 20 };
    while size >= LEAST_POOL {
        match Region::new(size) {
            Ok(region) => {
                if region.len() < asked << 20 {
                    log::warn!(
                        "SLM: the pool has {} MiB instead of {asked}: memory is short",
                        region.len() >> 20
                    );
                }
                return Ok(region);
            }
            Err(error) => refused = error,
        }
        size -= size / 8;
    }
    Err(alloc::format!(
        "{} MiB of memory are free, too few for a model's pool ({refused}); give the machine more memory",
        free >> 20
    ))
}

fn show_loaded(engine: &Engine<'static>, licence: &str) {
    let info = engine.info();
    let variant = match (info.decode_variant, info.prefill_variant) {
        (decode, prefill) if decode == prefill => decode.to_string(),
        (decode, prefill) => alloc::format!("{decode}, prompts {prefill}"),
    };
    // From picoseconds for one multiply-add.
    let a_million = |ps: u64| Duration::from_nanos(ps.saturating_mul(1000));
    let candidates = info.timings.iter().flatten().map(|timing| SlmCandidate {
        name: timing.variant.to_string(),
        time: a_million(timing.decode_ps),
        prompt_time: a_million(timing.prefill_ps),
    });
    let candidates: Vec<SlmCandidate> = candidates.collect();
    let mut model = SHOWN.lock().model.clone().unwrap_or_default();
    if model.name.is_empty() {
        model.name = String::from(info.name);
    }
    if model.quantisation.is_empty() {
        model.quantisation = String::from(info.quantisation);
    }
    if model.licence.is_empty() {
        model.licence = String::from(licence);
    }
    model.architecture = String::from(info.architecture);
    model.parameters = info.parameters;
    model.vocabulary = info.vocabulary as u64;
    model.context = info.context as u64;
    let mut shown = SHOWN.lock();
    shown.state = SlmState::Loaded;
    shown.model = Some(model);
    shown.pool = Some(pool_use(engine.usage()));
    shown.variant = Some(variant);
    shown.candidates = candidates;
    shown.threads = WORKERS.cpus() as u32;
}

/// Shows that no model is in memory, and why.
pub fn show_unloaded(reason: &str) {
    let reason = String::from(reason);
    let mut shown = SHOWN.lock();
    shown.state = SlmState::Unloaded { reason };
    shown.pool = None;
    shown.variant = None;
    shown.candidates = Vec::new();
    shown.threads = 0;
}

fn pool_use(usage: PoolUsage) -> SlmPool {
    let used = |purpose| usage.used(purpose) as u64;
    SlmPool {
        size: usage.size as u64,
        weights: used(Purpose::Weights),
        kv_cache: used(Purpose::KvCache),
        activations: used(Purpose::Activations),
        tokenizer: used(Purpose::Tokenizer),
    }
}
