//! Text to tokens and back, from the metadata of a GGUF.
//!
//! Two schemes: BPE by a list of merges, over bytes with one of llama.cpp's pre-tokenizers (`gpt2`) or over
//! characters (`gemma4`); and SentencePiece BPE by scores (`llama`). All give llama.cpp's token numbers. The texts of
//! the vocabulary stay where the file lies; the tables that find a text and a merge are in the SLM pool, built once
//! in time linear in the vocabulary, without any allocation per token. The pre-tokenizer's compiled patterns, some
//! kilobytes, are on the heap.
//!
//! Encoding is O(n log n) in the length of the text, even of one endless word, and does not recurse into it.
//!
//! Honest limits: an end-of-sequence token is never appended (a prompt is to be continued; [`Tokenizer::asks_for_eos`]
//! tells what the file wants); texts are not normalised; vocabularies of other schemes (WordPiece, Unigram, RWKV,
//! PLaMo) are refused by name.
//!
//! ```no_run
//! use llm::{gguf::Gguf, pool::Pool, tokenizer::{Special, Tokenizer}};
//!
//! let file = std::fs::read("model.gguf").unwrap();
//! let mut memory = vec![0; 8 << 20];
//! let gguf = Gguf::parse(&file).unwrap();
//! let tokenizer = Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)).unwrap();
//! let (mut ids, mut text) = (Vec::new(), Vec::new());
//! tokenizer.encode("Hello world", Special::None, &mut ids);
//! ids.iter().for_each(|&id| tokenizer.decode(id, &mut text));
//! assert_eq!(text, b"Hello world");
//! ```

mod bpe;
mod bytes;
mod classes;
mod hash;
mod merge;
mod pattern;
mod pretokenizer;
mod roles;
mod special;
mod spm;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use crate::error::TokenizerError;
use crate::gguf::Gguf;
use crate::pool::Pool;
use alloc::string::String;
use alloc::vec::Vec;
use bpe::Bpe;
use merge::Merger;
use roles::Roles;
use special::{Fragment, SpecialTokens};
use spm::Spm;
pub use vocabulary::TokenKind;
use vocabulary::Vocabulary;

/// Longer texts are encoded in parts of this many bytes, so that positions fit 32 bits.
const MAX_PART: usize = 1 << 30;

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// What to do about special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// The text is only text: `<|im_end|>` in it is nine characters. For words of a user.
    None,
    /// Special tokens written in the text are taken as such, and the file's beginning-of-sequence token is put
    /// first where it asks for that. For prompts made by a chat template.
    Parse,
}

enum Scheme<'p> {
    Bpe(Bpe<'p>),
    Spm(Spm<'p>),
}

/// A vocabulary ready to encode and decode. Its tables live in the pool it was built from.
pub struct Tokenizer<'p> {
    vocabulary: Vocabulary<'p>,
    special: SpecialTokens<'p>,
    scheme: Scheme<'p>,
    roles: Roles,
    add_bos: bool,
    add_eos: bool,
}

impl<'p> Tokenizer<'p> {
    /// Builds the tables from `gguf`'s `tokenizer.ggml.*` entries, all of which are checked.
    pub fn from_gguf(gguf: &Gguf<'p>, pool: &mut Pool<'p>) -> Result<Self, TokenizerError> {
        let missing = TokenizerError::Missing { key: MODEL, wanted: "a string" };
        let model = gguf.get(MODEL).and_then(|value| value.as_bytes()).ok_or(missing)?;
        // Beginning, end and unknown where a SentencePiece file does not name them.
        let defaults = match model {
            b"gpt2" | b"gemma4" => [None; 3],
            b"llama" => [1, 2, 0].map(Some),
            _ => return Err(TokenizerError::unsupported_model(model)),
        };
        let mut vocabulary = Vocabulary::new(gguf, pool)?;
        let roles = Roles::new(gguf, &mut vocabulary, defaults)?;
        let special = SpecialTokens::new(gguf, &vocabulary, pool)?;
        let flag = |key| gguf.get(key).and_then(|value| value.as_bool());
        let add_bos = flag("tokenizer.ggml.add_bos_token");
        let (scheme, add_bos) = match model {
            b"llama" => {
                let spm = Spm::new(gguf, &vocabulary, roles.unknown)?;
                (Scheme::Spm(spm), add_bos.unwrap_or(true))
            }
            _ => {
                let bpe = Bpe::new(gguf, pre_tokenizer(gguf, model)?, &vocabulary, pool)?;
                let add_bos = bpe.adds_bos(add_bos);
                (Scheme::Bpe(bpe), add_bos)
            }
        };
        let add_eos = flag("tokenizer.ggml.add_eos_token").unwrap_or(false);
        Ok(Self { vocabulary, special, scheme, roles, add_bos, add_eos })
    }

    /// Appends the tokens of `text` to `out`.
    pub fn encode(&self, text: &str, special: Special, out: &mut Vec<u32>) {
        self.encode_parts([(text, special)], out);
    }

