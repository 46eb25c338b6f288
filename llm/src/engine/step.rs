//! One turn of all generations under way, as one batch: "continuous batching" (Yu et al. 2022, "Orca") with prompts read in
//! chunks beside the others' decoding steps (Agrawal et al. 2023, "SARATHI").
//!
//! Decoding is bound by reading weights, which a batch reads once for all its rows; so several sequences together take little
//! longer than one. A long prompt would hold all the others up, so only some of its tokens go into each turn. What a
//! sequence says does not depend on who else is in the batch.

use super::sequence::Next;
use super::{Engine, EngineError, Flow, Origin, Piece, Sequence, StopReason};
use crate::model::{BATCH, LOGIT_ROWS, Row};

/// What a turn did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Rows of sequences that have read their prompt.
    pub decoded: usize,
    /// Rows of prompts and records.
    pub prompt: usize,
}

impl Engine<'_> {
    /// One turn: every sequence that has read its prompt gets its next token, and what is left of [`BATCH`] rows
    /// goes to prompts, those that come first in `sequences` first, `prompt_tokens` rows in all at most: that bounds how long
    /// the others wait. Of more than [`BATCH`] sequences the later ones wait; sequences that have ended are left alone.
    ///
    /// `sink` gets each token, with the number of its sequence in `sequences`, as it becomes known, and may stop that
    /// sequence. Each says by [`Sequence::ended`] that, and why, it ended; what goes wrong with one ends only that one.
    ///
    /// `go_on` is asked before each layer of the model. Where it says no the batch is given up and the answer is `None`:
    /// all sequences stand where they stood before, and can be carried on. The turn allocates nothing but what a grammar's new
    /// states need.
    pub fn step(
        &mut self,
        sequences: &mut [&mut Sequence],
        prompt_tokens: usize,
        go_on: &mut dyn FnMut() -> bool,
        sink: &mut dyn FnMut(usize, Piece<'_>) -> Flow,
    ) -> Option<Step> {
        for (index, sequence) in sequences.iter_mut().enumerate() {
            self.say_record(sequence, &mut |piece| sink(index, piece));
        }
        let step = self.read(sequences, prompt_tokens, go_on)?;
        self.choose(sequences, sink);
        Some(step)
    }

    /// Says the record, which is known beforehand: its reader need not wait for the prompt to be read.
    pub(super) fn say_record(&self, sequence: &mut Sequence, sink: &mut dyn FnMut(Piece<'_>) -> Flow) {
        let record = sequence.given - core::mem::take(&mut sequence.record)..sequence.given;
        for at in record {
            let Some(&token) = sequence.history.tokens.get(at) else { break };
            if sequence.ended.is_none() && self.say(sequence, token, Origin::Record, sink) == Flow::Stop {
                self.finish(sequence, Ok(StopReason::Cancelled), sink);
            }
        }
        // A record that is the whole answer need not be read by the model.
        if sequence.max_tokens == 0 && sequence.ended.is_none() {
            self.finish(sequence, Ok(StopReason::MaxTokens), sink);
        }
    }

    /// Makes a batch of what is to be read, and reads it; see [`step`](Self::step).
    pub(super) fn read(
        &mut self,
        sequences: &mut [&mut Sequence],
        prompt_tokens: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Option<Step> {
        let mut step = Step::default();
        for sequence in sequences.iter_mut() {
            let decodes = sequence.ended.is_none() && !sequence.is_reading();
            sequence.share = usize::from(decodes && step.decoded < BATCH);
            step.decoded += sequence.share;
        }
        let most = prompt_tokens.min(BATCH - step.decoded);
        for sequence in sequences.iter_mut().filter(|sequence| sequence.is_reading()) {
            sequence.share = sequence.history.unread().min(most - step.prompt);
            step.prompt += sequence.share;
        }
        let rows = sequences.iter().flat_map(|sequence| sequence.history.rows(sequence.share));
        if !self.run(rows, go_on) {
            return None;
        }
        let mut end = 0;
        for sequence in sequences.iter_mut().filter(|sequence| sequence.share > 0) {
            sequence.history.read += sequence.share;
            end += sequence.share;
            sequence.last_row = end - 1;
        }
        Some(step)
    }

    /// Runs a batch of at most [`BATCH`] rows; `false` where `go_on` said no.
    pub(super) fn run<'a>(
        &mut self,
        rows: impl Iterator<Item = Row<'a>>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> bool {
        let (mut batch, mut count) = ([Row::NONE; BATCH], 0);
        for (slot, row) in batch.iter_mut().zip(rows) {
            *slot = row;
            count += 1;
        }
        let compute = self.compute(count);
        count == 0 || self.model.forward(compute, &batch[..count], go_on)
    }

    /// Has each sequence that stands at the end of what is known say its next token.
    pub(super) fn choose(
        &mut self,
        sequences: &mut [&mut Sequence],
        sink: &mut dyn FnMut(usize, Piece<'_>) -> Flow,
    ) {
        let now = self.clock.now_ns();
        let (mut asking, mut count) = ([0usize; BATCH], 0);
        for (index, sequence) in sequences.iter_mut().enumerate() {
            if !sequence.is_ready() {
                continue;
            }
            sequence.prefilled_ns.get_or_insert(now);
            match sequence.by_grammar() {
                Ok(Next::Ask) => {
                    // No more sequences than rows have a share in the batch.
                    asking[count] = index;
                    count += 1;
                }
                Ok(Next::Token(token)) => self.accept(sequence, Ok(token), &mut |piece| sink(index, piece)),
                Ok(Next::End(stop)) => self.finish(sequence, Ok(stop), &mut |piece| sink(index, piece)),
                Err(error) => self.finish(sequence, Err(error), &mut |piece| sink(index, piece)),
            }
        }
        for asking in asking[..count].chunks(LOGIT_ROWS) {
            let (mut rows, mut chosen) = ([0; LOGIT_ROWS], [Ok(0); LOGIT_ROWS]);
            rows.iter_mut().zip(asking).for_each(|(row, &index)| *row = sequences[index].last_row);
            let compute = self.compute(asking.len());
            let mut logits = self.model.logits(compute, &rows[..asking.len()]);
            for (at, (chosen, &index)) in chosen.iter_mut().zip(asking).enumerate() {
                *chosen = sequences[index].choose(logits.of(at), self.candidates);
            }
            for (chosen, &index) in chosen.into_iter().zip(asking) {
                self.accept(sequences[index], chosen, &mut |piece| sink(index, piece));
            }
        }
    }

    /// Goes on with a token that was chosen: says it, and has it read next unless the generation ends here.
    fn accept(
        &self,
        sequence: &mut Sequence,
        chosen: Result<u32, EngineError>,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) {
        let accepted = chosen.and_then(|token| {
            let constraint = sequence.constraint.as_mut().filter(|_| !self.tokenizer.is_end(token));
            constraint.map_or(Ok(()), |constraint| constraint.accept(token, &self.tokenizer))?;
            Ok(token)
        });
        let end = match accepted {
            Err(error) => Some(Err(error)),
            Ok(token) if self.tokenizer.is_end(token) => Some(Ok(StopReason::EndOfText)),
            Ok(token) => {
                sequence.done.generated_tokens += 1;
                let flow = self.say(sequence, token, Origin::Model, sink);
                // What is complete need not be read by the model.
                let complete =
                    || sequence.constraint.as_ref().is_some_and(|constraint| constraint.is_complete());
                if flow == Flow::Stop {
                    Some(Ok(StopReason::Cancelled))
                } else if sequence.done.generated_tokens == sequence.max_tokens {
                    Some(Ok(StopReason::MaxTokens))
                } else if complete() {
                    Some(Ok(StopReason::EndOfText))
                } else if !sequence.push(token) {
                    Some(Ok(StopReason::ContextFull))
                } else {
                    None
                }
            }
        };
        if let Some(end) = end {
            self.finish(sequence, end, sink);
        }
    }

    fn say(
        &self,
        sequence: &mut Sequence,
        token: u32,
        origin: Origin,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) -> Flow {
        let bytes = sequence.text.push(|bytes| self.tokenizer.decode(token, bytes));
        sink(Piece { token, bytes, origin })
    }

    /// Marks the end of a generation, and says what is left of its text.
    pub(super) fn finish(
        &self,
        sequence: &mut Sequence,
        end: Result<StopReason, EngineError>,
        sink: &mut dyn FnMut(Piece<'_>) -> Flow,
    ) {
        let now = self.clock.now_ns();
        let prefilled = sequence.prefilled_ns.unwrap_or(now);
        sequence.done.prefill_ns = prefilled.saturating_sub(sequence.begun_ns);
        sequence.done.decode_ns = now.saturating_sub(prefilled);
        sequence.ended = Some(end);
        let Ok(stop) = end else { return };
        sequence.done.stop = stop;
        if stop != StopReason::Cancelled
            && let Some(rest) = sequence.text.finish()
        {
            let token = sequence.history.tokens.last().copied().unwrap_or(0);
            sink(Piece { token, bytes: rest, origin: Origin::Rest });
        }
    }
}
