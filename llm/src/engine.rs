//! The engine: one loaded model that continues token sequences.
//!
//! Loading checks the file against its own metadata, takes its memory from the pool (what is on the heap, the crate's
//! page says under principle 2; it goes when the engine is dropped), and times the SIMD variants on real
//! weight rows. A generation feeds the prompt and the *record* (tokens that the answer must begin with), then samples.
//! Keys and values of a prefix shared with the call before are reused; those of earlier calls, where the caller keeps
//! them in a [`PrefixCache`](crate::prefix::PrefixCache).

mod perplexity;
mod positions;
mod reuse;
mod traffic;

use crate::clock::Clock;
use crate::gguf::Gguf;
use crate::model::config::Config;
pub use crate::model::error::LoadError;
pub use crate::model::kv::KvFormat;
use crate::model::kv::bytes_per_position;
use crate::model::matrix::{Compute, Placing, packed_bytes};
use crate::model::{BATCH, Llama};
use crate::parallel::Parallel;
use crate::pool::{Pool, PoolFull, PoolUsage, Purpose};
use crate::random::SplitMix64;
pub use crate::sample::Sampling;
use crate::sample::{Candidate, PENALTY_WINDOW, penalise, sample};
pub use crate::simd::Variant;
use crate::simd::choose::{Choice, Timing, choose};
use crate::tokenizer::Tokenizer;
use alloc::vec::Vec;
pub use perplexity::Perplexity;
pub use traffic::Traffic;

/// Reading a prompt, the longest that the receiver should wait for its next opportunity to stop, in nanoseconds.
const LONGEST_SILENCE_NS: u64 = 300_000_000;

/// What the buffers of the forward pass may take, when it is judged whether weights fit in panels.
const BUFFERS: usize = 4 << 20;

/// Less context than this is not worth running (unless the model itself has less).
pub const LEAST_CONTEXT: usize = 256;

/// Wishes for [`Engine::load`].
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Positions of the KV cache. `None`: the model's own context length, or as much of it as the pool holds
    /// (at least [`LEAST_CONTEXT`]). Long contexts cost nothing at load: the cache is not zeroed.
    pub context: Option<usize>,
    /// The SIMD variant. `None`: the fastest one, by timing.
    pub variant: Option<Variant>,
    /// Storage of keys and values.
    pub kv: KvFormat,
}

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
    /// The model said that the text is complete.
    EndOfText,
    /// As many tokens as asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The receiver said [`Flow::Stop`].
    Cancelled,
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
    /// Why it ended.
    pub stop: StopReason,
}

/// Why a call cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A token number outside the vocabulary.
    #[error("token {token} does not exist: the vocabulary has {vocabulary} tokens")]
    NoSuchToken {
        /// The number.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// Prompt and record leave no room.
    #[error("the prompt has {tokens} tokens, but the context holds {context}; shorten the question")]
    PromptTooLong {
        /// Tokens of prompt and record.
        tokens: usize,
        /// Size of the context.
        context: usize,
    },
    /// The model computed infinite or undefined logits.
    #[error("the model's output is not finite; the model file is damaged")]
    NotFinite,
}

/// Facts about the loaded model.
#[derive(Debug, Clone, Copy)]
pub struct ModelInfo<'p> {
    /// `general.name`, or "unnamed".
    pub name: &'p str,
    /// `general.architecture`.
    pub architecture: &'p str,
    /// Number of weights.
    pub parameters: u64,
    /// Type of most weights outside the embedding, as ggml names it.
    pub quantisation: &'static str,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Positions set up.
    pub context: usize,
    /// The model's shape.
    pub config: Config,
    /// The variant that decodes (one token at a time).
    pub decode_variant: Variant,
    /// The variant that reads prompts (several tokens at a time).
    pub prefill_variant: Variant,
    /// What the variants took on a slice of real rows, those that this machine can run.
    pub timings: [Option<Timing>; Variant::ALL.len()],
    /// CPUs that share the work.
    pub threads: usize,
    /// Bytes of the GGUF, which stay where they are.
    pub file_bytes: usize,
    /// Time that loading took, in nanoseconds.
    pub load_ns: u64,
}

