//! The engine: one loaded model that continues token sequences.
//!
//! Loading checks the file against its own metadata, takes its memory from the pool (what is on the heap, the crate's
//! page says under principle 2; it goes when the engine is dropped), and times the SIMD variants on real
//! weight rows. A generation feeds the prompt and the *record* (tokens that the answer must begin with), then samples.
//! Several can be under way at once, one batch of rows doing a step of each ([`Engine::step`]); the cache is shared out among
//! them in pages. Keys and values of a prefix shared with a generation that ended are reused while nobody needs their pages;
//! those of earlier ones, where the caller keeps them in a [`PrefixCache`](crate::prefix::PrefixCache).

mod embed;
mod generate;
mod histories;
mod overflow;
mod perplexity;
mod positions;
mod reuse;
mod score;
mod sequence;
mod step;
mod text;
mod traffic;

pub use embed::Pooling;
pub use generate::{Flow, GenerateOptions, Generation, Origin, Piece, StopReason};
pub use overflow::Overflow;
pub use score::Score;
pub use sequence::Sequence;
pub use step::Step;

use crate::clock::Clock;
use crate::gguf::Gguf;
use crate::grammar::ConstraintError;
use crate::model::config::Config;
pub use crate::model::error::LoadError;
pub use crate::model::kv::KvFormat;
use crate::model::kv::bytes_per_position;
use crate::model::matrix::{Compute, Placing, packed_bytes};
use crate::model::stored::CHUNK;
use crate::model::{BATCH, Llama, buffer_bytes};
use crate::parallel::Parallel;
use crate::pool::{ALIGNMENT, Pool, PoolFull, PoolUsage, Purpose};
use crate::sample::Candidate;
pub use crate::sample::Sampling;
pub use crate::simd::Variant;
use crate::simd::choose::{Choice, Timing, choose};
use crate::tokenizer::Tokenizer;
use alloc::vec::Vec;
use core::ops::Range;
use histories::{Heir, Histories, History};
pub use perplexity::Perplexity;
use text::Utf8Stream;
pub use traffic::Traffic;

/// Where no context is asked for, weights are packed into panels only if so many positions fit beside them.
const CONTEXT_BESIDE_PANELS: usize = 2048;

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
    /// Other sequences hold the cache's pages.
    #[error(
        "{wanted} positions of the context are needed, but {free} are free; try again when an answer under way has ended"
    )]
    CacheFull {
        /// Positions asked for.
        wanted: usize,
        /// Positions that are free, or held by sequences that ended.
        free: usize,
    },
    /// The heap has no room for a sequence's tokens.
    #[error("not enough memory for {bytes} bytes of a sequence's tokens; ask for fewer")]
    NoMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The model computed infinite or undefined logits.
    #[error("the model's output is not finite; the model file is damaged")]
    NotFinite,
    /// The grammar's tables pass their bounds.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
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
    histories: Histories<'p>,
    candidates: &'p mut [Candidate],
    embedding: embed::Buffers<'p>,
    /// For the next sequence.
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
        let room = panels_fit(&gguf, &config, &options, &pool);
        let choice = choose(options.variant, gguf.tensor("blk.0.ffn_down.weight").as_ref(), room, clock);
        let panels = choice.panels;
        let mut model = Llama::load(&gguf, config, asked, &mut pool, Placing { panels, parallel })?;
        let candidates = pool.take_unzeroed(Purpose::Activations, config.vocabulary)?;
        let embedding = embed::Buffers::new(config.width, &mut pool)?;
        let context = context(&config, &options, &pool)?;
        let histories = Histories::new(context.div_ceil(CHUNK), &mut pool)?;
        model.add_cache(context, options.kv, &mut pool)?;

        let Choice { decode, prefill, timings, .. } = choice;
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
        Ok(Self { model, tokenizer, pool, parallel, clock, info, kv, histories, candidates, embedding, text })
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
        let mut history = self.histories.open(tokens.iter().copied(), tokens.len(), Heir::OfTheLast)?;
        history.read = 0;
        let mut last = 0;
        while history.unread() > 0 {
            last = self.feed(&mut history).len() - 1;
        }
        self.histories.rest(history);
        let compute = self.compute(1);
        Ok(self.model.logits(compute, &[last]).first())
    }

    /// Reads the next batch of a history; the positions that it has.
    fn feed(&mut self, history: &mut History) -> Range<usize> {
        let read = history.read;
        let end = read + history.unread().min(BATCH);
        self.run(history.rows(end - read), &mut || true);
        history.read = end;
        read..end
    }

    /// CPUs and instructions for a batch.
    fn compute(&self, tokens: usize) -> Compute<'p> {
        let variant = if tokens == 1 { self.info.decode_variant } else { self.info.prefill_variant };
        Compute { parallel: self.parallel, variant }
    }

    fn check(&self, prompt: &[u32], forced: &[u32]) -> Result<(), EngineError> {
        let vocabulary = self.info.vocabulary;
        if let Some(&token) = prompt.iter().chain(forced).find(|&&token| token as usize >= vocabulary) {
            return Err(EngineError::NoSuchToken { token, vocabulary });
        }
        let (tokens, context) = (prompt.len() + forced.len(), self.info.context);
        match tokens {
            0 => Err(EngineError::EmptyPrompt),
            _ if tokens > context => Err(EngineError::PromptTooLong { tokens, context }),
            _ => Ok(()),
        }
    }
}

