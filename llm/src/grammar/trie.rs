//! The vocabulary as a tree of bytes: tokens that begin alike share the way there, so a mask is one walk.

use super::error::ConstraintError;
use crate::tokenizer::Tokenizer;
use alloc::vec::Vec;

/// No token ends at a node.
pub(super) const NONE: u32 = u32::MAX;

/// A byte on the way to tokens. Nodes lie in the order of a depth-first walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    /// The token whose last byte this is, or [`NONE`].
    pub token: u32,
    /// The node behind everything below this one.
    pub skip: u32,
    /// Bytes before this one.
    pub depth: u16,
    /// The byte.
    pub byte: u8,
}

/// The bytes of all tokens that are text, and the tokens that end one. Made once for each vocabulary.
#[derive(Debug)]
pub struct TokenTrie {
    branches: Vec<Branch>,
    /// Tokens of equal bytes: the one in the tree, and another.
    twins: Vec<(u32, u32)>,
    ends: Vec<u32>,
    vocabulary: usize,
    longest: usize,
}

impl TokenTrie {
    /// The tree of `tokenizer`'s vocabulary: 12 bytes for each byte that tokens do not share. Tokens without text are in none of its
    /// masks, but for those that end a text.
    pub fn new(tokenizer: &Tokenizer<'_>) -> Result<Self, ConstraintError> {
        let vocabulary = tokenizer.vocab_size();
        let (mut texts, mut tokens, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        reserve(&mut tokens, vocabulary)?;
        for token in 0..vocabulary as u32 {
            let start = texts.len();
            if tokenizer.is_end(token) {
                ends.push(token);
                continue;
            }
            reserve(&mut texts, tokenizer.text(token).map_or(0, |text| 2 * text.len()))?;
            tokenizer.decode(token, &mut texts);
            if texts.len() > start {
                tokens.push((start, texts.len() - start, token));
            }
        }
        let text =
            |&(start, length, _): &(usize, usize, u32)| texts.get(start..start + length).unwrap_or_default();
        tokens.sort_unstable_by(|a, b| text(a).cmp(text(b)).then(a.2.cmp(&b.2)));

        let (mut branches, mut twins, mut longest) = (Vec::<Branch>::new(), Vec::new(), 0);
        // Nodes from the root to the last one: what comes below another branch closes them.
        let mut path: Vec<u32> = Vec::new();
        let mut before: &[u8] = &[];
        for entry in &tokens {
            let (text, token) = (text(entry), entry.2);
            longest = longest.max(text.len());
            let shared = text.iter().zip(before).take_while(|(a, b)| a == b).count();
            if shared == text.len() {
                let same =
                    path.last().and_then(|&at| branches.get(at as usize)).map_or(NONE, |branch| branch.token);
                twins.push((same, token));
                continue;
            }
            close(&mut branches, &mut path, shared);
            reserve(&mut branches, text.len() - shared)?;
            for (depth, &byte) in text.iter().enumerate().skip(shared) {
                path.push(branches.len() as u32);
                branches.push(Branch {
                    token: NONE,
                    skip: NONE,
                    depth: depth.min(u16::MAX.into()) as u16,
                    byte,
                });
            }
            if let Some(last) = branches.last_mut() {
                last.token = token;
            }
            before = text;
        }
        close(&mut branches, &mut path, 0);
        twins.sort_unstable();
        Ok(Self { branches, twins, ends, vocabulary, longest })
    }

    pub(super) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Others of the same bytes as `token`.
    pub(super) fn twins(&self, token: u32) -> impl Iterator<Item = u32> {
        let first = self.twins.partition_point(|&(one, _)| one < token);
        let rest = self.twins.get(first..).unwrap_or_default();
        rest.iter().take_while(move |&&(one, _)| one == token).map(|&(_, other)| other)
    }

    /// Tokens that end a text.
    pub(super) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Tokens of the vocabulary, those without text too.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Bytes of the longest token.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Bytes that the tree takes.
    pub fn bytes(&self) -> usize {
        self.branches.capacity() * size_of::<Branch>() + self.twins.capacity() * size_of::<(u32, u32)>()
    }
}

/// Ends the branches of `path` from `depth` on here.
fn close(branches: &mut [Branch], path: &mut Vec<u32>, depth: usize) {
    let here = branches.len() as u32;
    for at in path.drain(depth.min(path.len())..) {
        if let Some(branch) = branches.get_mut(at as usize) {
            branch.skip = here;
        }
    }
}

fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), ConstraintError> {
    let bytes = more.saturating_mul(size_of::<T>());
    list.try_reserve(more).map_err(|_| ConstraintError::OutOfMemory { bytes })
}
