//! The merge loop that byte-level BPE and SentencePiece share: best pair first, until no pair is left.
//!
//! Symbols are a doubly linked list in a vector, candidate pairs a heap, so a text of n symbols takes
//! O(n log n) however it is made up. The order (best key, then leftmost) is that of llama.cpp. Most words are short:
//! for those, looking at every pair for the best costs less than the heap does.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// No token, or no neighbour.
pub(super) const NONE: u32 = u32::MAX;

/// Most symbols of a word that is merged without the heap.
const SHORT: usize = 16;

/// A piece of the text, possibly with its token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// The token, [`NONE`] for a character that the vocabulary does not have.
    pub id: u32,
    /// First byte in the text.
    pub start: u32,
    /// Bytes; 0 once merged into the symbol on its left.
    pub len: u32,
    prev: u32,
    next: u32,
}

/// A pair that could be merged, with the lengths that its symbols had: symbols only ever grow, so equal
/// lengths mean that neither has changed since. Compared in field order: lower key is better, then leftmost.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    key: u32,
    left: u32,
    right: u32,
    left_len: u32,
    right_len: u32,
    merged: u32,
}

/// Buffers of the loop, kept between the words of one text.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Starts a text of pieces given as (token, bytes), in order.
    pub fn start(&mut self, pieces: impl Iterator<Item = (u32, usize)>) {
        self.symbols.clear();
        self.queue.clear();
        let mut start = 0;
        for (at, (id, len)) in (0u32..).zip(pieces) {
            let len = len as u32;
            self.symbols.push(Symbol { id, start, len, prev: at.wrapping_sub(1), next: at + 1 });
            start += len;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
    }

    /// Merges until nothing more can be. `rule` gives a pair's key (lower is better) and resulting token.
    pub fn run(&mut self, rule: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        if self.symbols.len() <= SHORT { self.run_short(rule) } else { self.run_long(rule) }
    }

    fn run_short(&mut self, rule: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        /// Key and result of a pair that cannot be merged.
        const NEVER: (u32, u32) = (u32::MAX, NONE);
        let propose = |symbols: &[Symbol], left: usize| match symbols.get(left..) {
            Some([left, right, ..]) => rule(left, right).unwrap_or(NEVER),
            _ => NEVER,
        };
        // At each place the pair of the symbol there and the next.
        let mut pairs = [NEVER; SHORT];
        for (left, pair) in pairs.iter_mut().enumerate().take(self.symbols.len()) {
            *pair = propose(&self.symbols, left);
        }
        loop {
            let live = pairs.iter().take(self.symbols.len()).enumerate();
            // Of equals, the leftmost.
            let Some((best, &(_, merged))) = live.min_by_key(|(_, pair)| pair.0) else { return };
            let right = best + 1;
            if merged == NONE || right >= self.symbols.len() {
                return;
            }
            let gone = self.symbols.remove(right);
            pairs.copy_within(right + 1.., right);
            if let Some(left) = self.symbols.get_mut(best) {
                (left.id, left.len) = (merged, left.len + gone.len);
            }
            for at in best.saturating_sub(1)..=best {
                if let Some(pair) = pairs.get_mut(at) {
                    *pair = propose(&self.symbols, at);
                }
            }
        }
    }

    fn run_long(&mut self, rule: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        for right in 1..self.symbols.len() as u32 {
            self.propose(right - 1, right, &rule);
        }
        while let Some(Reverse(best)) = self.queue.pop() {
            let (Some(&left), Some(&right)) = (self.get(best.left), self.get(best.right)) else { continue };
            if left.len != best.left_len || right.len != best.right_len {
                continue;
            }
            if let Some(gone) = self.symbols.get_mut(best.right as usize) {
                gone.len = 0;
            }
            if let Some(grown) = self.symbols.get_mut(best.left as usize) {
                *grown = Symbol { id: best.merged, len: left.len + right.len, next: right.next, ..left };
            }
            if let Some(after) = self.symbols.get_mut(right.next as usize) {
                after.prev = best.left;
            }
            self.propose(left.prev, best.left, &rule);
            self.propose(best.left, right.next, &rule);
        }
    }

    /// What is left, in order.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }

    fn get(&self, at: u32) -> Option<&Symbol> {
        self.symbols.get(at as usize)
    }

    fn propose(&mut self, left: u32, right: u32, rule: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let (Some(l), Some(r)) = (self.get(left), self.get(right)) else { return };
        if let Some((key, merged)) = rule(l, r) {
            let candidate = Candidate { key, left, right, left_len: l.len, right_len: r.len, merged };
            self.queue.push(Reverse(candidate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_words_merge_as_long_ones_do(
            ids in prop::collection::vec(0..4u32, 0..=SHORT),
            table in prop::collection::vec(prop::option::weighted(0.6, (0..6u32, 0..8u32)), 64),
        ) {
            let rule = |left: &Symbol, right: &Symbol| table[(left.id * 8 + right.id) as usize];
            let merged = |short: bool| {
                let mut merger = Merger::default();
                merger.start(ids.iter().map(|&id| (id, 1)));
                if short { merger.run_short(rule) } else { merger.run_long(rule) }
                merger.symbols().map(|symbol| (symbol.id, symbol.start, symbol.len)).collect::<Vec<_>>()
            };
            prop_assert_eq!(merged(true), merged(false));
        }
    }
}
