//! Between the engine's own keys and values and a [`PrefixCache`].

use super::Engine;
use crate::model::kv::bytes_per_position;
use crate::prefix::{CHUNK, PrefixCache};

impl Engine<'_> {
    /// Brings back keys and values of the beginning of `prompt` that `prefixes` knows, beyond what the call before left.
    /// Before [`generate`](Self::generate), with the tokens of prompt and record. How many tokens it brought back.
    pub fn recall<S: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        prompt: &[u32],
        prefixes: &mut PrefixCache<S>,
    ) -> usize {
        let live = self.live(prompt);
        let mut back = 0;
        let bytes = CHUNK * self.bytes_per_position();
        let mut walk = prefixes.walk();
        for (chunk, start) in prompt.chunks_exact(CHUNK).zip((0..).step_by(CHUNK)) {
            let end = start + CHUNK;
            let Some(known) = walk.step(chunk).filter(|known| known.len() >= bytes) else { break };
            if end > live {
                let Some(history) = self.history.get_mut(start..end) else { break };
                history.copy_from_slice(chunk);
                self.model.cache().copy_in(start..end, known);
                self.cached = end;
                back = end - live;
            }
        }
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
        let live = self.live(prompt);
        let bytes = CHUNK * self.bytes_per_position();
        let mut walk = prefixes.walk();
        for (chunk, start) in prompt[..live].chunks_exact(CHUNK).zip((0..).step_by(CHUNK)) {
            if walk.step(chunk).is_none() {
                let Some(out) = walk.add(chunk, bytes, allocate) else { return };
                self.model.cache().copy_out(start..start + CHUNK, out);
            }
        }
    }

    /// How many of these tokens are in the cache of the model, from the first one on.
    fn live(&self, tokens: &[u32]) -> usize {
        tokens.iter().zip(&self.history[..self.cached]).take_while(|(a, b)| a == b).count()
    }

    /// Bytes of keys and values of one position.
    pub fn bytes_per_position(&self) -> usize {
        bytes_per_position(self.info.config.kv_shape(), self.kv)
    }
}
