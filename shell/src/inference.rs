//! What commands may ask of the inference service, of its graph and of the control plane's keys: traits and plain data.
//!
//! The kernel implements them (`kernel/src/services/`), tests with fixed data. Requests, budgets and the audit are the types of
//! [`llm::service`]. As with [`System`](crate::System), every method is called from the shell's thread.

use crate::slm::SlmError;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use llm::graph::Picture;
use llm::service::{
    AuditEntry, Budget, ClientStats, Fetched, Job, Limits, PaceState, RequestId, RequestInfo, Spread, Stats,
    SubmitError, UnknownRequest,
};
use thiserror::Error;

/// The inference service under the shell.
pub trait Inference {
    /// Loads the model of this boot, or the one named (`uploaded`: that which came through the control plane). `wcet_cycles` is the
    /// worst case of a token, for budgets; without it, it is measured. An error leaves everything as it was.
    fn inference_load(&self, name: Option<&str>, wcet_cycles: Option<u64>) -> Result<(), ServiceError>;
    /// Changes what is given of the budget and has the scheduler reserve CPU time for it on every CPU, or on none: an error says why, with
    /// the arithmetic, and leaves the budget as it was.
    fn set_budget(&self, change: BudgetChange) -> Result<BudgetState, ServiceError>;
    /// Takes the budget and its reservations away.
    fn clear_budget(&self);
    /// How the tokens of a period are spread.
    fn set_spread(&self, spread: Spread);
    /// Everything about the service at this moment.
    fn inference_status(&self) -> InferenceStatus;

    /// Hands a request to the service.
    fn submit(&self, job: Job) -> Result<RequestId, ServiceError>;
    /// Fetches the next chunk of a request of the console's, waiting for it up to `wait`; its bytes go to the end of `out`.
    fn fetch(&self, id: RequestId, wait: Duration, out: &mut Vec<u8>) -> Result<Fetched, UnknownRequest>;
    /// Has a request end soon, whosever it is.
    fn cancel(&self, id: RequestId) -> Result<(), UnknownRequest>;

    /// A text as the model's tokens.
    fn encode(&self, text: &str) -> Result<Vec<u32>, ServiceError>;
    /// The text of tokens.
    fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, ServiceError>;
    /// Fetches tokens of a request made with [`Job::continue_tokens`] and [`Operation::Graph`](llm::service::Operation::Graph): its chunks carry token
    /// numbers (4 bytes each, little-endian) in place of text. The same as [`fetch`](Self::fetch); it is here to say so.
    fn fetch_tokens(
        &self,
        id: RequestId,
        wait: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Fetched, UnknownRequest> {
        self.fetch(id, wait, out)
    }
    /// Counts chunks that a graph dropped at a full channel.
    fn count_graph_drops(&self, chunks: u64);
    /// Keeps the picture of the graph that ran last, in place of the one before.
    fn keep_graph(&self, picture: Picture);
    /// The graph that ran last.
    fn last_graph(&self) -> Option<Picture>;
    /// Lets the shell's thread sleep: a graph has nothing to do for a moment.
    fn sleep(&self, time: Duration);

    /// The audited operations that are still known, oldest first.
    fn audit(&self) -> Vec<AuditEntry>;
    /// Writes a text (the audit as JSON) where the host can read it. One line for each place: what was written, or why not.
    fn export(&self, text: &str) -> Vec<Exported>;
}

/// The keys of the control plane.
pub trait ControlKeys {
    /// The two tokens in force, as 16 hexadecimal digits: admin, submit. For the console only: never logged.
    fn keys(&self) -> Result<[String; 2], KeyError>;
    /// Replaces a token; the old one and those embedded from it are refused from now on. The new one.
    fn rotate(&self, kind: KeyKind) -> Result<String, KeyError>;
    /// Gives out one more token of a kind; it dies when its kind is rotated.
    fn embed(&self, kind: KeyKind) -> Result<String, KeyError>;
}

/// Which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Allows everything.
    Admin,
    /// Allows asking the model.
    Submit,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Neither RDRAND nor virtio-rng.
    #[error("this machine has no source of random numbers (RDRAND or virtio-rng), so no token can be made")]
    NoRandomness,
    /// As many as may be.
    #[error("{0} tokens of this kind are embedded, as many as may be; rotate the kind, which ends them all")]
    TooMany(usize),
}

/// What `llmctl budget` was given; what is missing stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetChange {
    /// The worst case of a token, in cycles; if it is not known either, it is measured.
    pub wcet_cycles: Option<u64>,
    /// Length of a period, in nanoseconds; 1 s unless it was set before.
    pub period_ns: Option<u64>,
    /// Tokens in a period; 1 unless it was set before.
    pub tokens: Option<u32>,
}

/// A budget and what it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetState {
    /// The budget.
    pub budget: Budget,
    /// Whether the worst case was measured (with its margin) and not given.
    pub measured: bool,
    /// CPU time reserved in each period on each CPU, in nanoseconds.
    pub reserved_ns: u64,
    /// CPUs that it is reserved on.
    pub cpus: u32,
}

/// The service at one moment.
#[derive(Clone)]
pub struct InferenceStatus {
    /// Name of the loaded model; `None` where none is loaded.
    pub model: Option<String>,
    /// Positions of its context: of all requests in flight together.
    pub context: u64,
    /// The bounds.
    pub limits: Limits,
    /// The budget, if one is set.
    pub budget: Option<BudgetState>,
    /// How it is kept.
    pub pace: Option<PaceState>,
    /// How the tokens of a period are spread.
    pub spread: Spread,
    /// The worst case of a token seen so far, in cycles, without margin; `None` before the first.
    pub worst_cycles: Option<u64>,
    /// Rate of the time-stamp counter.
    pub cycles_per_second: u64,
    /// Requests that are known, in the order in which they came.
    pub requests: Vec<RequestInfo>,
    /// Clients that are remembered.
    pub clients: Vec<ClientStats>,
    /// What was done since boot.
    pub stats: Stats,
    /// Operations audited since boot.
    pub audited: u64,
}

/// One place to which something was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Where: `disk /audit/audit-1.json`, `host region`.
    pub place: String,
    /// Bytes written, or why none were: one sentence.
    pub result: Result<u64, String>,
}

/// Why the service did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ServiceError {
    /// It does not take the request.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The model.
    #[error(transparent)]
    Slm(#[from] SlmError),
    /// Anything else: one sentence.
    #[error("{0}")]
    Failed(String),
}
