//! SentencePiece BPE (Llama 2, Phi-3, Mistral): `tokenizer.ggml.model = "llama"`.
//!
//! Spaces are written `▁`; the pair whose joined text has the highest score is merged first; a character that
//! the vocabulary lacks is given as its bytes (`<0xE4>` …).

use super::merge::{Merger, NONE};
use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::TokenizerError;
use crate::gguf::Gguf;
use alloc::string::String;
use alloc::vec::Vec;

const SCORES: &str = "tokenizer.ggml.scores";
/// U+2581, which stands for a space.
pub(super) const SPACE: &str = "\u{2581}";

pub(super) struct Spm<'p> {
    /// Scores as stored, one per token.
    scores: &'p [[u8; 4]],
    /// Token of every raw byte, [`NONE`] where there is none.
    bytes: [u32; 256],
    unknown: Option<u32>,
    /// Whether a text begins with a space that is not there.
    space_prefix: bool,
}

impl<'p> Spm<'p> {
    pub fn new(
        gguf: &Gguf<'p>,
        vocabulary: &Vocabulary<'p>,
        unknown: Option<u32>,
    ) -> Result<Self, TokenizerError> {
        let missing = TokenizerError::Missing { key: SCORES, wanted: "an array of 32-bit floats" };
        let array = gguf.get(SCORES).and_then(|value| value.as_array()).ok_or_else(|| missing.clone())?;
        let mut floats = array.floats().ok_or(missing)?;
        if array.len() != vocabulary.len() {
            let (found, tokens) = (array.len(), vocabulary.len());
            return Err(TokenizerError::LengthMismatch { key: SCORES, found, tokens });
        }
        if let Some(at) = floats.position(f32::is_nan) {
            return Err(TokenizerError::BadScore { id: at as u32 });
        }
        let mut bytes = [NONE; 256];
        for id in 0..vocabulary.len() as u32 {
            if vocabulary.kind(id) == TokenKind::Byte
                && let Some(byte) = vocabulary.text(id).and_then(byte_of)
                && let Some(slot) = bytes.get_mut(usize::from(byte))
            {
                *slot = id;
            }
        }
        let space_prefix = gguf.get("tokenizer.ggml.add_space_prefix").and_then(|v| v.as_bool());
        let space_prefix = space_prefix.unwrap_or(true);
        Ok(Self { scores: array.bytes().as_chunks().0, bytes, unknown, space_prefix })
    }

    /// Appends the tokens of plain text; `first`: nothing, or a special token, comes before it.
    pub fn encode(
        &self,
        vocabulary: &Vocabulary<'_>,
        text: &str,
        first: bool,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        let mut escaped = escape_spaces(text);
        if first && self.space_prefix {
            escaped.insert_str(0, SPACE);
        }
        let text = escaped.as_bytes();
        let bytes =
            |start: u32, len: u32| text.get(start as usize..(start + len) as usize).unwrap_or_default();
        let mut utf8 = [0; 4];
        merger.start(escaped.chars().map(|c| {
            let c = c.encode_utf8(&mut utf8).as_bytes();
            (vocabulary.find(c).unwrap_or(NONE), c.len())
        }));
        merger.run(|left, right| {
            let id = vocabulary.find_joined(bytes(left.start, left.len), bytes(right.start, right.len))?;
            Some((self.key(id)?, id))
        });
        for symbol in merger.symbols() {
            if symbol.id != NONE {
                out.push(symbol.id);
                continue;
            }
            for &byte in bytes(symbol.start, symbol.len) {
                let id = self.bytes.get(usize::from(byte)).copied().filter(|&id| id != NONE);
                out.extend(id.or(self.unknown));
            }
        }
    }

    /// A score as a number that is lower the better the score is.
    fn key(&self, id: u32) -> Option<u32> {
        // Adding zero makes -0.0 and 0.0 the same.
        let bits = (f32::from_le_bytes(*self.scores.get(id as usize)?) + 0.0).to_bits();
        let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        Some(!ascending)
    }
}

/// `text` with its spaces written `▁`.
pub(super) fn escape_spaces(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 2 + SPACE.len());
    for part in text.split_inclusive(' ') {
        escaped.push_str(part.strip_suffix(' ').unwrap_or(part));
        if part.ends_with(' ') {
            escaped.push_str(SPACE);
        }
    }
    escaped
}

/// How the token of a raw byte is written: `<0x0A>`.
pub(super) fn text_of_byte(byte: u8) -> [u8; 6] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>']
}

/// The byte that a text such as `<0x0A>` names.
pub(super) fn byte_of(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = core::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}
