//! How often each token follows each history: sorted lists, found by bisection.
//!
//! Ten million tokens take 80 MB while they are sorted, and some 40 MB as lists.

use std::ops::Range;

use rayon::slice::ParallelSliceMut;

use super::{END, predictions};

/// Tokens by history, with their counts. A history is the tokens before, 16 bits each, the nearest in the lowest ones.
#[derive(Debug, Default)]
pub struct Level {
    histories: Vec<u32>,
    /// Where the tokens after a history begin; one more than there are histories.
    starts: Vec<u32>,
    tokens: Vec<u16>,
    counts: Vec<u32>,
}

impl Level {
    /// Counts by `history << 16 | token`, in rising order, each once.
    fn new(sorted: &[(u64, u32)]) -> Self {
        let mut level = Level::default();
        for &(key, count) in sorted {
            let (history, token) = ((key >> 16) as u32, key as u16);
            if level.histories.last() != Some(&history) {
                level.histories.push(history);
                level.starts.push(level.tokens.len() as u32);
            }
            level.tokens.push(token);
            level.counts.push(count);
        }
        level.starts.push(level.tokens.len() as u32);
        level
    }

    /// Histories there are.
    pub fn histories(&self) -> usize {
        self.histories.len()
    }

    /// The number of a history; `None` if nothing was seen after it.
    pub fn find(&self, history: u32) -> Option<usize> {
        self.histories.binary_search(&history).ok()
    }

    /// What follows a history, by its number: tokens in rising order, and their counts.
    pub fn after(&self, history: usize) -> (&[u16], &[u32]) {
        let range = self.range(history);
        (&self.tokens[range.clone()], &self.counts[range])
    }

    /// How often `token` follows a history, by its number.
    pub fn count(&self, history: usize, token: u16) -> u32 {
        let (tokens, counts) = self.after(history);
        tokens.binary_search(&token).map_or(0, |at| counts[at])
    }

    /// All counts.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    fn range(&self, history: usize) -> Range<usize> {
        self.starts[history] as usize..self.starts[history + 1] as usize
    }

    /// Every history, token and count.
    fn entries(&self) -> impl Iterator<Item = (u32, u16, u32)> + '_ {
        (0..self.histories.len()).flat_map(move |at| {
            let (tokens, counts) = self.after(at);
            tokens.iter().zip(counts).map(move |(&token, &count)| (self.histories[at], token, count))
        })
    }
}

/// Two tokens as a history.
pub fn pair(history: (u16, u16)) -> u32 {
    u32::from(history.0) << 16 | u32::from(history.1)
}

/// How often tokens follow the two before them.
pub fn trigrams<'d>(documents: impl Iterator<Item = &'d [u16]>) -> Level {
    let key = |((u, v), w): ((u16, u16), u16)| u64::from(pair((u, v))) << 16 | u64::from(w);
    let mut keys: Vec<u64> = documents.flat_map(|document| predictions(document).map(key)).collect();
    keys.par_sort_unstable();
    let runs = keys.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32));
    Level::new(&runs.collect::<Vec<_>>())
}

/// How often tokens follow the one before them; with `types`, behind how many different tokens that was ("continuation
/// counts"). What begins a document has nothing before it that could vary, and keeps its count.
pub fn bigrams(three: &Level, types: bool) -> Level {
    shortened(three, |(history, token, count)| {
        let nearest = history as u16;
        (nearest, token, if types && nearest != END { 1 } else { count })
    })
}

/// How often there are tokens; with `types`, behind how many different ones. The only history is 0.
pub fn unigrams(two: &Level, types: bool) -> Level {
    shortened(two, |(_, token, count)| (0, token, if types { 1 } else { count }))
}

/// The sums of the counts that `shorten` makes of every history, token and count.
fn shortened(longer: &Level, shorten: impl Fn((u32, u16, u32)) -> (u16, u16, u32)) -> Level {
    let keyed = |(history, token, count)| (u64::from(pair((0, history))) << 16 | u64::from(token), count);
    let mut counts: Vec<(u64, u32)> = longer.entries().map(shorten).map(keyed).collect();
    counts.par_sort_unstable_by_key(|&(key, _)| key);
    let sums = counts
        .chunk_by(|a, b| a.0 == b.0)
        .map(|run| (run[0].0, run.iter().fold(0u32, |sum, (_, count)| sum.saturating_add(*count))));
    Level::new(&sums.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "1 2 1 2" and "3 2".
    fn example() -> Level {
        trigrams([&[1u16, 2, 1, 2][..], &[3, 2]].into_iter())
    }

    #[test]
    fn counts_are_those_of_a_reader() {
        let three = example();
        let count = |history, token| three.find(pair(history)).map_or(0, |at| three.count(at, token));
        assert_eq!((count((0, 0), 1), count((0, 0), 3), count((1, 2), 1), count((1, 2), 0)), (1, 1, 1, 1));
        assert_eq!((count((2, 1), 2), count((9, 9), 1)), (1, 0));
        let two = bigrams(&three, false);
        let count = |history, token| two.find(history).map_or(0, |at| two.count(at, token));
        assert_eq!((count(1, 2), count(3, 2), count(2, 0), count(0, 1)), (2, 1, 2, 1));
        let one = unigrams(&two, false);
        assert_eq!(one.after(0), (&[0u16, 1, 2, 3][..], &[2u32, 2, 3, 1][..]));
    }

    #[test]
    fn continuations_count_histories_once() {
        let two = bigrams(&example(), true);
        let count = |history, token| two.find(history).map_or(0, |at| two.count(at, token));
        // "1 2" stands behind the beginning and behind 2; "2 end" behind 1 and 3; "begin 1" keeps its count.
        assert_eq!((count(1, 2), count(2, 0), count(2, 1), count(0, 1)), (2, 2, 1, 1));
        let one = unigrams(&two, true);
        // 2 comes after 1 and 3; 1 after the beginning and 2; the end after 2 only.
        assert_eq!(one.after(0), (&[0u16, 1, 2, 3][..], &[1u32, 2, 2, 1][..]));
    }
}
