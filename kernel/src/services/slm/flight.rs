//! A request in flight: from a job of the desk to a sequence of the engine, and back to an outcome.

use super::open::Model;
use super::prefixes;
use crate::memory::shortage::MayRefuse;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use llm::answer;
use llm::engine::{Engine, EngineError, GenerateOptions, Generation, Sequence, StopReason};
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::service::{Counts, End, Failure, Form, Job, Operation, RequestId};
use llm::tokenizer::Special;
use shell::slm::SlmPrefixes;

/// Tokens of prompts and records that the model was given, those of them that it need not read again, and those of these
/// that the prefix cache brought back.
static PROMPT_TOKENS: AtomicU64 = AtomicU64::new(0);
static REUSED_TOKENS: AtomicU64 = AtomicU64::new(0);
static KEPT_TOKENS: AtomicU64 = AtomicU64::new(0);

/// What is kept of prompts.
pub fn prefix_counts() -> SlmPrefixes {
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

/// A request that the model is working on.
pub struct Flight {
    pub id: RequestId,
    pub sequence: Sequence,
    /// Its chunks carry token numbers instead of text.
    pub as_numbers: bool,
    /// Tokens of the record.
    record: usize,
    /// The record says all that is known, and there was room for all of it.
    whole: bool,
    /// Tokens of prompt and record that the prefix cache brought back.
    kept: u64,
}

/// Why a job did not become a flight.
pub enum NotYet {
    /// Others hold the cache: the job, to be tried again when one of them has ended.
    Full(Box<Job>),
    /// It never will.
    Failed(Failure),
}

impl Flight {
    /// Begins a job: the record that the look-up found, if it is a question, continued by the model; or, where a grammar says what an
    /// answer is, the model alone.
    pub fn begin(model: &mut Model, id: RequestId, job: Job) -> Result<Self, NotYet> {
        // A grammar may ask for more memory than there is.
        let _reported = MayRefuse::begin();
        let constraint = match &job.grammar {
            Some(text) => Some(constraint(model, text).map_err(NotYet::Failed)?),
            None => None,
        };
        let Model { engine, template, .. } = model;
        let tokenizer = engine.tokenizer();
        let (mut prompt, mut record, mut complete) = (Vec::new(), Vec::new(), false);
        match &job.form {
            Form::Tokens(tokens) => prompt.extend_from_slice(tokens),
            Form::Raw => tokenizer.encode(&job.prompt, Special::Parse, &mut prompt),
            Form::Chat => {
                let parts = template.ask(job.prompt.trim());
                tokenizer
                    .encode_parts(parts.iter().map(|part| (part.text.as_str(), part.special)), &mut prompt);
            }
            Form::Question => {
                let plan = answer::plan(&job.prompt, &shell::commands::command_help());
                prompt = plan.prompt_tokens(tokenizer, template);
                if job.grammar.is_none() {
                    record = plan.forced_tokens(tokenizer);
                    complete = plan.is_complete();
                }
            }
        }
        record.truncate(job.max_tokens);
        // Where the record says all that is known, the model could only invent.
        let room = job.max_tokens - record.len();
        let own = if complete { 0 } else { room };
        let options = GenerateOptions {
            forced: &record,
            sampling: job.sampling,
            max_tokens: own,
            constraint,
            ..GenerateOptions::default()
        };
        let mut sequence = match engine.begin(&prompt, options) {
            Ok(sequence) => sequence,
            Err(EngineError::CacheFull { .. }) => return Err(NotYet::Full(Box::new(job))),
            Err(error) => return Err(NotYet::Failed(failure(error))),
        };
        let kept = if own > 0 { prefixes::with(|cache| sequence.recall(engine, cache)) as u64 } else { 0 };
        let as_numbers = job.operation == Operation::Graph;
        Ok(Self { id, sequence, as_numbers, record: record.len(), whole: complete && room > 0, kept })
    }

    /// Gives the cache's pages back; how it ended, or what failed, and what was done. A request that the desk ends did not end by itself.
    pub fn end(self, engine: &mut Engine<'static>) -> (Result<End, Failure>, Counts) {
        let so_far = self.sequence.so_far();
        prefixes::with(|cache| self.sequence.remember(engine, cache, &mut prefixes::allocate));
        let (record, whole, kept) = (self.record, self.whole, self.kept);
        let (generation, failed) = match engine.end(self.sequence) {
            Ok(generation) => (generation, None),
            Err(error) => (so_far, Some(failure(error))),
        };
        let counts = counts(&generation, record, whole);
        if !whole {
            PROMPT_TOKENS.fetch_add(generation.prompt_tokens as u64, Ordering::Relaxed);
            REUSED_TOKENS.fetch_add(counts.reused_tokens.into(), Ordering::Relaxed);
            // The last token of a prompt is always read.
            KEPT_TOKENS.fetch_add(kept.min(counts.reused_tokens.into()), Ordering::Relaxed);
        }
        let end = match generation.stop {
            StopReason::MaxTokens if whole => End::Finished,
            StopReason::EndOfText => End::Finished,
            StopReason::MaxTokens => End::MaxTokens,
            StopReason::ContextFull => End::ContextFull,
            StopReason::Cancelled => End::Cancelled,
            StopReason::NoTokenAllowed => End::NoToken,
        };
        (failed.map_or(Ok(end), Err), counts)
    }
}

/// The automaton of a grammar over this model's vocabulary.
fn constraint(model: &mut Model, text: &str) -> Result<Constraint, Failure> {
    let grammar = Grammar::parse(text).map_err(|error| Failure::Grammar(error.to_string()))?;
    let trie = match &model.trie {
        Some(trie) => trie.clone(),
        None => {
            let trie = TokenTrie::new(model.engine.tokenizer())
                .map_err(|error| Failure::Engine(error.to_string()))?;
            model.trie.insert(Arc::new(trie)).clone()
        }
    };
    Constraint::new(Arc::new(grammar), trie).map_err(|error| Failure::Engine(error.to_string()))
}

fn failure(error: EngineError) -> Failure {
    match error {
        EngineError::PromptTooLong { tokens, context } => Failure::TooLong { tokens, room: context },
        other => Failure::Engine(other.to_string()),
    }
}

fn counts(generation: &Generation, record: usize, whole: bool) -> Counts {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Counts {
        prompt_tokens: small(generation.prompt_tokens.saturating_sub(record)),
        record_tokens: small(record),
        // Of a whole record nothing was read, so nothing was saved.
        reused_tokens: if whole { 0 } else { small(generation.reused_tokens) },
        tokens: small(generation.generated_tokens),
        prefill_ns: generation.prefill_ns,
        decode_ns: generation.decode_ns,
    }
}