/// Whether the pool has room for the weights in panels, and for buffers and a context worth having beside them.
fn panels_fit(gguf: &Gguf<'_>, config: &Config, options: &LoadOptions, pool: &Pool<'_>) -> bool {
    let tied = gguf.tensor("output.weight").is_none();
    let matrices = gguf.tensors().filter(|tensor| tied || tensor.name != "token_embd.weight");
    let packed = matrices.fold(0usize, |sum, tensor| {
        let [columns, rows] = [0, 1].map(|i| usize::try_from(tensor.dims[i]).unwrap_or(usize::MAX));
        // A vector is copied as it is; each piece of the pool may be padded.
        let bytes = if rows > 1 { packed_bytes(tensor.kind, columns, rows) } else { tensor.data.len() };
        sum.saturating_add(bytes).saturating_add(2 * ALIGNMENT)
    });
    let pages = options.context.unwrap_or(CONTEXT_BESIDE_PANELS).min(config.context).div_ceil(CHUNK);
    let others = pages
        .saturating_mul(bytes_per_page(config, options.kv))
        .saturating_add(buffer_bytes(config))
        .saturating_add(config.vocabulary.saturating_mul(size_of::<Candidate>()))
        .saturating_add(16 * ALIGNMENT);
    packed.saturating_add(others) <= pool.usage().free
}

/// Keys and values of a page, and its number.
fn bytes_per_page(config: &Config, kv: KvFormat) -> usize {
    bytes_per_position(config.kv_shape(), kv).saturating_mul(CHUNK).saturating_add(size_of::<u32>())
}

/// Positions to set up.
fn context(config: &Config, options: &LoadOptions, pool: &Pool<'_>) -> Result<usize, LoadError> {
    // The cache is in whole pages; and there is the padding of the pieces.
    let page = bytes_per_page(config, options.kv);
    let free = pool.usage().free;
    let fitting = free.saturating_sub(8 * ALIGNMENT) / page * CHUNK;
    let (wanted, least) = match options.context {
        Some(asked) if !(1..=config.context).contains(&asked) => {
            return Err(LoadError::BadContext { asked, limit: config.context });
        }
        Some(asked) => (asked, asked),
        None => (config.context, LEAST_CONTEXT.min(config.context)),
    };
    if fitting < least {
        let wanted = least.div_ceil(CHUNK).saturating_mul(page);
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