/// One loaded model; see the module.
pub struct Engine<'p> {
    model: Llama<'p>,
    tokenizer: Tokenizer<'p>,
    pool: Pool<'p>,
    parallel: &'p dyn Parallel,
    clock: &'p dyn Clock,
    info: ModelInfo<'p>,
    kv: KvFormat,
    /// The tokens whose keys and values are in the cache; `cached` of them are.
    history: &'p mut [u32],
    cached: usize,
    candidates: &'p mut [Candidate],
    text: Utf8Stream,
}

impl<'p> Engine<'p> {
    /// Loads a model. `pool` is the memory for all its tables, buffers and cache; the GGUF's bytes are read in place as long as it lives.
    pub fn load(
        gguf: Gguf<'p>,
        mut pool: Pool<'p>,
        parallel: &'p dyn Parallel,
        clock: &'p dyn Clock,
        options: LoadOptions,
    ) -> Result<Self, LoadError> {
        let started = clock.now_ns();
        let config = Config::from_gguf(&gguf)?;
        let tokenizer = Tokenizer::from_gguf(&gguf, &mut pool)?;
        if tokenizer.vocab_size() != config.vocabulary {
            let (tokens, rows) = (tokenizer.vocab_size(), config.vocabulary);
            return Err(LoadError::VocabularyMismatch { tokens, rows });
        }
        let asked = options.context.unwrap_or(config.context);
        let choice = choose(options.variant, gguf.tensor("blk.0.ffn_down.weight").as_ref(), clock);
        let panels = choice.wants_panels() && panels_fit(&gguf, &config, &options, &pool);
        let mut model = Llama::load(&gguf, config, asked, &mut pool, Placing { panels, parallel })?;
        let candidates = pool.take_unzeroed(Purpose::Activations, config.vocabulary)?;
        let context = context(&config, &options, &pool)?;
        // Both are written before they are read, at every position: see `cached` and `KvCache::new`.
        let history = pool.take_unzeroed(Purpose::KvCache, context)?;
        model.add_cache(context, options.kv, &mut pool)?;

        let Choice { decode, prefill, timings } = choice;
        let info = ModelInfo {
            name: text(&gguf, "general.name").unwrap_or("unnamed"),
            architecture: text(&gguf, "general.architecture").unwrap_or("unknown"),
            parameters: gguf.tensors().map(|tensor| tensor.elements()).sum(),
            quantisation: main_type(&gguf),
            vocabulary: config.vocabulary,
            context,
            config,
            decode_variant: decode,
            prefill_variant: prefill,
            timings,
            threads: parallel.threads(),
            file_bytes: gguf.bytes().len(),
            load_ns: clock.now_ns().saturating_sub(started),
        };
        let text = Utf8Stream::default();
        let kv = options.kv;
        Ok(Self { model, tokenizer, pool, parallel, clock, info, kv, history, cached: 0, candidates, text })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer<'p> {
        &self.tokenizer
    }

