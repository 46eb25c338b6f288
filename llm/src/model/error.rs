//! Why a model cannot be loaded, each as one sentence.

use crate::error::Quoted;
use crate::error::TokenizerError;
use crate::pool::PoolFull;
use alloc::string::String;

/// Why a GGUF file cannot be loaded as a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// A metadata key that the architecture needs is absent.
    #[error("metadata key {key} is missing; it should be {expected}")]
    MissingKey {
        /// The key.
        key: String,
        /// What it should hold.
        expected: String,
    },
    /// A metadata key holds something that this engine cannot use.
    #[error("metadata key {key} is {found}; it should be {expected}")]
    BadKey {
        /// The key.
        key: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: Quoted,
    },
    /// A tensor that the architecture needs is absent.
    #[error("tensor {name} is missing; its shape should be {expected:?}")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// Its shape, columns first.
        expected: [u64; 2],
    },
    /// A tensor of a layer that the metadata does not count: without it the model would compute something else.
    #[error("tensor {name} lies outside the layers: {key} is {layers}; the file is damaged")]
    ExtraLayer {
        /// The tensor.
        name: Quoted,
        /// The key that counts the layers.
        key: String,
        /// Layers by the metadata.
        layers: usize,
    },
    /// A tensor has no place in the architecture as this engine computes it: a bias, an expert, a layer of another kind.
    #[error("tensor {name} has no place in a {architecture} model as this engine computes it")]
    UnknownTensor {
        /// The tensor.
        name: Quoted,
        /// The architecture.
        architecture: &'static str,
    },
    /// A tensor's shape does not fit the metadata.
    #[error("tensor {name} has shape {found:?}; it should be {expected:?}")]
    BadShape {
        /// The tensor.
        name: String,
        /// Its shape as it should be, columns first.
        expected: [u64; 2],
        /// Its shape as it is.
        found: [u64; 4],
    },
    /// A tensor's element type is not supported in its place.
    #[error("tensor {name} is {found}; this engine reads {expected} there")]
    BadType {
        /// The tensor.
        name: String,
        /// Its type.
        found: &'static str,
        /// What is supported.
        expected: &'static str,
    },
    /// A tensor holds an infinite or undefined scale or norm.
    #[error("tensor {name} holds an infinite or undefined value; the file is damaged")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// A tensor of divisors holds zero or a negative value.
    #[error("tensor {name} holds a value that is not above 0; the file is damaged")]
    NotPositive {
        /// The tensor.
        name: &'static str,
    },
    /// Vocabulary and embedding disagree.
    #[error("the vocabulary has {tokens} tokens, but the embedding has {rows} rows")]
    VocabularyMismatch {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The context asked for is not possible.
    #[error("a context of {asked} tokens is not possible; this model takes 1 to {limit}")]
    BadContext {
        /// What was asked for.
        asked: usize,
        /// What the model was trained for.
        limit: usize,
    },
    /// The tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The pool is too small.
    #[error(transparent)]
    Pool(#[from] PoolFull),
}
