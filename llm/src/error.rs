//! What can be wrong with a model file, each as one sentence.
//!
//! Names that come from a file are shown escaped and cut to a line's width: a hostile file must not be able to
//! write control characters to the console.

use alloc::string::String;

/// A name or text out of a file, safe to print: escaped, at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    /// Quotes `bytes`, replacing what is not UTF-8.
    pub fn new(bytes: &[u8]) -> Self {
        const WIDTH: usize = 64;
        // Each character takes at most 4 bytes, so this much is enough to fill the width.
        let head = bytes.get(..bytes.len().min(WIDTH * 4)).unwrap_or_default();
        let mut text = String::from("\"");
        let shown = String::from_utf8_lossy(head);
        let mut shown = shown.chars().flat_map(char::escape_debug);
        text.extend(shown.by_ref().take(WIDTH));
        let cut = head.len() < bytes.len() || shown.next().is_some();
        text.push_str(if cut { "…\"" } else { "\"" });
        Self(text)
    }
}

impl core::fmt::Display for Quoted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a file is not a GGUF that this reader accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file: it begins with {found:02x?} instead of \"GGUF\"")]
    BadMagic {
        /// The first bytes, zero where the file is shorter.
        found: [u8; 4],
    },
    /// Version 1 (32-bit lengths), 0, or one from the future.
    #[error("GGUF version {version} is not supported: convert the file to version 2 or 3")]
    UnsupportedVersion {
        /// The version stored.
        version: u32,
    },
    /// Written on a big-endian machine.
    #[error("the GGUF file is big-endian: convert it to little-endian")]
    BigEndian,
    /// A read past the end of the file.
    #[error("the GGUF file is cut short: {wanted} bytes wanted at offset {at}, {left} left")]
    Truncated {
        /// Offset of the read (within the metadata value for nested reads).
        at: usize,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes there.
        left: usize,
    },
    /// A count in the header that the file cannot hold, or beyond this reader's limit.
    #[error("the GGUF header claims {count} {what}, but at most {limit} are possible here")]
    TooMany {
        /// "metadata entries" or "tensors".
        what: &'static str,
        /// The count stored.
        count: u64,
        /// The most that the file's size, or this reader, allows.
        limit: u64,
    },
    /// A key that is empty, too long or not UTF-8.
    #[error("metadata key {key} is not valid: keys are 1 to 65535 bytes of UTF-8")]
    BadKey {
        /// The key.
        key: Quoted,
    },
    /// Two entries with one key.
    #[error("metadata key {key} occurs twice")]
    DuplicateKey {
        /// The key.
        key: Quoted,
    },
    /// A value kind that the format does not have.
    #[error("metadata value kind {id} at offset {at} is not known")]
    UnknownValueKind {
        /// The number stored.
        id: u32,
        /// Offset just behind it.
        at: usize,
    },
    /// Arrays inside arrays beyond the limit.
    #[error("metadata arrays are nested deeper than {limit} levels")]
    ArraysTooDeep {
        /// The limit.
        limit: u32,
    },
    /// `general.alignment` is not a `u32` power of two.
    #[error("general.alignment is {found}, but it must be an unsigned 32-bit power of two")]
    BadAlignment {
        /// What is stored.
        found: Quoted,
    },
    /// A tensor name that is empty, of 64 bytes or more, or not UTF-8.
    #[error("tensor name {name} is not valid: names are 1 to 63 bytes of UTF-8")]
    BadTensorName {
        /// The name.
        name: Quoted,
    },
    /// Two tensors with one name.
    #[error("tensor {name} occurs twice")]
    DuplicateTensor {
        /// The name.
        name: Quoted,
    },
    /// More than four dimensions.
    #[error("tensor {name} has {n_dims} dimensions, at most 4 are allowed")]
    TooManyDimensions {
        /// The tensor.
        name: Quoted,
        /// Dimensions stored.
        n_dims: u32,
    },
    /// A dimension of 2^63 or more.
    #[error("dimension {dim} of tensor {name} is {size}, which is 2^63 or more")]
    BadDimension {
        /// The tensor.
        name: Quoted,
        /// Which dimension, from 0.
        dim: u32,
        /// Its size as stored.
        size: u64,
    },
    /// The product of the dimensions, or the bytes it takes, overflows.
    #[error("the dimensions of tensor {name} multiply to more than 2^63")]
    ShapeOverflow {
        /// The tensor.
        name: Quoted,
    },
    /// A row that is not a whole number of blocks.
    #[error("rows of tensor {name} have {row} values, not a multiple of {kind}'s blocks of {block}")]
    PartialBlock {
        /// The tensor.
        name: Quoted,
        /// Values per row.
        row: u64,
        /// Name of the element type.
        kind: &'static str,
        /// Values per block.
        block: usize,
    },
    /// A type number that ggml does not have or has withdrawn.
    #[error("unsupported type {id} of tensor {name}")]
    UnknownType {
        /// The tensor.
        name: Quoted,
        /// The number stored.
        id: u32,
    },
    /// A tensor that does not begin where the one before it ends (padded to the alignment).
    #[error("tensor {name} is at data offset {found}, but the tensors before it end at {expected}")]
    BadOffset {
        /// The tensor.
        name: Quoted,
        /// The offset stored.
        found: u64,
        /// The offset that the format demands.
        expected: u64,
    },
    /// A tensor's bytes reach past the end of the file.
    #[error("tensor {name} needs {bytes} bytes at file offset {at}, but the file has {file} bytes")]
    DataPastEnd {
        /// The tensor.
        name: Quoted,
        /// Bytes of its data.
        bytes: u64,
        /// Where they begin.
        at: u64,
        /// Size of the file.
        file: u64,
    },
    /// No memory for the list of names that duplicates are looked for in (freed after parsing).
    #[error("not enough memory to check {count} names of the GGUF file for duplicates")]
    OutOfMemory {
        /// Names.
        count: usize,
    },
}

