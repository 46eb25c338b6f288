//! A grammar held over a vocabulary: which tokens may come next, as a text grows.

use super::Grammar;
use super::error::ConstraintError;
use super::machine::{DEAD, Machine};
use super::mask::{Mask, MaskCache, MaskUsage};
use super::trie::{NONE, TokenTrie};
use crate::tokenizer::Tokenizer;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// Bytes of masks that are kept unless [`Constraint::with_limit`] says otherwise: 170 masks of 49,152 tokens.
pub const MASK_BYTES: usize = 1 << 20;

/// The place of one text in a grammar. States and masks stay when the next text begins.
pub struct Constraint {
    grammar: Arc<Grammar>,
    trie: Arc<TokenTrie>,
    machine: Machine,
    masks: MaskCache,
    /// The state behind the text so far.
    at: u32,
    /// Where the mask lies that was asked for last.
    asked: usize,
    /// States along one way through the tree.
    path: Vec<u32>,
    /// Bytes of one token.
    bytes: Vec<u8>,
}

impl Constraint {
    /// The beginning of a text of `grammar`, over the vocabulary of `trie`.
    pub fn new(grammar: Arc<Grammar>, trie: Arc<TokenTrie>) -> Result<Self, ConstraintError> {
        Self::with_limit(grammar, trie, MASK_BYTES)
    }

    /// As [`new`](Self::new), with at most `limit` bytes of masks kept (but one mask always).
    pub fn with_limit(
        grammar: Arc<Grammar>,
        trie: Arc<TokenTrie>,
        limit: usize,
    ) -> Result<Self, ConstraintError> {
        let (path, bytes) = (vec![DEAD; trie.longest() + 1], Vec::with_capacity(trie.longest()));
        let mut new = Self { path, bytes, ..Self::hollow(grammar, trie, limit) };
        new.restart()?;
        Ok(new)
    }

    /// One without room for anything, which allows nothing.
    fn hollow(grammar: Arc<Grammar>, trie: Arc<TokenTrie>, limit: usize) -> Self {
        let masks = MaskCache::new(trie.vocabulary(), limit);
        let (machine, path, bytes) = (Machine::default(), Vec::new(), Vec::new());
        Self { grammar, trie, machine, masks, at: DEAD, asked: 0, path, bytes }
    }

    /// Takes it out of a loan, which is to be made good before anyone looks.
    #[cfg(feature = "neural")]
    pub(crate) fn take(&mut self) -> Self {
        let limit = self.masks.usage().limit;
        let hollow = Self::hollow(self.grammar.clone(), self.trie.clone(), limit);
        core::mem::replace(self, hollow)
    }

    /// Begins another text.
    pub fn restart(&mut self) -> Result<(), ConstraintError> {
        self.at = DEAD;
        self.begin()?;
        self.at = self.machine.start(&self.grammar.automaton, self.grammar.root)?;
        Ok(())
    }

    /// The tokens that may come next.
    pub fn mask(&mut self) -> Result<&Mask, ConstraintError> {
        if let Some(place) = self.masks.find(self.at) {
            self.asked = place;
            return Ok(self.masks.get(place));
        }
        self.begin()?;
        let mut mask = self.masks.take()?;
        self.fill(&mut mask)?;
        self.asked = self.masks.put(self.at, mask);
        Ok(self.masks.get(self.asked))
    }

    /// What [`mask`](Self::mask) gave last, where nothing was accepted since.
    #[cfg(feature = "neural")]
    pub(crate) fn asked(&self) -> &Mask {
        self.masks.get(self.asked)
    }

    /// Before any work of the machine's.
    fn begin(&mut self) -> Result<(), ConstraintError> {
        let (at, renewed) = self.machine.begin(&self.grammar.automaton, self.at)?;
        if renewed {
            self.masks.forget();
            self.at = at;
        }
        Ok(())
    }

    /// Walks the tree along all ways that the grammar allows.
    fn fill(&mut self, mask: &mut Mask) -> Result<(), ConstraintError> {
        let automaton = &self.grammar.automaton;
        if let Some(root) = self.path.first_mut() {
            *root = self.at;
        }
        let branches = self.trie.branches();
        let mut at = 0;
        while let Some(branch) = branches.get(at) {
            let depth = usize::from(branch.depth);
            let before = self.path.get(depth).copied().unwrap_or(DEAD);
            let state = self.machine.step(automaton, before, branch.byte)?;
            if state == DEAD {
                at = branch.skip as usize;
                continue;
            }
            if let Some(slot) = self.path.get_mut(depth + 1) {
                *slot = state;
            }
            if branch.token != NONE {
                mask.insert(branch.token);
                self.trie.twins(branch.token).for_each(|twin| mask.insert(twin));
            }
            at += 1;
        }
        if self.machine.may_end(self.at) {
            self.trie.ends().iter().for_each(|&end| mask.insert(end));
        }
        Ok(())
    }

    /// Goes on behind `token`. An error, and no change, where the grammar does not allow it.
    pub fn accept(&mut self, token: u32, tokenizer: &Tokenizer<'_>) -> Result<(), ConstraintError> {
        if tokenizer.is_end(token) {
            return if self.may_end() { Ok(()) } else { Err(ConstraintError::NotAllowed { token }) };
        }
        self.begin()?;
        self.bytes.clear();
        tokenizer.decode(token, &mut self.bytes);
        let mut state = if self.bytes.is_empty() { DEAD } else { self.at };
        for &byte in &self.bytes {
            state = self.machine.step(&self.grammar.automaton, state, byte)?;
        }
        if state == DEAD {
            return Err(ConstraintError::NotAllowed { token });
        }
        self.at = state;
        Ok(())
    }

    /// Whether the text may end here.
    pub fn may_end(&self) -> bool {
        self.machine.may_end(self.at)
    }

    /// Whether the text is whole and cannot go on.
    pub fn is_complete(&self) -> bool {
        self.may_end() && self.machine.must_end(self.at)
    }

    /// How the masks so far were come by.
    pub fn masks(&self) -> MaskUsage {
        self.masks.usage()
    }

    /// Bytes of the automaton's states, about.
    pub fn state_bytes(&self) -> usize {
        self.machine.bytes()
    }
}
