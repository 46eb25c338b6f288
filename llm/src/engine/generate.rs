//! Generation: prompt and record are read, then the model chooses token after token.

use super::{Engine, EngineError, Overflow};
use crate::grammar::{Constraint, Mask};
use crate::model::BATCH;
use crate::random::SplitMix64;
use crate::sample::{PENALTY_WINDOW, Sampling, penalise, sample};

/// Reading a prompt, the longest that the receiver should wait for its next opportunity to stop, in nanoseconds.
const LONGEST_SILENCE_NS: u64 = 300_000_000;

/// Where a piece of an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The prompt is still being read: no text, only an opportunity to stop. There is one before each layer of the
    /// model, and a machine that takes long for a layer is given fewer tokens at once.
    Prompt,
    /// A forced token.
    Record,
    /// A token that the model chose.
    Model,
}

/// One token of the answer as it becomes known.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The token.
    pub token: u32,
    /// Text that is complete with this token: always valid UTF-8, possibly empty. Bytes that are not UTF-8
    /// come as U+FFFD.
    pub bytes: &'a [u8],
    /// Who chose it.
    pub origin: Origin,
}

/// What the receiver of a piece wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End the generation here.
    Stop,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model said that the text is complete, or the grammar that it is.
    EndOfText,
    /// As many tokens as asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The receiver said [`Flow::Stop`].
    Cancelled,
    /// The grammar allows no token of this vocabulary here: what was said so far is the beginning of a text of the grammar,
    /// and not a whole one.
    NoTokenAllowed,
}

/// What a generation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Tokens of prompt and record.
    pub prompt_tokens: usize,
    /// How many of them were still in the cache from the call before.
    pub reused_tokens: usize,
    /// Tokens that the model chose.
    pub generated_tokens: usize,
    /// Time for prompt and record, in nanoseconds.
    pub prefill_ns: u64,
    /// Time from then to the end, in nanoseconds.
    pub decode_ns: u64,
    /// How often the context was full, and half of it given up ([`Overflow::Shift`]).
    pub shifts: usize,
    /// Why it ended.
    pub stop: StopReason,
}

/// How to continue a prompt, for [`Engine::generate_with`].
pub struct GenerateOptions<'a, 'g> {
    /// Tokens that the answer begins with, whatever the model would choose (and whatever the grammar allows: it
    /// is for what the model chooses).
    pub forced: &'a [u32],
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens that the model chooses.
    pub max_tokens: usize,
    /// The grammar that these tokens are held to, from its beginning.
    pub constraint: Option<&'a mut Constraint<'g>>,
    /// What to do when the context is full.
    pub overflow: Overflow,
}

impl Default for GenerateOptions<'_, '_> {
    /// Greedy, up to the end of the text or the context.
    fn default() -> Self {
        let sampling = Sampling::greedy();
        Self { forced: &[], sampling, max_tokens: usize::MAX, constraint: None, overflow: Overflow::Stop }
    }
}

