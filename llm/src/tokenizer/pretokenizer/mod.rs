//! Pre-tokenizers: how a text is cut into words before pairs are merged (`tokenizer.ggml.pre`).
//!
//! Each is a cascade of stages, as in llama.cpp: every stage cuts the pieces that the one before left. A stage is
//! a pattern ([`patterns`]) that [`crate::tokenizer::pattern`] compiles when the tokenizer is built; two patterns, and
//! what no pattern does in linear time, are functions.

mod digits;
mod families;
mod gpt2;
mod patterns;
#[cfg(test)]
mod tests;

use super::pattern::{Pattern, Scratch};
use alloc::boxed::Box;
use alloc::vec::Vec;
use families::Stage;
pub(super) use families::{Alphabet, Family};

/// Most stages of a family.
const STAGES: usize = 6;

/// A pre-tokenizer ready to split.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    cutters: Vec<Cutter>,
}

/// Gives the pieces of its text in order.
type CutWhole = fn(&str, &mut dyn FnMut(&str));

/// A stage ready to cut.
#[derive(Debug)]
enum Cutter {
    /// At the matches.
    Matches(Box<Pattern>),
    /// Pieces off the front: the length of the next in bytes (a character boundary).
    Front(fn(&str) -> usize),
    /// The whole text at once.
    Whole(CutWhole),
}

impl PreTokenizer {
    /// Compiles the stages of `family`. `None` only for a mistake in its patterns, which the tests rule out.
    pub fn new(family: &Family) -> Option<Self> {
        let cutter = |stage: &Stage| {
            Some(match *stage {
                Stage::Pattern(patterns::GPT2) => Cutter::Front(gpt2::next_word),
                Stage::Pattern(patterns::NUMBER) => Cutter::Front(gpt2::next_number),
                Stage::Pattern(pattern) => Cutter::Matches(Box::new(Pattern::new(pattern)?)),
                Stage::GroupsOfNumbers => Cutter::Whole(digits::groups_of_numbers),
                Stage::GroupsOfDigits => Cutter::Whole(digits::groups_of_digits),
            })
        };
        let cutters = family.stages.iter().map(cutter).collect::<Option<Vec<_>>>()?;
        (cutters.len() <= STAGES).then_some(Self { cutters })
    }

    /// Gives the words of `text` in order; joined they are the text.
    pub fn split(&self, text: &str, word: &mut dyn FnMut(&str)) {
        let mut scratch: [Scratch; STAGES] = Default::default();
        cascade(&self.cutters, &mut scratch, text, word);
    }
}

/// Recurses over the stages, not over the text.
fn cascade(cutters: &[Cutter], scratch: &mut [Scratch], text: &str, word: &mut dyn FnMut(&str)) {
    let (Some((cutter, later)), Some((own, others))) = (cutters.split_first(), scratch.split_first_mut())
    else {
        return word(text);
    };
    let mut piece = |piece: &str| cascade(later, others, piece, word);
    match cutter {
        Cutter::Matches(pattern) => pattern.split(text, own, &mut piece),
        Cutter::Whole(cut) => cut(text, &mut piece),
        Cutter::Front(next) => {
            let mut rest = text;
            while !rest.is_empty() {
                let (front, after) = rest.split_at_checked(next(rest).max(1)).unwrap_or((rest, ""));
                piece(front);
                rest = after;
            }
        }
    }
}
