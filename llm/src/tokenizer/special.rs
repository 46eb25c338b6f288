//! Special tokens inside a text: found before anything else is done to it.

use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::TokenizerError;
use crate::gguf::Gguf;
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
    strip: Strip,
}

/// Which special tokens swallow the white space beside them. Files do not say it: llama.cpp goes by names, and so
/// do we.
#[derive(Default)]
struct Strip {
    /// Phi-3: all of them swallow what follows, but these.
    after_all_but: Option<[Option<u32>; 3]>,
    /// Encoders: the mask swallows what precedes it.
    before: Option<u32>,
}

impl Strip {
    fn new(gguf: &Gguf<'_>, vocabulary: &Vocabulary<'_>) -> Self {
        let says = |key: &str, names: &[&str]| {
            let value = gguf.get(key).and_then(|value| value.as_bytes()).unwrap_or_default();
            let found =
                |name: &&str| value.windows(name.len()).any(|at| at.eq_ignore_ascii_case(name.as_bytes()));
            names.iter().any(found)
        };
        let find = |text: &str| vocabulary.find(text.as_bytes());
        if says("tokenizer.ggml.pre", &["jina-v2-de", "jina-v2-es", "jina-v2-code"]) {
            Self { before: find("<mask>"), ..Self::default() }
        } else if says("general.name", &["phi-3", "phi3"]) {
            Self { after_all_but: Some(["<unk>", "<s>", "<|endoftext|>"].map(find)), ..Self::default() }
        } else if says("general.name", &["modern-bert"]) {
            Self { before: find("[MASK]"), ..Self::default() }
        } else {
            Self::default()
        }
    }
}

impl<'p> SpecialTokens<'p> {
    pub fn new(
        gguf: &Gguf<'p>,
        vocabulary: &Vocabulary<'p>,
        pool: &mut Pool<'p>,
    ) -> Result<Self, TokenizerError> {
        let special = || (0..vocabulary.len() as u32).filter(|&id| is_special(vocabulary.kind(id)));
        let count = special().count();
        if count > LIMIT {
            return Err(TokenizerError::TooManySpecial { limit: LIMIT });
        }
        let ids = pool.take::<u32>(Purpose::Tokenizer, count)?;
        ids.iter_mut().zip(special()).for_each(|(slot, id)| *slot = id);
        // Ties by number: the order is the same everywhere.
        ids.sort_unstable_by_key(|&id| (usize::MAX - vocabulary.text(id).map_or(0, <[u8]>::len), id));
        Ok(Self { ids, strip: Strip::new(gguf, vocabulary) })
    }

    /// Whether special token `id` swallows the white space before it.
    pub fn strips_before(&self, id: u32) -> bool {
        self.strip.before == Some(id)
    }

    /// Whether special token `id` swallows the white space behind it.
    pub fn strips_after(&self, id: u32) -> bool {
        self.strip.after_all_but.is_some_and(|others| !others.contains(&Some(id)))
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
