//! What the Tab key asks for.

use alloc::string::String;
use alloc::vec::Vec;

/// Knows what may stand at the cursor.
pub trait Completer {
    /// Ways to go on from `before`, the text from the start of the line to the cursor.
    fn complete(&self, before: &str) -> Completion;
}

/// Ways to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Byte in the text at which the word to replace starts.
    pub start: usize,
    /// Whole words to put there, sorted.
    pub candidates: Vec<String>,
}

/// Longest beginning that all candidates share.
pub(super) fn common_prefix(candidates: &[String]) -> &str {
    let Some((first, rest)) = candidates.split_first() else { return "" };
    let mut len = first.len();
    for other in rest {
        let same = first
            .char_indices()
            .zip(other.chars())
            .find_map(|((i, a), b)| (a != b).then_some(i))
            .unwrap_or(first.len().min(other.len()));
        len = len.min(same);
    }
    first.get(..len).unwrap_or_default()
}
