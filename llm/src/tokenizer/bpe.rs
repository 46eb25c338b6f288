//! Byte-level byte-pair encoding (GPT-2 and its descendants): `tokenizer.ggml.model = "gpt2"`.

use super::bytes::byte_to_char;
use super::hash::{Table, pair_hash};
use super::merge::{Merger, NONE};
use super::pretokenizer::PreTokenizer;
use super::vocabulary::Vocabulary;
use crate::error::{Quoted, TokenizerError};
use crate::gguf::Gguf;
use crate::pool::{Pool, Purpose};

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

pub(super) struct Bpe<'p> {
    pre: PreTokenizer,
    /// The token of every byte by itself, [`NONE`] where the vocabulary has none.
    singles: [u32; 256],
    /// Left, right and resulting token of each merge, by rank.
    merges: &'p [[u32; 3]],
    table: Table<'p>,
}

impl<'p> Bpe<'p> {
    pub fn new(
        gguf: &Gguf<'p>,
        vocabulary: &Vocabulary<'p>,
        pool: &mut Pool<'p>,
    ) -> Result<Self, TokenizerError> {
        let wanted = TokenizerError::Missing { key: PRE, wanted: "a string" };
        let name = gguf.get(PRE).and_then(|value| value.as_bytes()).ok_or(wanted)?;
        let pre = PreTokenizer::from_name(name)
            .ok_or_else(|| TokenizerError::UnsupportedPreTokenizer { pre: Quoted::new(name) })?;

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
            let mut utf8 = [0; 4];
            *single = vocabulary.find(byte_to_char(byte).encode_utf8(&mut utf8).as_bytes()).unwrap_or(NONE);
        }
        Ok(Self { pre, singles, merges, table })
    }

    /// Appends the tokens of plain text. Bytes that the vocabulary does not have are left out, as in llama.cpp.
    pub fn encode(&self, text: &str, merger: &mut Merger, out: &mut alloc::vec::Vec<u32>) {
        self.pre.split(text, &mut |word| {
            let single = |byte: u8| self.singles.get(usize::from(byte)).copied().unwrap_or(NONE);
            merger.start(word.bytes().map(|byte| (single(byte), 1)));
            merger.run(|left, right| self.merge_of(left.id, right.id));
            out.extend(merger.symbols().map(|symbol| symbol.id).filter(|&id| id != NONE));
        });
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
