//! What the shell and the machine say to each other about the language model: plain data.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use llm::sampling::Sampling;
use thiserror::Error;

/// Most tokens of an answer where nobody says otherwise.
pub const DEFAULT_TOKENS: usize = 64;
/// How tokens are chosen where nobody says otherwise. Small models go round in circles without the penalty.
pub const DEFAULT_SAMPLING: Sampling =
    Sampling { temperature: 0.0, seed: 0, top_k: 40, top_p: 0.95, repeat_penalty: 1.1 };

/// A question and how to answer it. Ranges are checked by the command before it gets here.
#[derive(Clone, Debug, PartialEq)]
pub struct SlmRequest {
    /// The question, not empty.
    pub question: String,
    /// Most tokens of the answer, record included; at least 1.
    pub max_tokens: usize,
    /// Who should answer.
    pub backend: SlmBackendChoice,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The grammar (GBNF) that the model's answer is held to. There is no record then, and no rule engine.
    pub grammar: Option<String>,
}

impl Default for SlmRequest {
    fn default() -> Self {
        Self {
            question: String::new(),
            max_tokens: DEFAULT_TOKENS,
            backend: SlmBackendChoice::Auto,
            sampling: DEFAULT_SAMPLING,
            grammar: None,
        }
    }
}

/// Who should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlmBackendChoice {
    /// The model if it is loaded, else the rule engine; the rule engine too where its record is the whole answer.
    Auto,
    /// The model, or [`SlmError::NotLoaded`].
    Neural,
    /// The rule engine, or [`SlmError::NoRule`].
    Rules,
}

impl SlmBackendChoice {
    /// All choices.
    pub const ALL: [SlmBackendChoice; 3] =
        [SlmBackendChoice::Auto, SlmBackendChoice::Neural, SlmBackendChoice::Rules];

    /// As `--backend` takes it.
    pub fn name(self) -> &'static str {
        match self {
            SlmBackendChoice::Auto => "auto",
            SlmBackendChoice::Neural => "neural",
            SlmBackendChoice::Rules => "rules",
        }
    }
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlmBackend {
    /// The model.
    Neural,
    /// The rule engine.
    Rules,
}

impl SlmBackend {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            SlmBackend::Neural => "neural",
            SlmBackend::Rules => "rules",
        }
    }
}

/// Where a piece of an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlmOrigin {
    /// Looked up: right by construction. All that the rule engine says is of this kind.
    Record,
    /// Chosen by the model.
    Model,
}

/// What a query tells while it runs. The first event is `Answering`, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlmEvent<'a> {
    /// Who answers, and why: a clause without full stop, e.g. `the model is not loaded`.
    Answering {
        /// Who.
        backend: SlmBackend,
        /// Why.
        why: &'a str,
    },
    /// Nothing new; sent about ten times a second while there is nothing to say (the prompt is being
    /// read), so that Ctrl-C is noticed.
    Waiting,
    /// The next bytes of the answer. One token, or a whole rule's answer. A piece may end within a UTF-8
    /// character.
    Piece {
        /// Text as bytes.
        bytes: &'a [u8],
        /// Where it comes from.
        origin: SlmOrigin,
    },
}

/// How a query went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlmSummary {
    /// Who answered.
    pub backend: SlmBackend,
    /// Tokens of the prompt; 0 for rules.
    pub prompt_tokens: u64,
    /// Tokens of the answer that came from a record; 0 for rules.
    pub record_tokens: u64,
    /// Tokens of prompt and record that the model need not read again, because it had read them for an earlier query.
    pub reused_tokens: u64,
    /// Tokens of the answer that the model chose; 0 for rules.
    pub model_tokens: u64,
    /// Time until the first token of the model could be chosen.
    pub prefill: Duration,
    /// Time from there to the end.
    pub decode: Duration,
    /// Why it ended.
    pub stop: SlmStop,
}

impl SlmSummary {
    /// Tokens per second while decoding; `None` where the model chose none or no time passed.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.decode.as_secs_f64();
        (self.model_tokens > 0 && seconds > 0.0).then(|| self.model_tokens as f64 / seconds)
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlmStop {
    /// It was complete.
    End,
    /// `max_tokens` was reached.
    MaxTokens,
    /// The context was full.
    ContextFull,
    /// The sink said stop.
    Interrupted,
    /// The grammar could not go on with any token of the model: the answer is not whole.
    NoToken,
}

impl SlmStop {
    /// As in the JSON form.
    pub fn name(self) -> &'static str {
        match self {
            SlmStop::End => "end",
            SlmStop::MaxTokens => "max-tokens",
            SlmStop::ContextFull => "context-full",
            SlmStop::Interrupted => "interrupted",
            SlmStop::NoToken => "no-token",
        }
    }
}

