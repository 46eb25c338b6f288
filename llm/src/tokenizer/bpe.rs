//! Byte-pair encoding by a list of merges (GPT-2 and its descendants): `tokenizer.ggml.model = "gpt2"` or `"gemma4"`.

use super::bytes::byte_to_char;
use super::hash::{Table, pair_hash};
use super::merge::{Merger, NONE};
use super::pretokenizer::{Alphabet, Family, PreTokenizer};
use super::spm::{self, escape_spaces};
use super::vocabulary::{MAX_TOKEN, Vocabulary};
use crate::error::{Quoted, TokenizerError};
use crate::gguf::Gguf;
use crate::pool::{Pool, Purpose};
use alloc::vec::Vec;

const MERGES: &str = "tokenizer.ggml.merges";

pub(super) struct Bpe<'p> {
    pre: PreTokenizer,
    family: &'static Family,
    /// The token of every byte by itself, [`NONE`] where the vocabulary has none.
    singles: [u32; 256],
    /// Left, right and resulting token of each merge, by rank.
    merges: &'p [[u32; 3]],
    table: Table<'p>,
}

impl<'p> Bpe<'p> {
    pub fn new(
        gguf: &Gguf<'p>,
        name: &[u8],
        vocabulary: &Vocabulary<'p>,
        pool: &mut Pool<'p>,
    ) -> Result<Self, TokenizerError> {
        let unsupported = || TokenizerError::UnsupportedPreTokenizer { pre: Quoted::new(name) };
        let family = Family::find(name).ok_or_else(unsupported)?;
        let pre = PreTokenizer::new(family).ok_or_else(unsupported)?;

        let wanted = TokenizerError::Missing { key: MERGES, wanted: "an array of strings" };
        let array = gguf.get(MERGES).and_then(|value| value.as_array()).ok_or_else(|| wanted.clone())?;
        let texts = array.strings().ok_or(wanted)?;
        let merges = pool.take::<[u32; 3]>(Purpose::Tokenizer, array.len())?;
        let mut table = Table::new(pool, array.len())?;
        for (rank, text) in texts.enumerate() {
            let merge = read_merge(vocabulary, rank, text)?;
            if let Some(slot) = merges.get_mut(rank) {
                *slot = merge;
            }
            let [left, right, _] = merge;
            let same = |other| merges.get(other as usize).is_some_and(|m: &[u32; 3]| m[..2] == merge[..2]);
            // A merge given twice keeps its first (better) rank.
            table.insert("merges", pair_hash(left, right), rank as u32, same)?;
        }

        let mut singles = [NONE; 256];
        for (byte, single) in (0u8..=255).zip(&mut singles) {
            let token = match family.alphabet {
                Alphabet::Bytes => vocabulary.find(byte_to_char(byte).encode_utf8(&mut [0; 4]).as_bytes()),
                Alphabet::Characters { .. } => vocabulary.find(&spm::text_of_byte(byte)),
            };
            *single = token.unwrap_or(NONE);
        }
        Ok(Self { pre, family, singles, merges, table })
    }

    /// Whether tokens are written in GPT-2's alphabet, not as they are.
    pub fn is_byte_level(&self) -> bool {
        self.family.alphabet == Alphabet::Bytes
    }

    /// Whether a text begins with the beginning-of-sequence token: the file's word, else the family's.
    pub fn adds_bos(&self, asked: Option<bool>) -> bool {
        match self.family.alphabet {
            // Early conversions of Gemma 4 say no by mistake; llama.cpp overrides them too.
            Alphabet::Characters { line_ends: true } => true,
            _ => asked.unwrap_or(self.family.add_bos),
        }
    }

    /// Appends the tokens of plain text. Bytes that the vocabulary does not have are left out, as in llama.cpp.
    pub fn encode(&self, vocabulary: &Vocabulary<'_>, text: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        match self.family.alphabet {
            Alphabet::Bytes => {
                let mut written = Vec::new();
                self.pre.split(text, &mut |word| match self
                    .family
                    .ignore_merges
                    .then(|| find_word(vocabulary, word, &mut written))
                {
                    Some(Some(id)) => out.push(id),
                    _ => self.encode_bytes(word, merger, out),
                });
            }
            Alphabet::Characters { line_ends } => {
                self.pre.split(&escape_spaces(text), &mut |word| {
                    let line_ends = line_ends && word.bytes().all(|byte| byte == b'\n');
                    match line_ends.then(|| vocabulary.find(word.as_bytes())) {
                        Some(Some(id)) => out.push(id),
                        _ => self.encode_characters(vocabulary, word, merger, out),
                    }
                });
            }
        }
    }

    fn encode_bytes(&self, word: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        merger.start(word.bytes().map(|byte| (self.single(byte), 1)));
        merger.run(|left, right| self.merge_of(left.id, right.id));
        out.extend(merger.symbols().map(|symbol| symbol.id).filter(|&id| id != NONE));
    }

    fn encode_characters(
        &self,
        vocabulary: &Vocabulary<'_>,
        word: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        merger.start(word.chars().map(|c| {
            let mut utf8 = [0; 4];
            let c = c.encode_utf8(&mut utf8).as_bytes();
            (vocabulary.find(c).unwrap_or(NONE), c.len())
        }));
        merger.run(|left, right| self.merge_of(left.id, right.id));
        for symbol in merger.symbols() {
            if symbol.id != NONE {
                out.push(symbol.id);
                continue;
            }
            let (start, end) = (symbol.start as usize, (symbol.start + symbol.len) as usize);
            let bytes = word.as_bytes().get(start..end).unwrap_or_default();
            out.extend(bytes.iter().map(|&byte| self.single(byte)).filter(|&id| id != NONE));
        }
    }

    fn single(&self, byte: u8) -> u32 {
        self.singles.get(usize::from(byte)).copied().unwrap_or(NONE)
    }

    /// Rank and result of merging two tokens.
    fn merge_of(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let merge = |rank: u32| self.merges.get(rank as usize);
        let rank = self.table.find(pair_hash(left, right), |rank| {
            merge(rank).is_some_and(|merge| merge[0] == left && merge[1] == right)
        })?;
        Some((rank, merge(rank)?[2]))
    }
}

/// The token that is the whole of `word`, which is spelt in GPT-2's alphabet in `written`.
fn find_word(vocabulary: &Vocabulary<'_>, word: &str, written: &mut Vec<u8>) -> Option<u32> {
    if word.len() > MAX_TOKEN {
        return None;
    }
    written.clear();
    word.bytes().for_each(|byte| written.extend(byte_to_char(byte).encode_utf8(&mut [0; 4]).as_bytes()));
    vocabulary.find(written)
}

/// Left, right and resulting token of the merge written as `text`.
fn read_merge(vocabulary: &Vocabulary<'_>, rank: usize, text: &[u8]) -> Result<[u32; 3], TokenizerError> {
    // The first character may itself be a space in foreign vocabularies, so the search begins behind it.
    let space = text.iter().skip(1).position(|&b| b == b' ').map(|at| at + 1);
    let parts = space.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)));
    let Some((left, right)) = parts.filter(|(_, right)| !right.is_empty()) else {
        return Err(TokenizerError::BadMerge { rank, text: Quoted::new(text) });
    };
    let ids = vocabulary.find(left).zip(vocabulary.find(right)).zip(vocabulary.find_joined(left, right));
    let ((left, right), merged) =
        ids.ok_or_else(|| TokenizerError::UnknownMerge { rank, text: Quoted::new(text) })?;
    Ok([left, right, merged])
}
