//! What clients ask for and what they get.

use super::audit::Operation;
use super::outbox::{Chunk, Outbox};
use crate::sampling::Sampling;
use alloc::collections::TryReserveError;
use alloc::string::String;
use alloc::vec::Vec;
use thiserror::Error;

/// Number of a request, from 1.
pub type RequestId = u32;
/// Who asks: [`CONSOLE`], or the number of a port of the control plane.
pub type ClientId = u32;
/// The shell.
pub const CONSOLE: ClientId = 0;
/// Most tokens in a chunk.
pub const MAX_CHUNK: u32 = 256;
/// Longest prompt in bytes.
pub const MAX_PROMPT: usize = 64 << 10;

/// Who is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// When nobody else waits.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Priority {
    /// All of them.
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }
}

/// What the prompt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A user's message, in the model's own template.
    Chat,
    /// A question that may have a record, which the answer then begins with (`slm query`).
    Question,
    /// A text to be continued as it is; special tokens are parsed.
    Raw,
    /// Tokens to be continued; the prompt's text is empty.
    Tokens(Vec<u32>),
}

/// A request and how to serve it.
pub struct Job {
    /// Who asks.
    pub client: ClientId,
    /// What it is in the audit.
    pub operation: Operation,
    /// Who is served first.
    pub priority: Priority,
    /// How long after it was taken the answer must be complete; else it ends there.
    pub deadline_ns: Option<u64>,
    /// Tokens in a chunk, 1 to [`MAX_CHUNK`].
    pub chunk: u32,
    /// Most tokens of the answer, record included.
    pub max_tokens: usize,
    /// The prompt.
    pub prompt: String,
    /// What it is.
    pub form: Form,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// A grammar (GBNF) that the answer is held to.
    pub grammar: Option<String>,
    /// Where the answer will wait; [`new`](Self::new) makes it.
    pub outbox: Outbox,
}

/// A job that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JobError {
    /// Nothing to continue.
    #[error("the prompt is empty; write what the model is to answer")]
    EmptyPrompt,
    /// More than [`MAX_PROMPT`].
    #[error("the prompt has {0} bytes, and {MAX_PROMPT} are the most; shorten it")]
    PromptTooLong(usize),
    /// No tokens.
    #[error("the answer may have no token at all; ask for at least one")]
    NoTokens,
    /// No memory for the answer.
    #[error("there is no memory for the answer; try again when other requests have ended")]
    NoMemory,
}

impl From<TryReserveError> for JobError {
    fn from(_: TryReserveError) -> Self {
        JobError::NoMemory
    }
}

impl Job {
    /// A request for up to `max_tokens` tokens, greedy, of normal priority, without deadline, a token a chunk. Takes all the memory that
    /// the answer will need.
    ///
    /// # Errors
    /// The prompt is empty or too long, or there is no memory.
    pub fn new(
        client: ClientId,
        operation: Operation,
        prompt: String,
        max_tokens: usize,
    ) -> Result<Self, JobError> {
        match prompt.trim().len() {
            0 => return Err(JobError::EmptyPrompt),
            bytes if bytes > MAX_PROMPT => return Err(JobError::PromptTooLong(bytes)),
            _ => {}
        }
        Self::with_form(client, operation, prompt, Form::Chat, max_tokens)
    }

    /// As [`new`](Self::new), for tokens.
    ///
    /// # Errors
    /// There are none or too many, or there is no memory.
    pub fn continue_tokens(
        client: ClientId,
        operation: Operation,
        tokens: Vec<u32>,
        max_tokens: usize,
    ) -> Result<Self, JobError> {
        match tokens.len() {
            0 => return Err(JobError::EmptyPrompt),
            count if count > MAX_PROMPT => return Err(JobError::PromptTooLong(count)),
            _ => {}
        }
        Self::with_form(client, operation, String::new(), Form::Tokens(tokens), max_tokens)
    }

    fn with_form(
        client: ClientId,
        operation: Operation,
        prompt: String,
        form: Form,
        max_tokens: usize,
    ) -> Result<Self, JobError> {
        if max_tokens == 0 {
            return Err(JobError::NoTokens);
        }
        Ok(Self {
            client,
            operation,
            priority: Priority::Normal,
            deadline_ns: None,
            chunk: 1,
            max_tokens,
            prompt,
            form,
            sampling: Sampling::greedy(),
            grammar: None,
            outbox: Outbox::new()?,
        })
    }

