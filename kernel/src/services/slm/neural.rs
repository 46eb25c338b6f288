//! The thread that owns the model. It is pinned to the CPU that has no worker of its own.

use super::exchange::{Event, Exchange, Outcome, Progress, Request};
use super::{LOAD_FAILED, SHOWN, prefixes, source};
use crate::boot;
use crate::memory::shortage::MayRefuse;
use crate::memory::{OutOfMemory, Region, frames};
use crate::services::clock::KernelClock;
use crate::services::parallel::{CALLER_CPU, WORKERS};
use crate::tasks::{self, SpawnError};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use llm::answer;
use llm::engine::{
    self, Engine, EngineError, GenerateOptions, Generation, KvFormat, LoadOptions, Origin, Piece, Sampling,
    StopReason,
};
use llm::gguf::Gguf;
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::pool::{Pool, PoolUsage, Purpose};
use llm::template::Template;
use llm::tokenizer::Special;
use shell::Flow;
use shell::slm::{
    SlmBackend, SlmCandidate, SlmError, SlmEvent, SlmOrigin, SlmPool, SlmPrefixes, SlmRequest, SlmState,
    SlmStop, SlmSummary,
};

/// Size of the pool where `slm.pool=<MiB>` does not say.
const POOL_MIB: u64 = 256;
/// What the rest of the kernel keeps when memory is short.
const RESERVE: u64 = 24 << 20;
/// A smaller pool is not tried.
const LEAST_POOL: u64 = 8 << 20;

static EXCHANGE: Exchange = Exchange::new();
/// Tokens of prompts and records that the model was given, those of them that it need not read again, and those of these
/// that the prefix cache brought back.
static PROMPT_TOKENS: AtomicU64 = AtomicU64::new(0);
static REUSED_TOKENS: AtomicU64 = AtomicU64::new(0);
static KEPT_TOKENS: AtomicU64 = AtomicU64::new(0);

/// A loaded model and its memory.
struct Model {
    // NOTE: before the region, so that it is dropped first: it borrows the region's memory.
    engine: Engine<'static>,
    template: Template,
    /// The vocabulary for grammars, from the first query with one on.
    trie: Option<Arc<TokenTrie>>,
    /// As the file names it.
    licence: &'static str,
    _pool: Region,
}

/// Starts the thread.
pub fn start() -> Result<(), SpawnError> {
    prefixes::start();
    tasks::spawn("slm", tasks::Options::on_cpu(CALLER_CPU), serve)?;
    Ok(())
}

/// See [`super::load`].
pub fn load() -> Result<(), SlmError> {
    EXCHANGE.ask(Request::Load, &mut |_| true).map(|_| ())
}

/// See [`super::unload`].
pub fn unload() -> Result<(), SlmError> {
    EXCHANGE.ask(Request::Unload, &mut |_| true).map(|_| ())
}

/// See [`super::greedy`].
pub fn greedy(text: &str, tokens: usize) -> Result<Vec<u32>, SlmError> {
    match EXCHANGE.ask(Request::Greedy(String::from(text), tokens), &mut |_| true)? {
        Outcome::Tokens(tokens) => Ok(tokens),
        _ => Ok(Vec::new()),
    }
}

/// What is kept of prompts.
pub fn prefixes() -> SlmPrefixes {
    let usage = prefixes::usage();
    SlmPrefixes {
        tokens: usage.tokens as u64,
        bytes: usage.bytes as u64,
        limit: usage.limit as u64,
        evicted: usage.evicted,
        prompt_tokens: PROMPT_TOKENS.load(Ordering::Relaxed),
        reused_tokens: REUSED_TOKENS.load(Ordering::Relaxed),
        kept_tokens: KEPT_TOKENS.load(Ordering::Relaxed),
    }
}

