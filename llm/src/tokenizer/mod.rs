//! Text to tokens and back, from the metadata of a GGUF.
//!
//! Two schemes: byte-level BPE with GPT-2's family of pre-tokenizers (`gpt2`), and SentencePiece BPE (`llama`).
//! Both give llama.cpp's token numbers. The texts of the vocabulary stay where the file lies; the tables that
//! find a text and a merge are in the SLM pool, built once in time linear in the vocabulary, without any
//! allocation per token.
//!
//! Encoding is O(n log n) in the length of the text, even of one endless word, and does not recurse into it.
//!
//! Honest limits: an end-of-sequence token is never appended (a prompt is to be continued); texts are not
//! normalised; vocabularies of other models (WordPiece, Unigram, RWKV) are refused by name.
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
mod gpt2;
mod hash;
mod merge;
mod pretokenizer;
mod special;
mod spm;
mod vocabulary;

#[cfg(test)]
mod tests;

use crate::error::Quoted;
pub use crate::error::TokenizerError;
use crate::gguf::Gguf;
use crate::pool::Pool;
use alloc::string::String;
use alloc::vec::Vec;
use bpe::Bpe;
use merge::Merger;
use special::{Fragment, SpecialTokens};
use spm::Spm;
pub use vocabulary::TokenKind;
use vocabulary::Vocabulary;

/// Longer texts are encoded in parts of this many bytes, so that positions fit 32 bits.
const MAX_PART: usize = 1 << 30;

/// Control tokens by which models end an answer, whatever the file calls its end.
const END_TEXTS: [&str; 8] = [
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "<|eot_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|eom_id|>",
];

/// The metadata keys that name a token, as `gguf`'s `constants.py` and llama.cpp's `llama-arch.cpp` list them.
const TOKEN_KEYS: [&str; 19] = [
    BOS,
    EOS,
    EOT,
    UNKNOWN,
    "tokenizer.ggml.eom_token_id",
    // The format's own spelling, and the right one.
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.separator_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
];
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const EOT: &str = "tokenizer.ggml.eot_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";

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
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    ends: [Option<u32>; END_TEXTS.len()],
    add_bos: bool,
}

impl<'p> Tokenizer<'p> {
    /// Builds the tables from `gguf`'s `tokenizer.ggml.*` entries, all of which are checked.
    pub fn from_gguf(gguf: &Gguf<'p>, pool: &mut Pool<'p>) -> Result<Self, TokenizerError> {
        let model = "tokenizer.ggml.model";
        let missing = TokenizerError::Missing { key: model, wanted: "a string" };
        let model = gguf.get(model).and_then(|value| value.as_bytes()).ok_or(missing)?;
        if !matches!(model, b"gpt2" | b"llama") {
            return Err(TokenizerError::UnsupportedModel { model: Quoted::new(model) });
        }
        let vocabulary = Vocabulary::new(gguf, pool)?;
        let id = |key| token_id(gguf, key, vocabulary.len());
        // Also those that are not used here: a number outside the vocabulary is a sign of a damaged file.
        for key in TOKEN_KEYS {
            id(key)?;
        }
        let (bos, eos, named_eot, unknown) = (id(BOS)?, id(EOS)?, id(EOT)?, id(UNKNOWN)?);

        let control = |text: &str| {
            vocabulary.find(text.as_bytes()).filter(|&id| vocabulary.kind(id) != TokenKind::Normal)
        };
        let ends = END_TEXTS.map(control);
        let eot = named_eot.or_else(|| ["<|im_end|>", "<|eot_id|>", "<|end|>"].into_iter().find_map(control));
        let special = SpecialTokens::new(&vocabulary, pool)?;
        let (scheme, bos_by_default) = match model {
            b"gpt2" => (Scheme::Bpe(Bpe::new(gguf, &vocabulary, pool)?), false),
            _ => (Scheme::Spm(Spm::new(gguf, &vocabulary, unknown)?), true),
        };
        let add_bos = gguf.get("tokenizer.ggml.add_bos_token").and_then(|value| value.as_bool());
        let add_bos = add_bos.unwrap_or(bos_by_default);
        Ok(Self { vocabulary, special, scheme, bos, eos, eot, ends, add_bos })
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
        for (at, (text, special)) in parts.into_iter().enumerate() {
            let parse = special == Special::Parse;
            if at == 0 && parse && self.add_bos {
                out.extend(self.bos);
            }
            for fragment in self.special.split(&self.vocabulary, text, parse) {
                match fragment {
                    Fragment::Text(text) => pending.push_str(text),
                    Fragment::Token(id) => {
                        self.encode_plain(&pending, first, &mut merger, out);
                        pending.clear();
                        out.push(id);
                        first = true;
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
                Scheme::Bpe(bpe) => bpe.encode(part, merger, out),
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
            (_, Scheme::Bpe(_)) => decode_alphabet(text, out),
            (TokenKind::Byte, Scheme::Spm(_)) => out.extend(spm::byte_of(text)),
            (_, Scheme::Spm(_)) => decode_spaces(text, out),
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
        self.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The end-of-turn token, by the file's word or by its well-known texts.
    pub fn eot(&self) -> Option<u32> {
        self.eot
    }

    /// Whether a generated `id` ends the answer.
    pub fn is_end(&self, id: u32) -> bool {
        [self.eos, self.eot].contains(&Some(id)) || self.ends.contains(&Some(id))
    }
}

/// The token number that metadata `key` gives, which must be inside the vocabulary; `None` where the file has none.
fn token_id(gguf: &Gguf<'_>, key: &'static str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
    /// llama.cpp's `LLAMA_TOKEN_NULL`, which its converters write for "none".
    const NONE: u64 = u32::MAX as u64;
    let Some(value) = gguf.get(key) else { return Ok(None) };
    match value.as_u64().ok_or(TokenizerError::Missing { key, wanted: "a token number" })? {
        NONE => Ok(None),
        id if id >= tokens as u64 => Err(TokenizerError::IdOutOfRange { key, id, tokens }),
        id => Ok(Some(id as u32)),
    }
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