    /// Facts about the model.
    pub fn info(&self) -> ModelInfo<'p> {
        self.info
    }

    /// How the pool is used.
    pub fn usage(&self) -> PoolUsage {
        self.pool.usage()
    }

    /// The logits behind `tokens` in a fresh context.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<&[f32], EngineError> {
        self.check(tokens, &[])?;
        self.cached = 0;
        let mut last = 0;
        for batch in tokens.chunks(BATCH) {
            last = batch.len();
            self.feed(batch, &mut || true);
        }
        let compute = self.compute(1);
        Ok(self.model.logits(compute, last))
    }

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
        self.check(prompt, forced)?;
        let started = self.clock.now_ns();
        let fed = || prompt.iter().chain(forced).copied();
        let total = prompt.len() + forced.len();
        let shared = fed().zip(&self.history[..self.cached]).take_while(|(a, b)| a == *b).count();
        // The last token is always fed again: its logits are wanted.
        self.cached = shared.min(total - 1);
        let mut done = Generation {
            prompt_tokens: total,
            reused_tokens: self.cached,
            generated_tokens: 0,
            prefill_ns: 0,
            decode_ns: 0,
            stop: StopReason::MaxTokens,
        };
        self.text.clear();

        // The record is known beforehand, so the reader need not wait for the prompt to be read.
        let mut stopped = forced.iter().any(|&token| self.emit(token, Origin::Record, sink) == Flow::Stop);
        let (mut last, mut at_once) = (0, BATCH);
        // A record that is the whole answer need not be read by the model.
        while !stopped && max_tokens > 0 && self.cached < total {
            let mut batch = [0u32; BATCH];
            last = 0;
            for (slot, token) in batch[..at_once].iter_mut().zip(fed().skip(self.cached)) {
                *slot = token;
                last += 1;
            }
            let progress = Piece { token: batch[last - 1], bytes: &[], origin: Origin::Prompt };
            let begun = self.clock.now_ns();
            stopped = !self.feed(&batch[..last], &mut || sink(progress) == Flow::Continue);
            let silence = self.clock.now_ns().saturating_sub(begun) / self.info.config.layers as u64;
            if silence > LONGEST_SILENCE_NS {
                at_once = last.div_ceil(2);
            }
        }
        let prefilled = self.clock.now_ns();
        done.prefill_ns = prefilled.saturating_sub(started);

        let mut random = SplitMix64::new(sampling.seed);
        while !stopped && done.generated_tokens < max_tokens {
            let compute = self.compute(1);
            let logits = self.model.logits(compute, last);
            let recent = &self.history[self.cached.saturating_sub(PENALTY_WINDOW)..self.cached];
            penalise(logits, recent, sampling.repeat_penalty);
            let token =
                sample(logits, sampling, &mut random, self.candidates).ok_or(EngineError::NotFinite)?;
            if self.tokenizer.is_end(token) {
                done.stop = StopReason::EndOfText;
                break;
            }
            done.generated_tokens += 1;
            stopped = self.emit(token, Origin::Model, sink) == Flow::Stop;
            if stopped || done.generated_tokens == max_tokens {
                break;
            }
            if self.cached == self.history.len() {
                done.stop = StopReason::ContextFull;
                break;
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

    /// Runs a batch behind what is cached; `false`, and nothing more in the cache, where `go_on` said no.
    fn feed(&mut self, tokens: &[u32], go_on: &mut dyn FnMut() -> bool) -> bool {
        let compute = self.compute(tokens.len());
        if !self.model.forward(compute, tokens, self.cached, go_on) {
            return false;
        }
        let end = self.cached + tokens.len();
        if let Some(history) = self.history.get_mut(self.cached..end) {
            history.copy_from_slice(tokens);
        }
        self.cached = end;
        true
    }

    /// CPUs and instructions for a batch.
    fn compute(&self, tokens: usize) -> Compute<'p> {
        let variant = if tokens == 1 { self.info.decode_variant } else { self.info.prefill_variant };
        Compute { parallel: self.parallel, variant }
    }

    fn emit(&mut self, token: u32, origin: Origin, sink: &mut dyn FnMut(Piece<'_>) -> Flow) -> Flow {
        let bytes = self.text.push(|bytes| self.tokenizer.decode(token, bytes));
        sink(Piece { token, bytes, origin })
    }

    fn check(&self, prompt: &[u32], forced: &[u32]) -> Result<(), EngineError> {
        let vocabulary = self.info.vocabulary;
        if let Some(&token) = prompt.iter().chain(forced).find(|&&token| token as usize >= vocabulary) {
            return Err(EngineError::NoSuchToken { token, vocabulary });
        }
        let (tokens, context) = (prompt.len() + forced.len(), self.history.len());
        match tokens {
            0 => Err(EngineError::EmptyPrompt),
            _ if tokens > context => Err(EngineError::PromptTooLong { tokens, context }),
            _ => Ok(()),
        }
    }
}

/// Whether the pool has room for the weights in panels, and a context worth running beside them.
fn panels_fit(gguf: &Gguf<'_>, config: &Config, options: &LoadOptions, pool: &Pool<'_>) -> bool {
    let matrices = gguf.tensors().filter(|tensor| tensor.dims[1] > 1);
    let packed = matrices.fold(0usize, |sum, tensor| {
        let [columns, rows] = [0, 1].map(|i| usize::try_from(tensor.dims[i]).unwrap_or(usize::MAX));
        sum.saturating_add(packed_bytes(tensor.kind, columns, rows))
    });
    let positions = options.context.unwrap_or(LEAST_CONTEXT).min(config.context);
    let others = positions.saturating_mul(bytes_per_position(config, options.kv)).saturating_add(BUFFERS);
    packed.saturating_add(others) <= pool.usage().free
}

/// Positions to set up.
fn context(config: &Config, options: &LoadOptions, pool: &Pool<'_>) -> Result<usize, LoadError> {
    // A position's keys, values and its token; and the padding of the pieces.
    let each = bytes_per_position(config, options.kv) + size_of::<u32>();
    let free = pool.usage().free;
    let fitting = free.saturating_sub(8 * crate::pool::ALIGNMENT) / each;
    let (wanted, least) = match options.context {
        Some(asked) if !(1..=config.context).contains(&asked) => {
            return Err(LoadError::BadContext { asked, limit: config.context });
        }
        Some(asked) => (asked, asked),
        None => (config.context, LEAST_CONTEXT.min(config.context)),
    };
    if fitting < least {
        let wanted = least.saturating_mul(each);
        return Err(PoolFull { purpose: Purpose::KvCache, wanted, free }.into());
    }
    Ok(wanted.min(fitting))
}

fn text<'p>(gguf: &Gguf<'p>, key: &str) -> Option<&'p str> {
    gguf.get(key).and_then(|value| value.as_str())
}