/// Why the model did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SlmError {
    /// Asked for the model while it is not loaded.
    #[error(
        "the neural model is not loaded ({reason}); `slm load` loads it, `--backend rules` asks the rule engine"
    )]
    NotLoaded {
        /// Why not: a clause.
        reason: String,
    },
    /// Nothing to load.
    #[error("there is no model to load: {reason}")]
    NoModel {
        /// Why not: a clause.
        reason: String,
    },
    /// `slm load` while it is loaded.
    #[error("the model is loaded already; `slm unload` unloads it")]
    AlreadyLoaded,
    /// `slm unload` while it is not.
    #[error("no model is loaded")]
    NotInMemory,
    /// Another query, load or unload is under way.
    #[error("the model is busy with another request; try again when it has ended")]
    Busy,
    /// The rule engine has no rule for this question.
    #[error("the rule engine has no answer to this; it knows PCI and USB ids and this shell's commands")]
    NoRule,
    /// The question does not fit the context.
    #[error("the question is {tokens} tokens long, and the context has room for {room}; ask a shorter one")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that would fit.
        room: usize,
    },
    /// The model cannot be loaded: broken file, pool too small…
    #[error("the model cannot be loaded: {0}")]
    Load(String),
    /// The text given as grammar is none.
    #[error("{0}")]
    Grammar(String),
    /// The engine failed.
    #[error("the answer could not be completed: {0}")]
    Failed(String),
}

/// All about the model.
#[derive(Clone, Debug, PartialEq)]
pub struct SlmStatus {
    /// Loaded or not.
    pub state: SlmState,
    /// The model that the boot provided, loaded or not.
    pub model: Option<SlmModel>,
    /// The pool, if it was reserved.
    pub pool: Option<SlmPool>,
    /// What is kept of prompts; `None` while not loaded.
    pub prefixes: Option<SlmPrefixes>,
    /// Name of the matrix kernels in use, e.g. `avx2`; `None` while not loaded.
    pub variant: Option<String>,
    /// What each candidate took when they were timed.
    pub candidates: Vec<SlmCandidate>,
    /// Threads that share a matrix product; 0 while not loaded.
    pub threads: u32,
    /// Queries that the model answered.
    pub neural_queries: u64,
    /// Queries that the rule engine answered.
    pub rules_queries: u64,
    /// Tokens per second of the last answer of the model, while decoding.
    pub last_tokens_per_second: Option<f64>,
}

/// Whether the model can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlmState {
    /// It can.
    Loaded,
    /// There is one, but it is not in memory.
    Unloaded {
        /// Why: a clause, e.g. `unloaded by slm unload`, or what went wrong.
        reason: String,
    },
    /// There is none.
    None {
        /// Why: a clause, e.g. `built without a model`.
        reason: String,
    },
}

impl SlmState {
    /// As printed.
    pub fn name(&self) -> &'static str {
        match self {
            SlmState::Loaded => "loaded",
            SlmState::Unloaded { .. } => "unloaded",
            SlmState::None { .. } => "none",
        }
    }
}

/// What is known about a model, from its manifest and its file. Text that nobody stated is empty, a
/// number that nobody stated is 0; both are shown as `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlmModel {
    /// Its name.
    pub name: String,
    /// Where the bytes came from at boot: `embedded` or `ramdisk`.
    pub provided_by: &'static str,
    /// Where it was fetched from.
    pub source: String,
    /// SHA-256 of the file in hexadecimal, as its manifest states.
    pub sha256: String,
    /// Licence.
    pub licence: String,
    /// Architecture as the file says, e.g. `llama`.
    pub architecture: String,
    /// Quantisation, e.g. `Q4_1`.
    pub quantisation: String,
    /// Parameters.
    pub parameters: u64,
    /// Bytes of the file.
    pub file_size: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: u64,
    /// Context in use (tokens); the file's own while not loaded.
    pub context: u64,
}

/// Use of the SLM pool in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlmPool {
    /// Its size.
    pub size: u64,
    /// Weights (repacked ones: those used in place take nothing).
    pub weights: u64,
    /// Key/value cache.
    pub kv_cache: u64,
    /// Activations and scratch.
    pub activations: u64,
    /// Tokenizer tables.
    pub tokenizer: u64,
}

impl SlmPool {
    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.weights
            .saturating_add(self.kv_cache)
            .saturating_add(self.activations)
            .saturating_add(self.tokenizer)
    }

    /// Bytes free.
    pub fn free(&self) -> u64 {
        self.size.saturating_sub(self.used())
    }
}

/// The prefix cache: prompts that begin like an earlier one are not read again from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlmPrefixes {
    /// Tokens whose keys and values are kept.
    pub tokens: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Most bytes that are kept.
    pub limit: u64,
    /// Pieces that gave way, to others or to reclaim.
    pub evicted: u64,
    /// Tokens that the model was to read, in all queries.
    pub prompt_tokens: u64,
    /// Those of them that it need not read...
    pub reused_tokens: u64,
    /// ...because the cache kept them; the others were still in place from the query before.
    pub kept_tokens: u64,
}

impl SlmPrefixes {
    /// How many of a hundred tokens need not be read, rounded down.
    pub fn hit_rate(&self) -> u64 {
        self.reused_tokens.saturating_mul(100).checked_div(self.prompt_tokens).unwrap_or(0)
    }

    /// Reused tokens that were still in place.
    pub fn live_tokens(&self) -> u64 {
        self.reused_tokens.saturating_sub(self.kept_tokens)
    }
}

/// One timed variant of the matrix kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlmCandidate {
    /// Its name, e.g. `sse2`.
    pub name: String,
    /// Time of a million multiply-adds while decoding.
    pub time: Duration,
    /// The same while a prompt is read.
    pub prompt_time: Duration,
}
