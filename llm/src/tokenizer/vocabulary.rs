//! Token texts: number to text and back. The texts stay in the GGUF; the pool holds where each begins.

use super::hash::{Fnv, Table};
use crate::error::{Quoted, TokenizerError};
use crate::gguf::Gguf;
use crate::pool::{Pool, Purpose};

/// Longest token text in bytes: bounds the work of one look-up.
pub(super) const MAX_TOKEN: usize = 1024;

/// Most tokens whose stored kind is corrected: there is one list of their texts, and it is shorter.
const MAX_CORRECTED: usize = 48;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";

/// What a token is for (`enum llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Stands for what the vocabulary does not have.
    Unknown,
    /// Structure, such as `<|im_start|>`; never text.
    Control,
    /// Added text that is matched before all else.
    UserDefined,
    /// Not used.
    Unused,
    /// One raw byte, written `<0x0A>`.
    Byte,
}

impl TokenKind {
    fn from_id(id: u32) -> Option<Self> {
        use TokenKind::*;
        [Normal, Unknown, Control, UserDefined, Unused, Byte].get((id as usize).checked_sub(1)?).copied()
    }
}

pub(super) struct Vocabulary<'p> {
    /// The string array's bytes: each text behind its 8-byte length.
    texts: &'p [u8],
    /// Where each text begins; one more at the end, so that a text ends 8 bytes before the next begins.
    starts: &'p [u32],
    /// Types as stored, or empty where the file gives none.
    kinds: &'p [[u8; 4]],
    table: Table<'p>,
    longest: usize,
    /// Kinds that are not as stored: see [`super::roles`].
    corrected: [(u32, TokenKind); MAX_CORRECTED],
    corrections: usize,
}

impl<'p> Vocabulary<'p> {
    pub fn new(gguf: &Gguf<'p>, pool: &mut Pool<'p>) -> Result<Self, TokenizerError> {
        let missing = TokenizerError::Missing { key: TOKENS, wanted: "an array of strings" };
        let array = gguf.get(TOKENS).and_then(|value| value.as_array()).ok_or_else(|| missing.clone())?;
        let strings = array.strings().ok_or(missing)?;
        let (tokens, texts) = (array.len(), array.bytes());
        if tokens == 0 || u32::try_from(texts.len() + 8).is_err() {
            return Err(TokenizerError::BadSize { tokens, bytes: texts.len() });
        }
        let kinds = kinds(gguf, tokens)?;

        let starts = pool.take::<u32>(Purpose::Tokenizer, tokens + 1)?;
        let (mut at, mut longest) = (8u32, 0);
        // `strings` may not give more than the array's length, and `starts` is one longer.
        for (start, text) in starts.iter_mut().zip(strings.map(Some).chain([None])) {
            *start = at;
            let bytes = text.map_or(0, <[u8]>::len);
            at += bytes as u32 + 8;
            longest = longest.max(bytes);
        }
        let table = Table::new(pool, tokens)?;
        let corrected = [(0, TokenKind::Normal); MAX_CORRECTED];
        let mut vocabulary = Self { texts, starts, kinds, table, longest, corrected, corrections: 0 };
        vocabulary.fill_table()?;
        Ok(vocabulary)
    }

    fn fill_table(&mut self) -> Result<(), TokenizerError> {
        for id in 0..self.len() as u32 {
            let text = self.text(id).unwrap_or_default();
            if text.len() > MAX_TOKEN {
                return Err(TokenizerError::TokenTooLong { id, bytes: text.len(), limit: MAX_TOKEN });
            }
            // An empty text can match nothing; some vocabularies fill holes with them.
            if text.is_empty() {
                continue;
            }
            let (texts, starts) = (self.texts, self.starts);
            let same = |other| text_of(texts, starts, other) == Some(text);
            let hash = Fnv::START.bytes(text).finish();
            if let Some(first) = self.table.insert("tokens", hash, id, same)? {
                return Err(TokenizerError::DuplicateToken { first, second: id, text: Quoted::new(text) });
            }
        }
        Ok(())
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn text(&self, id: u32) -> Option<&'p [u8]> {
        text_of(self.texts, self.starts, id)
    }

    /// Takes token `id` for one of `kind`, whatever the file says.
    pub fn correct(&mut self, id: u32, kind: TokenKind) {
        if self.kind(id) == kind {
            return;
        }
        let known = self.corrected.iter().take(self.corrections).position(|&(other, _)| other == id);
        let at = known.unwrap_or(self.corrections);
        if let Some(slot) = self.corrected.get_mut(at) {
            *slot = (id, kind);
            self.corrections = self.corrections.max(at + 1);
        }
    }

    pub fn kind(&self, id: u32) -> TokenKind {
        let mut corrected = self.corrected.iter().take(self.corrections);
        if let Some(&(_, kind)) = corrected.find(|&&(other, _)| other == id) {
            return kind;
        }
        let stored = self.kinds.get(id as usize).map(|bytes| u32::from_le_bytes(*bytes));
        stored.and_then(TokenKind::from_id).unwrap_or(TokenKind::Normal)
    }

    /// The token that is `text`.
    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.find_joined(text, &[])
    }

    /// The token that is `left` followed by `right`.
    pub fn find_joined(&self, left: &[u8], right: &[u8]) -> Option<u32> {
        if left.len() + right.len() > self.longest {
            return None;
        }
        self.table.find(Fnv::START.bytes(left).bytes(right).finish(), |id| {
            self.text(id).and_then(|text| text.strip_prefix(left)) == Some(right)
        })
    }
}

fn text_of<'p>(texts: &'p [u8], starts: &[u32], id: u32) -> Option<&'p [u8]> {
    let (&start, &next) = (starts.get(id as usize)?, starts.get(id as usize + 1)?);
    texts.get(start as usize..next as usize - 8)
}

/// The types, checked to be one known type per token.
fn kinds<'p>(gguf: &Gguf<'p>, tokens: usize) -> Result<&'p [[u8; 4]], TokenizerError> {
    let Some(value) = gguf.get(TOKEN_TYPES) else { return Ok(&[]) };
    let missing = TokenizerError::Missing { key: TOKEN_TYPES, wanted: "an array of 32-bit integers" };
    let array = value.as_array().ok_or_else(|| missing.clone())?;
    let words = array.words().ok_or(missing)?;
    if array.len() != tokens {
        return Err(TokenizerError::LengthMismatch { key: TOKEN_TYPES, found: array.len(), tokens });
    }
    // Type 0 ("undefined") occurs in files of old converters and counts as text.
    match (0..).zip(words).find(|&(_, kind)| kind != 0 && TokenKind::from_id(kind).is_none()) {
        Some((id, found)) => Err(TokenizerError::BadTokenType { id, found }),
        None => Ok(array.bytes().as_chunks().0),
    }
}