/// The element type of most weights in the blocks.
fn main_type(gguf: &Gguf<'_>) -> &'static str {
    let in_blocks = |name: &str| name.starts_with("blk.");
    let weights = |kind| -> u64 {
        gguf.tensors().filter(|t| t.kind == kind && in_blocks(t.name)).map(|t| t.elements()).sum()
    };
    let mut kinds: Vec<_> = gguf.tensors().filter(|t| in_blocks(t.name)).map(|t| t.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.into_iter().max_by_key(|&kind| weights(kind)).map_or("none", |kind| kind.name())
}

/// Cuts a stream of token bytes at character borders.
#[derive(Default)]
struct Utf8Stream {
    /// Bytes of a character that is not complete yet.
    pending: Vec<u8>,
    complete: Vec<u8>,
}

impl Utf8Stream {
    fn clear(&mut self) {
        self.pending.clear();
    }

    /// Appends bytes and returns what is complete.
    fn push(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        append(&mut self.pending);
        self.complete.clear();
        let mut used = 0;
        for chunk in self.pending.utf8_chunks() {
            self.complete.extend_from_slice(chunk.valid().as_bytes());
            used += chunk.valid().len();
            let invalid = chunk.invalid();
            let at_end = used + invalid.len() == self.pending.len();
            if at_end && core::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none()) {
                break;
            }
            if !invalid.is_empty() {
                self.complete.extend_from_slice("\u{FFFD}".as_bytes());
                used += invalid.len();
            }
        }
        self.pending.drain(..used);
        &self.complete
    }

    /// What stands for a character that was never completed.
    fn finish(&mut self) -> Option<&'static [u8]> {
        let incomplete = !self.pending.is_empty();
        self.pending.clear();
        incomplete.then_some("\u{FFFD}".as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_utf8_and_add_up_to_the_text(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in 1usize..5) {
            let mut stream = Utf8Stream::default();
            let mut joined = alloc::string::String::new();
            for part in bytes.chunks(cut) {
                joined.push_str(core::str::from_utf8(stream.push(|out| out.extend_from_slice(part))).unwrap());
            }
            joined.push_str(core::str::from_utf8(stream.finish().unwrap_or_default()).unwrap());
            prop_assert_eq!(joined, alloc::string::String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn whole_text_passes_unchanged(text in "\\PC{0,20}", cut in 1usize..4) {
            let mut stream = Utf8Stream::default();
            let mut joined = Vec::new();
            for part in text.as_bytes().chunks(cut) {
                joined.extend_from_slice(stream.push(|out| out.extend_from_slice(part)));
            }
            prop_assert_eq!(joined, text.as_bytes());
        }
    }
}
