//! Special tokens inside a text: found before anything else is done to it.

use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::TokenizerError;
use crate::pool::{Pool, Purpose};
use alloc::vec;
use alloc::vec::Vec;

/// Every text is searched for each special token that could occur, so their number is bounded.
const LIMIT: usize = 16_384;

/// A part of a text.
#[derive(Clone, Copy)]
pub(super) enum Fragment<'t> {
    /// Text still to be encoded.
    Text(&'t str),
    /// A special token that stood there.
    Token(u32),
}

/// The special tokens of a vocabulary, longest text first.
pub(super) struct SpecialTokens<'p> {
    ids: &'p [u32],
}

impl<'p> SpecialTokens<'p> {
    pub fn new(vocabulary: &Vocabulary<'p>, pool: &mut Pool<'p>) -> Result<Self, TokenizerError> {
        let special = || (0..vocabulary.len() as u32).filter(|&id| is_special(vocabulary.kind(id)));
        let count = special().count();
        if count > LIMIT {
            return Err(TokenizerError::TooManySpecial { limit: LIMIT });
        }
        let ids = pool.take::<u32>(Purpose::Tokenizer, count)?;
        ids.iter_mut().zip(special()).for_each(|(slot, id)| *slot = id);
        // Ties by number: the order is the same everywhere.
        ids.sort_unstable_by_key(|&id| (usize::MAX - vocabulary.text(id).map_or(0, <[u8]>::len), id));
        Ok(Self { ids })
    }

    /// Cuts `text` at special tokens: longest first, each from left to right, as llama.cpp does.
    /// Without `control`, only user-defined tokens are looked for.
    pub fn split<'t>(&self, vocabulary: &Vocabulary<'_>, text: &'t str, control: bool) -> Vec<Fragment<'t>> {
        let mut present = [false; 256];
        text.bytes().for_each(|byte| present[usize::from(byte)] = true);
        let mut fragments = vec![Fragment::Text(text)];
        for &id in self.ids {
            if !control && vocabulary.kind(id) != TokenKind::UserDefined {
                continue;
            }
            let token = vocabulary.text(id).and_then(|token| core::str::from_utf8(token).ok());
            // A token with any byte that the text lacks cannot occur in it: most are dismissed here.
            let occurs = |token: &&str| !token.is_empty() && token.bytes().all(|b| present[usize::from(b)]);
            if let Some(token) = token.filter(occurs) {
                fragments = split_at(&fragments, token, id);
            }
        }
        fragments
    }
}

fn is_special(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown)
}

fn split_at<'t>(fragments: &[Fragment<'t>], token: &str, id: u32) -> Vec<Fragment<'t>> {
    let mut parts = Vec::with_capacity(fragments.len());
    for &fragment in fragments {
        let Fragment::Text(mut text) = fragment else {
            parts.push(fragment);
            continue;
        };
        while let Some((before, after)) = text.split_once(token) {
            if !before.is_empty() {
                parts.push(Fragment::Text(before));
            }
            parts.push(Fragment::Token(id));
            text = after;
        }
        if !text.is_empty() {
            parts.push(Fragment::Text(text));
        }
    }
    parts
}