/// Has the model answer; `sink` is called in the asking thread. `why` says why the model does.
pub fn query(
    request: &SlmRequest,
    why: &str,
    sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
) -> Result<SlmSummary, SlmError> {
    sink(SlmEvent::Answering { backend: SlmBackend::Neural, why });
    let mut progress = |progress: Progress<'_>| {
        let event = match progress {
            Progress::Waiting => SlmEvent::Waiting,
            Progress::Piece(bytes, origin) => SlmEvent::Piece { bytes, origin },
        };
        sink(event) == Flow::Continue
    };
    match EXCHANGE.ask(Request::Query(request.clone()), &mut progress)? {
        Outcome::Answered(summary) => Ok(summary),
        _ => Err(SlmError::Failed(String::from("the model's thread gave no answer"))),
    }
}

/// The thread's life.
fn serve() {
    let mut model: Option<Model> = None;
    loop {
        let result = match (EXCHANGE.next(), &mut model) {
            (Request::Load, Some(_)) => Err(SlmError::AlreadyLoaded),
            (Request::Load, empty) => {
                // A file may ask for any number of names.
                let _reported = MayRefuse::begin();
                open().map(|opened| {
                    *empty = Some(opened);
                    Outcome::Nothing
                })
            }
            (Request::Unload, Some(_)) => {
                model = None;
                prefixes::clear();
                show_unloaded("unloaded by `slm unload`");
                Ok(Outcome::Nothing)
            }
            (Request::Unload, None) => Err(SlmError::NotInMemory),
            (Request::Query(_) | Request::Greedy(..), None) => {
                Err(SlmError::NotLoaded { reason: String::from("it was unloaded meanwhile") })
            }
            (Request::Query(request), Some(model)) => answer(model, &request).map(Outcome::Answered),
            (Request::Greedy(text, tokens), Some(model)) => {
                continue_greedily(&mut model.engine, &text, tokens).map(Outcome::Tokens)
            }
        };
        EXCHANGE.tell(Event::Done(result));
    }
}

/// Loads the model of this boot, and says so everywhere.
fn open() -> Result<Model, SlmError> {
    let result = try_open();
    LOAD_FAILED.store(result.is_err(), Ordering::Relaxed);
    match &result {
        Ok(model) => {
            show_loaded(&model.engine, model.licence);
            let info = model.engine.info();
            log::info!("SLM: Neural backend ready (vocab={}, ctx={})", info.vocabulary, info.context);
        }
        Err(SlmError::Load(reason)) => show_unloaded(reason),
        Err(_) => {}
    }
    result
}

