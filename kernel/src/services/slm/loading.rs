//! Which model is loaded, and changing that: one thread at a time, from its look at what is loaded to its last errand.

use super::{
    SHOWN, desk,
    source::{self, Source},
};
#[cfg(feature = "llm")]
use super::{budget, errand::Errand, neural, upload, worst_case};
use crate::sync::IrqMutex;
use crate::tasks::{self, WaitQueue};
use core::sync::atomic::{AtomicU32, Ordering};
use llm::service::{AuditEntry, CONSOLE, ClientId, Operation, Status};
use shell::slm::{SlmError, SlmState};

const NOBODY: u32 = u32::MAX;

/// Where the loaded model came from. It keeps the file, so that no other one can lie at its address.
static LOADED: IrqMutex<Option<Source>> = IrqMutex::new(None);
/// The thread whose turn it is.
static TURN: AtomicU32 = AtomicU32::new(NOBODY);
static NEXT: WaitQueue = WaitQueue::new();

/// Runs `act` while nobody else loads, unloads or sets a budget; waits for that.
pub fn alone<R>(act: impl FnOnce() -> R) -> R {
    let me = tasks::current().id;
    NEXT.wait_until(|| match TURN.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        // This thread was begun again in its turn.
        Err(whose) => whose == me,
    });
    let result = act();
    TURN.store(NOBODY, Ordering::Release);
    NEXT.wake_all();
    result
}

/// A thread that is begun again gives its turn up, if it has it.
pub fn abandon(thread: u32) {
    if TURN.compare_exchange(thread, NOBODY, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        NEXT.wake_all();
    }
}

/// Whether a model can answer.
pub fn is_loaded() -> bool {
    matches!(SHOWN.lock().state, SlmState::Loaded)
}

/// Loads the model of this boot.
pub fn load() -> Result<(), SlmError> {
    let result = alone(|| load_from(&source::find(None)?));
    record(Operation::Load, CONSOLE, &result);
    result
}

/// Gives every byte of the pool back; a budget goes with its model.
pub fn unload() -> Result<(), SlmError> {
    let result = alone(|| try_unload(CONSOLE));
    record(Operation::Unload, CONSOLE, &result);
    result
}

/// Loads the model of this boot, or the one of a name, on a client's behalf. What is loaded already stays; another one takes its place, and
/// is back (without the budget that it had) where the new one cannot be loaded. `wcet_cycles`: the worst case of a token from now on; 0:
/// what is measured.
pub fn replace(client: ClientId, name: Option<&str>, wcet_cycles: Option<u64>) -> Result<(), SlmError> {
    let result = alone(|| {
        try_replace(client, name)?;
        #[cfg(feature = "llm")]
        wcet_cycles.into_iter().for_each(worst_case::give);
        Ok(())
    });
    let _ = wcet_cycles;
    record(Operation::Load, client, &result);
    result
}

fn try_replace(client: ClientId, name: Option<&str>) -> Result<(), SlmError> {
    if !is_loaded() {
        return load_from(&source::find(name)?);
    }
    let Some(name) = name else { return Ok(()) };
    let source = source::find(Some(name))?;
    let before = LOADED.lock().clone();
    if before.as_ref().is_some_and(|before| before.is(&source)) {
        return Ok(());
    }
    // What can be told before is.
    llm::gguf::Gguf::parse(source.bytes).map_err(|error| SlmError::Load(alloc::format!("{error}")))?;
    try_unload(client)?;
    load_from(&source).inspect_err(|_| {
        if let Some(before) = &before
            && let Err(error) = load_from(before)
        {
            log::error!("SLM: the model before cannot be loaded again: {error}");
        }
    })
}

#[cfg(feature = "llm")]
fn load_from(source: &Source) -> Result<(), SlmError> {
    if !is_loaded() {
        let described = source.describe();
        SHOWN.lock().model = Some(described);
    }
    upload::while_loading(source.keep.clone(), || neural::ask(Errand::Load(Some(source.called().into()))))?;
    let _before = LOADED.lock().replace(source.clone());
    Ok(())
}

#[cfg(feature = "llm")]
fn try_unload(client: ClientId) -> Result<(), SlmError> {
    if matches!(SHOWN.lock().state, SlmState::None { .. }) {
        return Err(SlmError::NotInMemory);
    }
    neural::ask(Errand::Unload)?;
    // An uploaded file that another one has replaced is freed here, without the lock.
    let _file = LOADED.lock().take();
    budget::clear(client);
    worst_case::forget();
    Ok(())
}

#[cfg(not(feature = "llm"))]
fn load_from(_: &Source) -> Result<(), SlmError> {
    Err(SlmError::NoModel { reason: "this kernel was built without the feature `llm`".into() })
}

#[cfg(not(feature = "llm"))]
fn try_unload(_: ClientId) -> Result<(), SlmError> {
    Err(SlmError::NotInMemory)
}

/// Audits what was done with the model.
fn record(op: Operation, client: ClientId, result: &Result<(), SlmError>) {
    let entry = AuditEntry::new(client, op, Status::OK);
    let refused = AuditEntry { status: Status::REJECT, reason: "failed", ..entry };
    desk::record(if result.is_ok() { entry } else { refused });
}
