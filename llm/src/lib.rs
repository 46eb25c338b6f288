//! A GGUF language model for a kernel: reader, tokenizer, quantised integer kernels, forward pass of the llama
//! family, sampling, and a rule engine that answers where no model is loaded.
//!
//! Design principles, in order:
//!
//! 1. **The same tokens everywhere.** A row of a quantised matrix times an activation vector is
//!    computed as one exact 64-bit integer ([`quant`]), so every SIMD variant, thread count, batch size
//!    and machine gives bit-identical logits. What remains in floating point has one written order.
//! 2. **All memory of a run comes from one pool** ([`pool::Pool`]) whose bytes are accounted by
//!    purpose. Weights stay where the GGUF lies, and are in the pool once more where vector instructions read them
//!    faster side by side ([`quant::panel`]). On the heap are only the table that says where each block's
//!    matrices lie (at most 800 bytes a block, `model::weights`), the tokenizer's compiled patterns (some
//!    kilobytes, [`tokenizer`]), some bytes of an unfinished character, the tokens of sequences under way and at rest (about
//!    4 bytes a position, [`engine::Sequence`]), and what ends with the call that made it: names
//!    while a file is checked, a text while it is encoded, a template's parts, the vectors that variants are timed with, a
//!    score. A grammar and its masks are their caller's, on the heap too, and bounded ([`grammar`]), as are
//!    the channels of a graph ([`graph`]).
//! 3. **A file is hostile until proven otherwise.** Everything that comes from a GGUF is checked, and an
//!    error names the key or tensor, what was expected and what was found.
//! 4. **Simple before fast, except in the dot products** ([`simd`]), the only place with `unsafe`
//!    (and the std thread pool, for host programs).
//!
//! Several sequences can be under way at once: a decoding step of all of them is one batch, prompts are read in chunks beside
//! it, and each has the tokens that it has alone ([`engine::Engine::step`]).
//!
//! What an answer may be can be said by a grammar ([`grammar`]), which the model is held to token by token; a generation
//! beyond the context's end stops or shifts, as its options say.
//!
//! Honest limits: the architectures of [`model::architecture`] (llama with Mistral and SmolLM,
//! mistral3, smollm3, qwen2, qwen3, phi3, gemma2), dense ones only: no mixture of experts, no biases in the feed-forward
//! network, no encoders. Types of weights: [`model::matrix::MATRIX_TYPES`]; the codebook types IQ1 to IQ3 are not among them.
//! A file with anything else is refused in one sentence that names it. The sliding window of gemma2 saves time, not
//! memory: the cache holds all positions of every layer.
//!
#![cfg_attr(not(all(feature = "neural", feature = "std")), doc = "```ignore")]
#![cfg_attr(all(feature = "neural", feature = "std"), doc = "```no_run")]
//! use llm::{clock::StdClock, engine::{Engine, Flow, LoadOptions}, gguf::Gguf, pool::Pool,
//!           sample::Sampling, threads::Threads, tokenizer::Special};
//!
//! let file = std::fs::read("model.gguf")?;
//! let mut memory = vec![0u8; 256 << 20];
//! let (threads, clock) = (Threads::new(2), StdClock::new());
//! let gguf = Gguf::parse(&file)?;
//! let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, LoadOptions::default())?;
//! let mut prompt = Vec::new();
//! engine.tokenizer().encode("The capital of France is", Special::Parse, &mut prompt);
//! engine.generate(&prompt, &[], &Sampling::greedy(), 16, &mut |piece| {
//!     print!("{}", String::from_utf8_lossy(piece.bytes));
//!     Flow::Continue
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod answer;
pub mod clock;
pub mod error;
pub mod gguf;
pub mod grammar;
pub mod graph;
pub mod knowledge;
pub mod parallel;
pub mod pool;
pub mod random;
pub mod rules;
pub mod sampling;
pub mod service;
pub mod template;
#[cfg(feature = "std")]
pub mod threads;
pub mod tokenizer;

#[cfg(feature = "neural")]
pub mod engine;
#[cfg(feature = "neural")]
pub mod model;
#[cfg(feature = "neural")]
pub mod prefix;
#[cfg(feature = "neural")]
pub mod quant;
#[cfg(feature = "neural")]
pub mod sample;
#[cfg(feature = "neural")]
pub mod simd;