fn try_open() -> Result<Model, SlmError> {
    let Some(source) = source::find() else {
        return Err(SlmError::NoModel { reason: String::from("none is embedded or was passed as ramdisk") });
    };
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
    Ok(Model { engine, template: Template::from_gguf(&gguf), trie: None, licence, _pool: region })
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

fn show_unloaded(reason: &str) {
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

/// Answers a question: the record that the look-up found, if any, continued by the model; or, where a grammar says what an
/// answer is, the model alone.
fn answer(model: &mut Model, request: &SlmRequest) -> Result<SlmSummary, SlmError> {
    // A grammar may ask for more memory than there is.
    let _reported = MayRefuse::begin();
    let grammar = match &request.grammar {
        Some(text) => Some(Grammar::parse(text).map_err(|error| SlmError::Grammar(error.to_string()))?),
        None => None,
    };
    let failed = |error: &dyn core::fmt::Display| SlmError::Failed(error.to_string());
    if grammar.is_some() && model.trie.is_none() {
        model.trie =
            Some(Arc::new(TokenTrie::new(model.engine.tokenizer()).map_err(|error| failed(&error))?));
    }
    let held = grammar.is_some();
    let mut constraint = match (grammar, &model.trie) {
        (Some(grammar), Some(trie)) => {
            Some(Constraint::new(Arc::new(grammar), trie.clone()).map_err(|error| failed(&error))?)
        }
        _ => None,
    };
    let commands = shell::commands::command_help();
    let plan = answer::plan(&request.question, &commands);
    let tokenizer = model.engine.tokenizer();
    let prompt = plan.prompt_tokens(tokenizer, &model.template);
    let mut record = if held { Vec::new() } else { plan.forced_tokens(tokenizer) };
    record.truncate(request.max_tokens);
    let complete = plan.is_complete() && !held;
    // Where the record says all that is known, the model could only invent.
    let room = request.max_tokens - record.len();
    let own = if complete { 0 } else { room };
    let sampling = Sampling {
        temperature: request.temperature,
        top_k: request.top_k,
        top_p: request.top_p,
        seed: request.seed,
        repeat_penalty: request.repeat_penalty,
    };
    let engine = &mut model.engine;
    let mut fed = Vec::new();
    fed.try_reserve_exact(prompt.len() + record.len())
        .map_err(|error| SlmError::Failed(error.to_string()))?;
    fed.extend(prompt.iter().chain(&record));
    let mut kept = 0;
    if own > 0 {
        kept = prefixes::with(|cache| engine.recall(&fed, cache)) as u64;
    }
    let options = GenerateOptions {
        forced: &record,
        sampling,
        max_tokens: own,
        constraint: constraint.as_mut(),
        ..GenerateOptions::default()
    };
    let generation =
        engine.generate_with(&prompt, options, &mut |piece| pass_on(piece)).map_err(engine_error)?;
    prefixes::with(|cache| engine.remember(&fed, cache, &mut prefixes::allocate));
    let mut summary = summary(&generation, record.len());
    if own > 0 {
        PROMPT_TOKENS.fetch_add(fed.len() as u64, Ordering::Relaxed);
        REUSED_TOKENS.fetch_add(summary.reused_tokens, Ordering::Relaxed);
        // The last token of a prompt is always read.
        KEPT_TOKENS.fetch_add(kept.min(summary.reused_tokens), Ordering::Relaxed);
    } else {
        // Nothing was read, so nothing was saved.
        summary.reused_tokens = 0;
    }
    if complete && room > 0 && summary.stop == SlmStop::MaxTokens {
        summary.stop = SlmStop::End;
    }
    SHOWN.lock().last_tokens_per_second = summary.tokens_per_second();
    Ok(summary)
}

fn pass_on(piece: Piece<'_>) -> engine::Flow {
    let origin = match piece.origin {
        Origin::Prompt => None,
        Origin::Record => Some(SlmOrigin::Record),
        Origin::Model => Some(SlmOrigin::Model),
    };
    if let Some(origin) = origin.filter(|_| !piece.bytes.is_empty()) {
        EXCHANGE.tell(Event::Piece(piece.bytes.to_vec(), origin));
    }
    if EXCHANGE.stopped() { engine::Flow::Stop } else { engine::Flow::Continue }
}

fn summary(generation: &Generation, record: usize) -> SlmSummary {
    SlmSummary {
        backend: SlmBackend::Neural,
        prompt_tokens: generation.prompt_tokens.saturating_sub(record) as u64,
        record_tokens: record as u64,
        reused_tokens: generation.reused_tokens as u64,
        model_tokens: generation.generated_tokens as u64,
        prefill: Duration::from_nanos(generation.prefill_ns),
        decode: Duration::from_nanos(generation.decode_ns),
        stop: match generation.stop {
            StopReason::EndOfText => SlmStop::End,
            StopReason::MaxTokens => SlmStop::MaxTokens,
            StopReason::ContextFull => SlmStop::ContextFull,
            StopReason::Cancelled => SlmStop::Interrupted,
            StopReason::NoTokenAllowed => SlmStop::NoToken,
        },
    }
}

fn engine_error(error: EngineError) -> SlmError {
    match error {
        EngineError::PromptTooLong { tokens, context } => SlmError::TooLong { tokens, room: context },
        other => SlmError::Failed(other.to_string()),
    }
}

fn continue_greedily(engine: &mut Engine<'static>, text: &str, tokens: usize) -> Result<Vec<u32>, SlmError> {
    let mut prompt = Vec::new();
    engine.tokenizer().encode(text, Special::Parse, &mut prompt);
    let mut ids = Vec::new();
    let mut keep = |piece: Piece<'_>| {
        if piece.origin == Origin::Model && ids.len() < tokens {
            ids.push(piece.token);
        }
        engine::Flow::Continue
    };
    engine.generate(&prompt, &[], &Sampling::greedy(), tokens, &mut keep).map_err(engine_error)?;
    Ok(ids)
}