    /// Appends the tokens of one text given in parts, each with its own rule for special tokens: a chat template
    /// around a user's words. Words may span parts, so the tokens are those of the joined text.
    pub fn encode_parts<'t>(&self, parts: impl IntoIterator<Item = (&'t str, Special)>, out: &mut Vec<u32>) {
        let mut merger = Merger::default();
        // Text since the last special token, not encoded yet.
        let mut pending = String::new();
        // SentencePiece puts a space before a text that begins, or follows a special token.
        let mut first = true;
        // The special token before has swallowed the white space that follows it.
        let mut stripped = false;
        for (at, (text, special)) in parts.into_iter().enumerate() {
            let parse = special == Special::Parse;
            if at == 0 && parse && self.add_bos {
                out.extend(self.roles.bos);
            }
            for fragment in self.special.split(&self.vocabulary, text, parse) {
                match fragment {
                    Fragment::Text(text) => {
                        let text = if stripped { text.trim_start_matches(is_ascii_space) } else { text };
                        stripped &= text.is_empty();
                        pending.push_str(text);
                    }
                    Fragment::Token(id) => {
                        if self.special.strips_before(id) {
                            pending.truncate(pending.trim_end_matches(is_ascii_space).len());
                        }
                        self.encode_plain(&pending, first, &mut merger, out);
                        pending.clear();
                        out.push(id);
                        (first, stripped) = (true, self.special.strips_after(id));
                    }
                }
            }
        }
        self.encode_plain(&pending, first, &mut merger, out);
    }

    fn encode_plain(&self, mut text: &str, mut first: bool, merger: &mut Merger, out: &mut Vec<u32>) {
        while !text.is_empty() {
            let (part, rest) = text.split_at(text.floor_char_boundary(MAX_PART));
            match &self.scheme {
                Scheme::Bpe(bpe) => bpe.encode(&self.vocabulary, part, merger, out),
                Scheme::Spm(spm) => spm.encode(&self.vocabulary, part, first, merger, out),
            }
            (text, first) = (rest, false);
        }
    }

    /// Appends the bytes that token `id` stands for. They need not be whole characters. Control tokens, and
    /// numbers outside the vocabulary, stand for no text.
    pub fn decode(&self, id: u32, out: &mut Vec<u8>) {
        let Some(text) = self.vocabulary.text(id) else { return };
        match (self.vocabulary.kind(id), &self.scheme) {
            (TokenKind::Control | TokenKind::Unknown | TokenKind::Unused, _) => {}
            (TokenKind::UserDefined, Scheme::Bpe(_)) => out.extend(text),
            (_, Scheme::Bpe(bpe)) if bpe.is_byte_level() => decode_alphabet(text, out),
            (TokenKind::Byte, _) => out.extend(spm::byte_of(text)),
            _ => decode_spaces(text, out),
        }
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The text of token `id` as the file writes it (not decoded).
    pub fn text(&self, id: u32) -> Option<&'p [u8]> {
        self.vocabulary.text(id)
    }

    /// What token `id` is for.
    pub fn kind(&self, id: u32) -> TokenKind {
        self.vocabulary.kind(id)
    }

    /// The token whose text, as the file writes it, is `text`.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.vocabulary.find(text.as_bytes())
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.roles.eos
    }

    /// The end-of-turn token, by the file's word or by its well-known texts.
    pub fn eot(&self) -> Option<u32> {
        self.roles.eot
    }

    /// Whether the file wants whole texts (not prompts, which go on) to end with the end-of-sequence token.
    pub fn asks_for_eos(&self) -> bool {
        self.add_eos
    }

    /// Whether a generated `id` ends the answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.roles.is_end(id)
    }
}

/// The names of `tokenizer.ggml.pre` that are known.
pub fn pre_tokenizers() -> impl Iterator<Item = &'static str> {
    pretokenizer::Family::all_names()
}

/// The name of the pre-tokenizer. A file without one is of an old converter: llama.cpp takes its default then.
fn pre_tokenizer<'p>(gguf: &Gguf<'p>, model: &[u8]) -> Result<&'p [u8], TokenizerError> {
    match gguf.get(PRE) {
        _ if model == b"gemma4" => Ok(b"gemma4"),
        None => Ok(b"default"),
        Some(value) => value.as_bytes().ok_or(TokenizerError::Missing { key: PRE, wanted: "a string" }),
    }
}

/// What C calls a space: the white space that special tokens may swallow.
fn is_ascii_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// A text in GPT-2's byte alphabet as the bytes it stands for.
fn decode_alphabet(text: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = core::str::from_utf8(text) else { return out.extend(text) };
    for c in text.chars() {
        match bytes::char_to_byte(c) {
            Some(byte) => out.push(byte),
            // Not of the alphabet: the character itself.
            None => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A SentencePiece text with its `▁` as spaces.
fn decode_spaces(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match rest.strip_prefix(spm::SPACE.as_bytes()) {
            Some(behind) => {
                out.push(b' ');
                rest = behind;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
}