/// Why the vocabulary of a GGUF cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A metadata entry is missing or of another kind than it must be.
    #[error("metadata {key} is missing or not {wanted}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// `tokenizer.ggml.model` is none that this crate has.
    #[error(
        "tokenizer model {model}{scheme} is not supported: \"gpt2\" and \"gemma4\" (BPE) and \"llama\" (SentencePiece) are"
    )]
    UnsupportedModel {
        /// The name stored.
        model: Quoted,
        /// What is known of it, in parentheses, or nothing.
        scheme: &'static str,
    },
    /// `tokenizer.ggml.pre` is none that this crate has.
    #[error("pre-tokenizer {pre} is not supported; known are {}", Known)]
    UnsupportedPreTokenizer {
        /// The name stored.
        pre: Quoted,
    },
    /// Token types or scores that are not one per token.
    #[error("metadata {key} has {found} entries for a vocabulary of {tokens}")]
    LengthMismatch {
        /// The key.
        key: &'static str,
        /// Entries there.
        found: usize,
        /// Tokens.
        tokens: usize,
    },
    /// No tokens, or more bytes of them than 32-bit offsets reach.
    #[error(
        "the vocabulary has {tokens} tokens in {bytes} bytes: it must have 1 token or more, and below 4 GiB"
    )]
    BadSize {
        /// Tokens.
        tokens: usize,
        /// Bytes of their texts.
        bytes: usize,
    },
    /// A token type outside 1 to 6.
    #[error("token {id} has type {found}, but types are 1 to 6")]
    BadTokenType {
        /// The token.
        id: u32,
        /// The type stored.
        found: u32,
    },
    /// A token of more bytes than are looked up.
    #[error("token {id} has {bytes} bytes, at most {limit} are supported")]
    TokenTooLong {
        /// The token.
        id: u32,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Two tokens with one text.
    #[error("tokens {first} and {second} are both {text}")]
    DuplicateToken {
        /// The lower number.
        first: u32,
        /// The higher number.
        second: u32,
        /// Their text.
        text: Quoted,
    },
    /// A score that is not a number.
    #[error("the score of token {id} is not a number")]
    BadScore {
        /// The token.
        id: u32,
    },
    /// A merge that is not two texts with a space between.
    #[error("merge {rank} is {text}, not two tokens with a space between")]
    BadMerge {
        /// Its place in the list.
        rank: usize,
        /// Its text.
        text: Quoted,
    },
    /// A merge whose parts or result are not in the vocabulary.
    #[error("merge {rank}, {text}, is of a token that the vocabulary does not have")]
    UnknownMerge {
        /// Its place in the list.
        rank: usize,
        /// Its text.
        text: Quoted,
    },
    /// `tokenizer.ggml.*_token_id` beyond the vocabulary.
    #[error("metadata {key} is {id}, but the vocabulary has {tokens} tokens")]
    IdOutOfRange {
        /// The key.
        key: &'static str,
        /// The number stored.
        id: u64,
        /// Tokens.
        tokens: usize,
    },
    /// More control and user-defined tokens than are searched for in every text.
    #[error("the vocabulary has more than {limit} special tokens")]
    TooManySpecial {
        /// The limit.
        limit: usize,
    },
    /// Texts or merges chosen so that a hash table degenerates into a list.
    #[error("the {what} crowd into one place of their hash table: the file looks made to be slow")]
    Crowded {
        /// "tokens" or "merges".
        what: &'static str,
    },
    /// The pool has no room for the tables.
    #[error(transparent)]
    Pool(#[from] crate::pool::PoolFull),
}

impl TokenizerError {
    /// The error for a file whose `tokenizer.ggml.model` is `name`.
    pub(crate) fn unsupported_model(name: &[u8]) -> Self {
        let scheme = match name {
            b"bert" => " (WordPiece)",
            b"t5" => " (SentencePiece's Unigram)",
            b"rwkv" => " (RWKV's trie of byte strings)",
            b"plamo2" => " (PLaMo's Unigram)",
            b"hybriddna" => " (BPE with k-mers of DNA)",
            b"whitespace" => " (words between spaces)",
            b"none" | b"no_vocab" => " (no vocabulary at all)",
            _ => "",
        };
        Self::UnsupportedModel { model: Quoted::new(name), scheme }
    }
}

/// The names of the known pre-tokenizers, for a message.
struct Known;

impl core::fmt::Display for Known {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (at, name) in crate::tokenizer::pre_tokenizers().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}
