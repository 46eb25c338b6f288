//! Generation: prompt and record are read, then the model chooses token after token. [`Engine::generate_with`] does so
//! for one sequence alone, by the same steps as for several ([`Engine::begin`], [`Engine::step`], [`Engine::end`]).

use super::histories::Heir;
use super::{Engine, EngineError, Overflow, Sequence};
use crate::grammar::Constraint;
use crate::model::BATCH;
use crate::random::SplitMix64;
use crate::sample::Sampling;

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
    /// No token: what stands for a character that the model began and did not complete.
    Rest,
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
    /// How many of them were still in the cache from a generation before.
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

/// How to continue a prompt. The grammar is lent to [`Engine::generate_with`], and given to [`Engine::begin`].
pub struct GenerateOptions<'a, C = &'a mut Constraint> {
    /// Tokens that the answer begins with, whatever the model would choose (and whatever the grammar allows: it
    /// is for what the model chooses).
    pub forced: &'a [u32],
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens that the model chooses.
    pub max_tokens: usize,
    /// The grammar that these tokens are held to, from its beginning.
    pub constraint: Option<C>,
    /// What to do when the context is full.
    pub overflow: Overflow,
}

impl<C> Default for GenerateOptions<'_, C> {
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
        mut options: GenerateOptions<'_>,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) -> Result<Generation, EngineError> {
        let mut lent = options.constraint.take();
        if let Some(constraint) = &mut lent {
            constraint.restart()?;
        }
        let mut sequence = self.start(prompt, &options, Heir::OfTheLast)?;
        sequence.constraint = lent.as_mut().map(|constraint| constraint.take());
        self.say_record(&mut sequence, sink);
        let mut at_once = BATCH;
        while sequence.ended.is_none() {
            let reading = sequence.is_reading();
            let count = sequence.history.unread().min(at_once);
            let last = sequence.history.tokens.get(sequence.history.read + count - 1).copied().unwrap_or(0);
            let progress = Piece { token: last, bytes: &[], origin: Origin::Prompt };
            let begun = self.clock.now_ns();
            let mut go_on = || !reading || sink(progress) == Flow::Continue;
            if self.read(&mut [&mut sequence], at_once, &mut go_on).is_none() {
                self.finish(&mut sequence, Ok(StopReason::Cancelled), sink);
                break;
            }
            let silence = self.clock.now_ns().saturating_sub(begun) / self.info.config.layers as u64;
            if silence > LONGEST_SILENCE_NS {
                at_once = count.div_ceil(2);
            }
            self.choose(&mut [&mut sequence], &mut |_, piece| sink(piece));
        }
        if let (Some(lent), Some(constraint)) = (lent, sequence.constraint.take()) {
            *lent = constraint;
        }
        self.end(sequence)
    }

    /// Begins a generation that shares the model with others: [`step`](Self::step) carries it on and [`end`](Self::end)
    /// ends it. It takes its pages of the cache now, for prompt, record and `max_tokens` (for the whole context, if that
    /// is less), so `max_tokens` should be what is needed. [`EngineError::CacheFull`] where others hold them.
    ///
    /// Of the sequences that have ended, the one that begins most alike is taken over.
    pub fn begin(
        &mut self,
        prompt: &[u32],
        mut options: GenerateOptions<'_, Constraint>,
    ) -> Result<Sequence, EngineError> {
        let mut constraint = options.constraint.take();
        if let Some(constraint) = &mut constraint {
            constraint.restart()?;
        }
        let mut sequence = self.start(prompt, &options, Heir::OfTheNearest)?;
        sequence.constraint = constraint;
        Ok(sequence)
    }

    /// Ends a generation, at an opportunity of the caller's if it has not ended itself ([`StopReason::Cancelled`]). What
    /// it read rests in its pages until they are needed.
    pub fn end(&mut self, mut sequence: Sequence) -> Result<Generation, EngineError> {
        if sequence.ended.is_none() {
            self.finish(&mut sequence, Ok(StopReason::Cancelled), &mut |_| Flow::Continue);
        }
        self.histories.rest(sequence.history);
        self.text = sequence.text;
        let ended = sequence.ended.unwrap_or(Ok(StopReason::Cancelled));
        ended.map(|stop| Generation { stop, ..sequence.done })
    }

    /// Positions that [`begin`](Self::begin) could give a sequence now.
    pub fn free_positions(&self) -> usize {
        self.histories.room().min(self.info.context)
    }

    /// A sequence without a grammar.
    fn start<C>(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions<'_, C>,
        heir: Heir,
    ) -> Result<Sequence, EngineError> {
        let &GenerateOptions { forced, sampling, max_tokens, overflow, .. } = options;
        self.check(prompt, forced)?;
        let begun_ns = self.clock.now_ns();
        let given = prompt.len() + forced.len();
        // The token that is chosen last is not read, and without one to choose nothing is.
        let positions = match max_tokens {
            0 => 0,
            _ => given.saturating_add(max_tokens - 1).min(self.info.context),
        };
        let tokens = prompt.iter().chain(forced).copied();
        let mut history = self.histories.open(tokens, positions, heir)?;
        // The last token is always read again: its logits are wanted.
        history.read = history.read.min(given - 1);
        let mut text = core::mem::take(&mut self.text);
        text.clear();
        let done = Generation {
            prompt_tokens: given,
            reused_tokens: history.read,
            generated_tokens: 0,
            prefill_ns: 0,
            decode_ns: 0,
            shifts: 0,
            stop: StopReason::MaxTokens,
        };
        Ok(Sequence {
            history,
            given,
            record: forced.len(),
            positions,
            sampling,
            random: SplitMix64::new(sampling.seed),
            max_tokens,
            constraint: None,
            overflow,
            text,
            begun_ns,
            prefilled_ns: None,
            done,
            ended: None,
            share: 0,
            last_row: 0,
        })
    }
}
