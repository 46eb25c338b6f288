//! The language model as a service: who answers, loading and unloading, what is shown of it.
//!
//! The model belongs to one thread ([`neural`]). Requests go to it over the [`desk`], whoever asks, and several are in flight at a time;
//! what only the model's owner can do is an [`errand`]. Rules answer in the asking thread.

#[cfg(feature = "llm")]
mod budget;
pub mod desk;
#[cfg(feature = "llm")]
mod errand;
mod export;
#[cfg(feature = "llm")]
mod flight;
pub mod inference;
pub mod loading;
#[cfg(feature = "llm")]
mod neural;
#[cfg(feature = "llm")]
mod open;
#[cfg(feature = "llm")]
mod prefixes;
#[cfg(feature = "llm")]
mod query;
mod rules;
mod source;
pub mod upload;
#[cfg(feature = "llm")]
mod worst_case;

pub use loading::{load, replace, unload};
pub use source::set_ramdisk;

use crate::sync::IrqMutex;
use crate::tasks::SpawnError;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shell::Flow;
use shell::slm::{
    SlmBackendChoice, SlmCandidate, SlmError, SlmEvent, SlmModel, SlmPool, SlmRequest, SlmState, SlmStatus,
    SlmSummary,
};

/// What [`status`] shows, kept by whoever changes it.
struct Shown {
    state: SlmState,
    model: Option<SlmModel>,
    pool: Option<SlmPool>,
    variant: Option<String>,
    candidates: Vec<SlmCandidate>,
    threads: u32,
    last_tokens_per_second: Option<f64>,
}

static SHOWN: IrqMutex<Shown> = IrqMutex::new(Shown {
    state: SlmState::None { reason: String::new() },
    model: None,
    pool: None,
    variant: None,
    candidates: Vec::new(),
    threads: 0,
    last_tokens_per_second: None,
});
static LOAD_FAILED: AtomicBool = AtomicBool::new(false);
static NEURAL_QUERIES: AtomicU64 = AtomicU64::new(0);
static RULES_QUERIES: AtomicU64 = AtomicU64::new(0);

/// Finds the model of this boot and loads it; every outcome is logged, and none keeps the boot from going on.
pub fn start() -> Result<(), SpawnError> {
    desk::init();
    let Ok(source) = source::find(None) else {
        set_absent("built without a model, and none was passed as ramdisk");
        log::info!("SLM: no model; using the rule engine");
        // One may come through the control plane.
        #[cfg(feature = "llm")]
        neural::start()?;
        return Ok(());
    };
    SHOWN.lock().model = Some(source.describe());
    start_neural(&source)
}

/// Loads the model of `source`, or says why the rules answer.
#[cfg(feature = "llm")]
fn start_neural(source: &source::Source) -> Result<(), SpawnError> {
    neural::start()?;
    SHOWN.lock().state = SlmState::Unloaded { reason: String::from("it is being loaded") };
    log::info!("SLM: Loading {} neural model ({} bytes)...", source.name, source.bytes.len());
    match load() {
        Ok(()) => log::info!("SLM: Runtime initialized successfully"),
        Err(error) => {
            log::error!("SLM: {error}");
            log::info!("SLM: using the rule engine");
        }
    }
    Ok(())
}

/// Without the feature there is nothing that could run a model.
#[cfg(not(feature = "llm"))]
fn start_neural(source: &source::Source) -> Result<(), SpawnError> {
    set_absent("this kernel was built without the feature `llm`");
    log::info!("SLM: this kernel cannot run the {} model; using the rule engine", source.name);
    Ok(())
}

fn set_absent(reason: &str) {
    let reason = String::from(reason);
    SHOWN.lock().state = SlmState::None { reason };
}

