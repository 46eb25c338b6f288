//! "did you mean": the closest of the words that would have been right.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Longer words are not compared: nobody mistypes a command of that length.
const MAX_LEN: usize = 32;

/// `; did you mean …?` with the candidate closest to `word`, or nothing if none is close.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let near = candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(word, candidate)?, candidate)))
        .filter(|(d, candidate)| *d <= 2 && *d < candidate.chars().count())
        // Of two at the same distance, the one with the same letters: the fingers were only too fast.
        .min_by_key(|(d, candidate)| (*d, sorted(word) != sorted(candidate)));
    near.map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

fn sorted(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().take(MAX_LEN).collect();
    letters.sort_unstable();
    letters
}

/// Edits (insert, delete, replace, swap of neighbours) between two short words: the optimal string
/// alignment distance. `None` if a word is too long.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(MAX_LEN + 1).collect(), b.chars().collect());
    if a.len() > MAX_LEN || b.len() > MAX_LEN {
        return None;
    }
    let mut d = [[0usize; MAX_LEN + 1]; MAX_LEN + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                d[i][j] = i.max(j);
                continue;
            }
            let replace = d[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            d[i][j] = replace.min(d[i - 1][j] + 1).min(d[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d[i][j] = d[i][j].min(d[i - 2][j - 2] + 1);
            }
        }
    }
    Some(d[a.len()][b.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_only() {
        let words = ["ps", "free", "lscpu", "lspci"];
        assert_eq!(did_you_mean("lscpi", words), "; did you mean `lspci`?");
        assert_eq!(did_you_mean("fre", words), "; did you mean `free`?");
        assert_eq!(did_you_mean("sp", words), "; did you mean `ps`?");
        assert_eq!(did_you_mean("xy", words), "");
        assert_eq!(did_you_mean(&"l".repeat(5000), words), "");
        assert_eq!(distance("abcd", "badc"), Some(2));
        assert_eq!(distance("", "abc"), Some(3));
    }
}
