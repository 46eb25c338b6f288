//! Between the engine's own keys and values and a [`PrefixCache`].

use super::histories::{Heir, History};
use super::{Engine, Sequence};
use crate::model::kv::bytes_per_position;
use crate::prefix::{CHUNK, PrefixCache};

impl Sequence {
    /// Brings back keys and values of the beginning of its prompt that `prefixes` knows, beyond what it took over. Behind
    /// [`Engine::begin`], which made it, and before the first step. How many tokens it brought back.
    pub fn recall<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        engine: &mut Engine<'_>,
        prefixes: &mut PrefixCache<S>,
    ) -> usize {
        let before = self.history.read;
        // One that has nothing to read has no pages either.
        if self.positions < self.given || before >= self.given {
            return 0;
        }
        engine.copy_in(&mut self.history, prefixes);
        // The last token is always read again: its logits are wanted.
        self.history.read = self.history.read.min(self.given.saturating_sub(1)).max(before);
        let back = self.history.read - before;
        self.done.reused_tokens += back;
        back
    }

    /// Copies keys and values of its prompt and record to `prefixes`, as far as they were computed; others that begin alike need
    /// not wait for its end. `allocate` gives memory of at least so many bytes, or none.
    pub fn remember<S: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        engine: &Engine<'_>,
        prefixes: &mut PrefixCache<S>,
        allocate: &mut dyn FnMut(usize) -> Option<S>,
    ) {
        let read = self.history.read.min(self.done.prompt_tokens);
        // After a shift these are no longer the tokens of the prompt.
        if self.done.shifts == 0 {
            engine.copy_out(&self.history, read, prefixes, allocate);
        }
    }
}

impl Engine<'_> {
    /// Brings back keys and values of the beginning of `prompt` that `prefixes` knows, beyond what the call before left.
    /// Before [`generate`](Self::generate), with the tokens of prompt and record. How many tokens it brought back.
    pub fn recall<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        prompt: &[u32],
        prefixes: &mut PrefixCache<S>,
    ) -> usize {
        if prompt.len() > self.info.context {
            return 0;
        }
        let tokens = prompt.iter().copied();
        let Ok(mut history) = self.histories.open(tokens, prompt.len(), Heir::OfTheLast) else { return 0 };
        let back = self.copy_in(&mut history, prefixes);
        self.histories.rest(history);
        back
    }

    /// Copies keys and values of `prompt` to `prefixes`, as far as they were computed. After
    /// [`generate`](Self::generate), with the same tokens. `allocate` gives memory of at least so many bytes, or none.
    pub fn remember<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        prompt: &[u32],
        prefixes: &mut PrefixCache<S>,
        allocate: &mut dyn FnMut(usize) -> Option<S>,
    ) {
        let Some(last) = self.histories.last() else { return };
        let live = last.shared_with(prompt.iter().copied());
        self.copy_out(last, live, prefixes, allocate);
    }

    /// Makes what `prefixes` knows of a history's tokens count as read; how many more they are.
    fn copy_in<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        history: &mut History,
        prefixes: &mut PrefixCache<S>,
    ) -> usize {
        let live = history.read;
        let bytes = CHUNK * self.bytes_per_position();
        let mut walk = prefixes.walk();
        for start in (0..history.tokens.len()).step_by(CHUNK) {
            let end = start + CHUNK;
            let Some(chunk) = history.tokens.get(start..end) else { break };
            let Some(known) = walk.step(chunk).filter(|known| known.len() >= bytes) else { break };
            if end > live {
                self.model.cache_mut().copy_in(history.pages(), start..end, known);
                history.read = end;
            }
        }
        history.read - live
    }

    /// Copies the whole chunks among the first `count` tokens of a history to `prefixes`.
    fn copy_out<S: AsRef<[u8]> + AsMut<[u8]>>(
        &self,
        history: &History,
        count: usize,
        prefixes: &mut PrefixCache<S>,
        allocate: &mut dyn FnMut(usize) -> Option<S>,
    ) {
        let bytes = CHUNK * self.bytes_per_position();
        let mut walk = prefixes.walk();
        for (chunk, start) in history.tokens[..count].chunks_exact(CHUNK).zip((0..).step_by(CHUNK)) {
            if walk.step(chunk).is_none() {
                let Some(out) = walk.add(chunk, bytes, allocate) else { return };
                self.model.cache().copy_out(history.pages(), start..start + CHUNK, out);
            }
        }
    }

    /// Bytes of keys and values of one position.
    pub fn bytes_per_position(&self) -> usize {
        bytes_per_position(self.info.config.kv_shape(), self.kv)
    }
}