/// The state of everything, at this moment.
pub fn status() -> SlmStatus {
    #[cfg(feature = "llm")]
    let prefixes = Some(flight::prefix_counts());
    #[cfg(not(feature = "llm"))]
    let prefixes = None;
    let shown = SHOWN.lock();
    SlmStatus {
        state: shown.state.clone(),
        model: shown.model.clone(),
        pool: shown.pool,
        prefixes: prefixes.filter(|_| matches!(shown.state, SlmState::Loaded)),
        variant: shown.variant.clone(),
        candidates: shown.candidates.clone(),
        threads: shown.threads,
        neural_queries: NEURAL_QUERIES.load(Ordering::Relaxed),
        rules_queries: RULES_QUERIES.load(Ordering::Relaxed),
        last_tokens_per_second: shown.last_tokens_per_second,
    }
}

/// Whether the last attempt to load failed.
pub fn load_failed() -> bool {
    LOAD_FAILED.load(Ordering::Relaxed)
}

/// Answers a question by the model or the rules, as the request wishes; see [`shell::System::slm_query`].
pub fn query(
    request: &SlmRequest,
    sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
) -> Result<SlmSummary, SlmError> {
    let state = SHOWN.lock().state.clone();
    let why_not = match &state {
        SlmState::Loaded => None,
        SlmState::Unloaded { reason } | SlmState::None { reason } => Some(reason.as_str()),
    };
    match (request.backend, why_not) {
        (SlmBackendChoice::Neural, Some(reason)) => {
            let reason = String::from(reason);
            Err(match state {
                SlmState::None { .. } => SlmError::NoModel { reason },
                _ => SlmError::NotLoaded { reason },
            })
        }
        (SlmBackendChoice::Rules, _) => answer_by_rules(request, "asked for", sink),
        // The rules follow no grammar.
        (SlmBackendChoice::Auto, Some(reason)) if request.grammar.is_some() => {
            Err(SlmError::NotLoaded { reason: String::from(reason) })
        }
        (SlmBackendChoice::Auto, Some(_)) => answer_by_rules(request, "the model is not loaded", sink),
        // Where a record is the whole answer the model would add nothing true, so it is not asked.
        #[cfg(feature = "llm")]
        (SlmBackendChoice::Auto, None)
            if request.grammar.is_none() && plan_is_complete(&request.question) =>
        {
            answer_by_rules(request, "the record is the whole answer", sink)
        }
        #[cfg(feature = "llm")]
        (choice, None) => {
            let why = if choice == SlmBackendChoice::Auto { "the model is loaded" } else { "asked for" };
            let summary = match query::query(request, why, sink) {
                Err(error @ SlmError::TooLong { .. })
                    if choice == SlmBackendChoice::Auto && request.grammar.is_none() =>
                {
                    let answer = answer_by_rules(request, "the question is too long for the model", sink);
                    return answer.map_err(|_| error);
                }
                answer => answer?,
            };
            NEURAL_QUERIES.fetch_add(1, Ordering::Relaxed);
            Ok(summary)
        }
        #[cfg(not(feature = "llm"))]
        (_, None) => answer_by_rules(request, "the model is not loaded", sink),
    }
}

#[cfg(feature = "llm")]
fn plan_is_complete(question: &str) -> bool {
    llm::answer::plan(question, &shell::commands::command_help()).is_complete()
}

fn answer_by_rules(
    request: &SlmRequest,
    why: &str,
    sink: &mut dyn FnMut(SlmEvent<'_>) -> Flow,
) -> Result<SlmSummary, SlmError> {
    let summary = rules::answer(&request.question, why, sink)?;
    RULES_QUERIES.fetch_add(1, Ordering::Relaxed);
    Ok(summary)
}

/// CPU time that the budget reserves on each CPU, and its period, in nanoseconds.
#[cfg(all(feature = "llm", feature = "ai-ops"))]
pub fn reserved() -> Option<(u64, u64)> {
    budget::state().map(|state| (state.reserved_ns, state.budget.period_ns))
}

/// The greedy continuation of a raw text, as token ids: what the golden test compares.
pub fn greedy(text: &str, tokens: usize) -> Result<Vec<u32>, SlmError> {
    #[cfg(feature = "llm")]
    if let errand::Done::Tokens(tokens) = neural::ask(errand::Errand::Greedy(String::from(text), tokens))? {
        return Ok(tokens);
    }
    let _ = (text, tokens);
    Err(SlmError::NotLoaded { reason: String::from("this kernel was built without the feature `llm`") })
}
