//! The service as the shell sees it: the kernel's side of [`shell::Inference`].

#[cfg(feature = "llm")]
use super::{
    budget,
    errand::{Done, Errand},
    neural, worst_case,
};
use super::{desk, loading};
use crate::arch::time;
use crate::services::system::Machine;
use crate::tasks;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use llm::graph::Picture;
use llm::service::{
    AuditEntry, CHUNK_BYTES, CONSOLE, Fetched, Job, Operation, RequestId, Spread, Status, UnknownRequest,
};
use shell::slm::SlmState;
use shell::{BudgetChange, BudgetState, Exported, Inference, InferenceStatus, ServiceError};

/// The last graph that ran, as `graphctl show` draws it.
static GRAPH: spin::Mutex<Option<Picture>> = spin::Mutex::new(None);

impl Inference for Machine {
    fn inference_load(&self, name: Option<&str>, wcet_cycles: Option<u64>) -> Result<(), ServiceError> {
        Ok(loading::replace(CONSOLE, name, wcet_cycles)?)
    }

    #[cfg(feature = "llm")]
    fn set_budget(&self, change: BudgetChange) -> Result<BudgetState, ServiceError> {
        budget::set(change)
    }

    #[cfg(not(feature = "llm"))]
    fn set_budget(&self, _: BudgetChange) -> Result<BudgetState, ServiceError> {
        Err(without_model())
    }

    fn clear_budget(&self) {
        // What was given for it goes with it.
        #[cfg(feature = "llm")]
        loading::alone(|| {
            budget::clear(CONSOLE);
            worst_case::give(0);
        });
    }

    fn set_spread(&self, spread: Spread) {
        desk::with(|desk| desk.set_spread(spread));
        desk::record(AuditEntry::new(CONSOLE, Operation::Pace, Status::OK));
        desk::call_model();
    }

    fn inference_status(&self) -> InferenceStatus {
        status()
    }

    fn submit(&self, job: Job) -> Result<RequestId, ServiceError> {
        Ok(desk::submit(job)?)
    }

    fn fetch(&self, id: RequestId, wait: Duration, out: &mut Vec<u8>) -> Result<Fetched, UnknownRequest> {
        // Nothing is allocated while the desk is held.
        out.reserve(CHUNK_BYTES);
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        desk::fetch(id, CONSOLE, time::uptime_nanos().saturating_add(wait), out)
    }

    fn cancel(&self, id: RequestId) -> Result<(), UnknownRequest> {
        desk::cancel(id, CONSOLE, true)
    }

    #[cfg(feature = "llm")]
    fn encode(&self, text: &str) -> Result<Vec<u32>, ServiceError> {
        match neural::ask(Errand::Encode(String::from(text)))? {
            Done::Tokens(tokens) => Ok(tokens),
            _ => Ok(Vec::new()),
        }
    }

    #[cfg(feature = "llm")]
    fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, ServiceError> {
        match neural::ask(Errand::Decode(tokens.to_vec()))? {
            Done::Bytes(bytes) => Ok(bytes),
            _ => Ok(Vec::new()),
        }
    }

    #[cfg(not(feature = "llm"))]
    fn encode(&self, _: &str) -> Result<Vec<u32>, ServiceError> {
        Err(without_model())
    }

    #[cfg(not(feature = "llm"))]
    fn decode(&self, _: &[u32]) -> Result<Vec<u8>, ServiceError> {
        Err(without_model())
    }

    fn count_graph_drops(&self, chunks: u64) {
        desk::with(|desk| desk.count_graph_drops(chunks));
    }

    fn keep_graph(&self, picture: Picture) {
        let _before = GRAPH.lock().replace(picture);
    }

    fn last_graph(&self) -> Option<Picture> {
        GRAPH.lock().clone()
    }

    fn sleep(&self, time: Duration) {
        tasks::sleep_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn audit(&self) -> Vec<AuditEntry> {
        audit()
    }

    fn export(&self, text: &str) -> Vec<Exported> {
        let exported = super::export::export(text);
        let ok = exported.iter().any(|place| place.result.is_ok());
        let status = if ok { Status::OK } else { Status::REJECT };
        desk::record(AuditEntry::new(CONSOLE, Operation::Export, status));
        exported
    }
}

#[cfg(not(feature = "llm"))]
fn without_model() -> ServiceError {
    ServiceError::Failed(String::from("this kernel was built without the feature `llm`"))
}

/// The audited operations that are still known, oldest first.
pub fn audit() -> Vec<AuditEntry> {
    // Room for all of them is taken before the desk is held.
    let mut entries = Vec::with_capacity(llm::service::AUDIT_ENTRIES + llm::service::AUDIT_REFUSALS);
    desk::with(|desk| entries.extend(desk.audit().entries()));
    entries
}

fn status() -> InferenceStatus {
    let slm = super::status();
    let loaded = matches!(slm.state, SlmState::Loaded);
    let model = slm.model.filter(|_| loaded);
    // Room is taken before the desk is held: as much as there may be requests and clients.
    let (mut requests, mut clients) = (Vec::with_capacity(128), Vec::with_capacity(64));
    let taken = desk::with(|desk| {
        requests.extend(desk.requests());
        clients.extend_from_slice(desk.clients());
        (desk.limits(), desk.pace(), desk.spread(), desk.stats().clone(), desk.audit().written())
    });
    let (limits, pace, spread, stats, audited) = taken.unwrap_or_default();
    #[cfg(feature = "llm")]
    let (budget, worst_cycles) = (budget::state(), worst_case::measured());
    #[cfg(not(feature = "llm"))]
    let (budget, worst_cycles) = (None, None);
    InferenceStatus {
        context: model.as_ref().map_or(0, |model| model.context),
        model: model.map(|model| model.name),
        limits,
        budget,
        pace,
        spread,
        worst_cycles,
        cycles_per_second: time::tsc_frequency(),
        requests,
        clients,
        stats,
        audited,
    }
}