    /// Bytes of the prompt, for the audit: of its text, or of its tokens.
    pub(super) fn prompt_len(&self) -> u32 {
        let bytes = match &self.form {
            Form::Tokens(tokens) => tokens.len().saturating_mul(size_of::<u32>()),
            _ => self.prompt.len(),
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("the service is busy: {queued} requests wait, as many as may; ask again when some have ended")]
    Busy {
        /// Requests that wait.
        queued: usize,
    },
    /// The client has its share of it.
    #[error(
        "{open} requests of this client are under way, as many as it may have; ask again when one has ended"
    )]
    TooManyOfClient {
        /// Requests of the client.
        open: u32,
    },
    /// Nobody would serve it.
    #[error("no model is loaded; `llmctl load` loads it")]
    NoModel,
}

impl SubmitError {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            SubmitError::Busy { .. } => "queue full",
            SubmitError::TooManyOfClient { .. } => "client's share full",
            SubmitError::NoModel => "no model",
        }
    }
}

/// There is no such request, or it is another client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no request {0} of yours; `llmctl status` lists those that are known")]
pub struct UnknownRequest(pub RequestId);

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is whole.
    Finished,
    /// It has as many tokens as were asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The grammar could not go on.
    NoToken,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    Deadline,
    /// Nobody fetched it for too long.
    Abandoned,
    /// It failed; [`Outcome::error`] says why.
    Failed,
}

impl End {
    /// As printed, and as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            End::Finished => "finished",
            End::MaxTokens => "max-tokens",
            End::ContextFull => "context-full",
            End::NoToken => "no-token",
            End::Cancelled => "cancelled",
            End::Deadline => "deadline",
            End::Abandoned => "abandoned",
            End::Failed => "failed",
        }
    }
}

/// What the model did for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer that were looked up.
    pub record_tokens: u32,
    /// Tokens of prompt and record that need not be read again.
    pub reused_tokens: u32,
    /// Tokens that the model chose.
    pub tokens: u32,
    /// Time for prompt and record, in nanoseconds.
    pub prefill_ns: u64,
    /// Time from then to the end.
    pub decode_ns: u64,
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub end: End,
    /// What the model did.
    pub counts: Counts,
    /// From being taken to being started, in nanoseconds.
    pub queued_ns: u64,
    /// From being taken to the first token; `None` where there was none.
    pub first_token_ns: Option<u64>,
    /// From being taken to the end.
    pub total_ns: u64,
    /// Periods in its time that had fewer tokens than the budget promised.
    pub period_misses: u64,
    /// What failed.
    pub error: Option<Failure>,
}

/// Why a request failed that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// It never fits the context.
    #[error("the prompt is {tokens} tokens long, and the context has room for {room}; ask a shorter one")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that would fit.
        room: usize,
    },
    /// The text given as grammar is none.
    #[error("{0}")]
    Grammar(String),
    /// The model went meanwhile.
    #[error("the model was unloaded meanwhile; `llmctl load` loads it")]
    Unloaded,
    /// The engine.
    #[error("the answer could not be completed: {0}")]
    Engine(String),
}

/// What [`Service::fetch`](super::Service::fetch) finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The next chunk.
    Chunk(Chunk),
    /// Nothing new.
    Nothing(RequestState),
    /// All chunks were fetched, and the request is over; it is forgotten now.
    End(Outcome),
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// It waits for its turn.
    Queued,
    /// Its prompt is being read.
    Reading,
    /// Tokens are being made.
    Running,
    /// Its answer waits to be fetched before more is made.
    Paused,
    /// It is over, and not all of it was fetched.
    Done(End),
}

impl RequestState {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            RequestState::Queued => "queued",
            RequestState::Reading => "reading",
            RequestState::Running => "running",
            RequestState::Paused => "paused",
            RequestState::Done(end) => end.name(),
        }
    }
}

/// A request, for tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestInfo {
    /// Its number.
    pub id: RequestId,
    /// Whose it is.
    pub client: ClientId,
    /// What it is.
    pub operation: Operation,
    /// Who is served first.
    pub priority: Priority,
    /// How far it is.
    pub state: RequestState,
    /// Tokens made so far.
    pub tokens: u32,
    /// Most tokens.
    pub max_tokens: usize,
    /// Since when, in nanoseconds since boot.
    pub submitted_ns: u64,
}
