//! Which documents the weights are fitted on, and which are held out: by a hash of the seed and the document's name, so that
//! it depends on nothing else in the corpus.

use super::order::hash;
use crate::corpus::Document;
use crate::run_folder::Split;

/// Per cent of the things that go to each of the two held-out splits.
const HELD_OUT: u64 = 2;

/// The split of a document.
///
/// All renderings of one thing are in one split. Of the commands it is a wording that is held out, not a command: the model
/// is to know them all. What is to be known by heart, and conversations, are trained on whole; records are trained on unless
/// their device is held out.
pub fn of(document: &Document, seed: u64) -> Split {
    let draw = match document.source.as_str() {
        "devices" | "chat" => return Split::Train,
        "copy" => match document.name.strip_prefix("held out ") {
            None => return Split::Train,
            Some(id) if hash(seed, &[id]).is_multiple_of(2) => return Split::Valid,
            Some(_) => return Split::Test,
        },
        "commands" => hash(seed, &["commands", &document.text]),
        source => hash(seed, &[source, document.thing()]),
    };
    match draw % 100 {
        n if n < HELD_OUT => Split::Valid,
        n if n < 2 * HELD_OUT => Split::Test,
        _ => Split::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_per_cent_are_held_out_twice_and_renderings_stay_together() {
        let documents: Vec<Document> =
            (0..20_000).map(|n| Document::new("man", format!("page {n}#0"), "")).collect();
        for split in [Split::Valid, Split::Test] {
            let share = documents.iter().filter(|d| of(d, 7) == split).count();
            assert!((300..500).contains(&share), "{share}");
        }
        for n in 0..200 {
            let [a, b] = ["a", "b"].map(|r| Document::new("text", format!("x{n}#{r}"), r));
            assert_eq!(of(&a, 7), of(&b, 7));
        }
    }
}
