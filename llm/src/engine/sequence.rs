//! One generation under way, among others that share the model.
//!
//! It owns its pages of the cache from its beginning on, as many as it can need, so that one which was begun never runs
//! out of room midway. On the heap it takes 4 bytes for each of these positions (its tokens) and 4 for each page; a
//! grammar, where it is held to one, has bounds of its own ([`crate::grammar`]).

use super::histories::History;
use super::text::Utf8Stream;
use super::{EngineError, Generation, Overflow, StopReason};
use crate::grammar::{Constraint, Mask};
use crate::random::SplitMix64;
use crate::sample::{Candidate, PENALTY_WINDOW, Sampling, penalise, sample};

/// A generation that [`Engine::begin`](super::Engine::begin) began; [`Engine::step`](super::Engine::step) carries it on.
///
/// It is to be given to [`Engine::end`](super::Engine::end) of the same engine: its pages are out of use for as long as
/// it is not, and lost to the engine if it is dropped.
#[must_use = "its pages of the cache come back only by Engine::end"]
pub struct Sequence {
    pub(super) history: History,
    /// Tokens that are to be read before the model chooses: prompt and record, or what a shift kept.
    pub(super) given: usize,
    /// How many of the given ones are the record, and have not been said yet.
    pub(super) record: usize,
    /// Most tokens that are in the cache.
    pub(super) positions: usize,
    pub(super) sampling: Sampling,
    pub(super) random: SplitMix64,
    pub(super) max_tokens: usize,
    pub(super) constraint: Option<Constraint>,
    pub(super) overflow: Overflow,
    pub(super) text: Utf8Stream,
    pub(super) begun_ns: u64,
    /// When prompt and record were read.
    pub(super) prefilled_ns: Option<u64>,
    pub(super) done: Generation,
    pub(super) ended: Option<Result<StopReason, EngineError>>,
    /// Rows that it has in the present batch, and the number of the last of them.
    pub(super) share: usize,
    pub(super) last_row: usize,
}

/// What the grammar leaves to choose.
pub(super) enum Next {
    /// The model is to be asked.
    Ask,
    /// Only this token is allowed.
    Token(u32),
    /// Nothing: the text ends here.
    End(StopReason),
}

impl Sequence {
    /// Why it ended, or what went wrong; `None` while it goes on.
    pub fn ended(&self) -> Option<Result<StopReason, EngineError>> {
        self.ended
    }

    /// Whether its next rows are of the prompt, so that it has no token to say yet.
    pub fn is_reading(&self) -> bool {
        self.ended.is_none() && self.history.read < self.given
    }

    /// Tokens of prompt and record that are still to be read.
    pub fn prompt_left(&self) -> usize {
        if self.is_reading() { self.history.unread() } else { 0 }
    }

    /// What it did so far; times are complete once it has ended.
    pub fn so_far(&self) -> Generation {
        self.done
    }

    /// Positions of the cache that it holds.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Whether the model is to choose a token behind the batch that was just read.
    pub(super) fn is_ready(&self) -> bool {
        self.ended.is_none() && self.share > 0 && self.history.unread() == 0
    }

    /// What the grammar says about the next token.
    pub(super) fn by_grammar(&mut self) -> Result<Next, EngineError> {
        let Some(constraint) = &mut self.constraint else { return Ok(Next::Ask) };
        if constraint.is_complete() {
            return Ok(Next::End(StopReason::EndOfText));
        }
        let mask = constraint.mask()?;
        Ok(match (mask.allowed(), mask.only()) {
            (0, _) => Next::End(StopReason::NoTokenAllowed),
            // No need to ask the model.
            (_, Some(only)) => Next::Token(only),
            (_, None) => Next::Ask,
        })
    }

    /// Chooses a token by its logits, behind [`by_grammar`](Self::by_grammar).
    pub(super) fn choose(
        &mut self,
        logits: &mut [f32],
        candidates: &mut [Candidate],
    ) -> Result<u32, EngineError> {
        // Looked at before the mask, which makes some of them infinite.
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(EngineError::NotFinite);
        }
        let mask: Option<&Mask> = self.constraint.as_ref().map(Constraint::asked);
        if let Some(mask) = mask {
            mask.apply(logits);
        }
        let tokens = &self.history.tokens;
        let recent = tokens.get(tokens.len().saturating_sub(PENALTY_WINDOW)..).unwrap_or_default();
        penalise(logits, recent, self.sampling.repeat_penalty);
        sample(logits, &self.sampling, &mut self.random, candidates).ok_or(EngineError::NotFinite)
    }

    /// Adds a token that is to be read next. `false` where the context is full, and the generation ends with it.
    pub(super) fn push(&mut self, token: u32) -> bool {
        if self.history.tokens.len() >= self.positions {
            let Overflow::Shift { keep } = self.overflow else { return false };
            self.history.shift(keep);
            self.given = self.history.tokens.len() + 1;
            self.done.shifts += 1;
        }
        self.history.tokens.push(token);
        true
    }
}