impl Engine<'_> {
    /// Continues `prompt` with the tokens `forced`, then with up to `max_tokens` tokens of the model's, and gives
    /// each to `sink` as it becomes known. The end-of-text token is not given to `sink`.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        forced: &[u32],
        sampling: &Sampling,
        max_tokens: usize,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) -> Result<Generation, EngineError> {
        let options =
            GenerateOptions { forced, sampling: *sampling, max_tokens, ..GenerateOptions::default() };
        self.generate_with(prompt, options, sink)
    }

    /// As [`generate`](Self::generate), with all options: held to a grammar, and beyond the context's end.
    pub fn generate_with(
        &mut self,
        prompt: &[u32],
        options: GenerateOptions<'_, '_>,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) -> Result<Generation, EngineError> {
        let GenerateOptions { forced, sampling, max_tokens, mut constraint, overflow } = options;
        self.check(prompt, forced)?;
        if let Some(constraint) = &mut constraint {
            constraint.restart()?;
        }
        let started = self.clock.now_ns();
        let total = prompt.len() + forced.len();
        // The last token is always fed again: its logits are wanted.
        self.cached = self.take_over(prompt.iter().chain(forced).copied()).min(total - 1);
        let mut done = Generation {
            prompt_tokens: total,
            reused_tokens: self.cached,
            generated_tokens: 0,
            prefill_ns: 0,
            decode_ns: 0,
            shifts: 0,
            stop: StopReason::MaxTokens,
        };
        self.text.clear();

        // The record is known beforehand, so the reader need not wait for the prompt to be read.
        let mut stopped = forced.iter().any(|&token| self.emit(token, Origin::Record, sink) == Flow::Stop);
        let mut last = 0;
        // A record that is the whole answer need not be read by the model.
        if !stopped && max_tokens > 0 {
            match self.read_up_to(total, sink) {
                Some(tokens) => last = tokens,
                None => stopped = true,
            }
        }
        let prefilled = self.clock.now_ns();
        done.prefill_ns = prefilled.saturating_sub(started);

        let mut random = SplitMix64::new(sampling.seed);
        while !stopped && done.generated_tokens < max_tokens {
            let mask = match &mut constraint {
                Some(constraint) if constraint.is_complete() => {
                    done.stop = StopReason::EndOfText;
                    break;
                }
                Some(constraint) => Some(constraint.mask()?),
                None => None,
            };
            if mask.is_some_and(|mask| mask.allowed() == 0) {
                done.stop = StopReason::NoTokenAllowed;
                break;
            }
            let token = match mask.and_then(Mask::only) {
                // No need to ask the model.
                Some(only) => only,
                None => self.choose(last, mask, &sampling, &mut random)?,
            };
            if self.tokenizer.is_end(token) {
                done.stop = StopReason::EndOfText;
                break;
            }
            if let Some(constraint) = &mut constraint {
                constraint.accept(token, &self.tokenizer)?;
            }
            done.generated_tokens += 1;
            stopped = self.emit(token, Origin::Model, sink) == Flow::Stop;
            if stopped || done.generated_tokens == max_tokens {
                break;
            }
            // What is complete need not be read by the model either.
            if constraint.as_ref().is_some_and(|constraint| constraint.is_complete()) {
                continue;
            }
            if self.cached == self.history.len() {
                let Overflow::Shift { keep } = overflow else {
                    done.stop = StopReason::ContextFull;
                    break;
                };
                done.shifts += 1;
                if !self.shift(keep, sink) {
                    stopped = true;
                    break;
                }
            }
            self.feed(&[token], &mut || true);
            last = 1;
        }
        if stopped {
            done.stop = StopReason::Cancelled;
        } else if let Some(rest) = self.text.finish() {
            let token = self.history[..self.cached].last().copied().unwrap_or(0);
            sink(Piece { token, bytes: rest, origin: Origin::Model });
        }
        done.decode_ns = self.clock.now_ns().saturating_sub(prefilled);
        Ok(done)
    }

    /// Makes `tokens` the history, of which that many are in the cache already.
    fn take_over(&mut self, tokens: impl Iterator<Item = u32>) -> usize {
        let mut shared = 0;
        for (at, (slot, token)) in self.history.iter_mut().zip(tokens).enumerate() {
            if at == shared && at < self.cached && *slot == token {
                shared += 1;
            }
            *slot = token;
        }
        shared
    }

    /// Reads the history from what is cached up to `end`: tokens of the last batch. `None` where `sink` said stop.
    pub(super) fn read_up_to(
        &mut self,
        end: usize,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) -> Option<usize> {
        let (mut last, mut at_once) = (0, BATCH);
        while self.cached < end {
            let mut batch = [0u32; BATCH];
            last = at_once.min(end - self.cached);
            let batch = batch.get_mut(..last)?;
            batch.copy_from_slice(self.history.get(self.cached..self.cached + last)?);
            let progress = Piece { token: batch.last().copied()?, bytes: &[], origin: Origin::Prompt };
            let begun = self.clock.now_ns();
            if !self.feed(batch, &mut || sink(progress) == Flow::Continue) {
                return None;
            }
            let silence = self.clock.now_ns().saturating_sub(begun) / self.info.config.layers as u64;
            if silence > LONGEST_SILENCE_NS {
                at_once = last.div_ceil(2);
            }
        }
        Some(last)
    }

    /// Chooses the token behind the last of `last` tokens that were just read, among those of `mask`.
    fn choose(
        &mut self,
        last: usize,
        mask: Option<&Mask>,
        sampling: &Sampling,
        random: &mut SplitMix64,
    ) -> Result<u32, EngineError> {
        let compute = self.compute(1);
        let logits = self.model.logits(compute, last);
        // Looked at before the mask, which makes some of them infinite.
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(EngineError::NotFinite);
        }
        if let Some(mask) = mask {
            mask.apply(logits);
        }
        let recent = &self.history[self.cached.saturating_sub(PENALTY_WINDOW)..self.cached];
        penalise(logits, recent, sampling.repeat_penalty);
        sample(logits, sampling, random, self.candidates).ok_or(EngineError::NotFinite)
    }

    fn emit(&mut self, token: u32, origin: Origin, sink: &mut dyn FnMut(Piece<'_>) -> Flow) -> Flow {
        let bytes = self.text.push(|bytes| self.tokenizer.decode(token, bytes));
        sink(Piece { token, bytes, origin })
    }
}
