//! Regular expressions as pre-tokenizers need them, and no more: classes by Unicode category, greedy quantifiers,
//! groups, looks at one character. Semantics are those of `std::regex` (ECMAScript): at each place the first
//! alternative that matches counts, and quantifiers give back what they took where the rest would fail.
//!
//! A run of one class is one operation with one entry on the stack, however long it is; only repeated groups take
//! an entry for each turn. There is no recursion over the text.

mod class;
mod parse;
mod program;

use alloc::vec::Vec;
use program::{Operation, Program};

/// Most alternatives of a pattern.
const LIMIT: usize = 16;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    alternatives: Vec<Program>,
    /// For each ASCII character, a bit for each alternative that may begin with it.
    by_first: [u16; 128],
}

/// A place to go back to.
#[derive(Debug)]
struct Choice {
    operation: usize,
    at: usize,
    /// Down to here, the run before may give back one more character.
    least: usize,
}

/// What a search works with, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    choices: Vec<Choice>,
    /// For each alternative that begins with a run: it does not match anywhere before this place. Without this,
    /// `\s+$` would be tried again at each character of a long run.
    hopeless: [usize; LIMIT],
}

impl Pattern {
    /// `None` where `pattern` is not of the grammar, could match nothing, or has too many alternatives.
    pub fn new(pattern: &str) -> Option<Self> {
        let nodes = parse::parse(pattern)?;
        let alternatives = nodes.iter().map(Program::new).collect::<Option<Vec<_>>>()?;
        if alternatives.len() > LIMIT {
            return None;
        }
        let mut by_first = [0; 128];
        for (byte, mask) in by_first.iter_mut().enumerate() {
            let bits = alternatives.iter().enumerate().filter(|(_, program)| program.first >> byte & 1 != 0);
            *mask = bits.fold(0, |mask, (at, _)| mask | 1 << at);
        }
        Some(Self { alternatives, by_first })
    }

    /// Gives the matches in `text` and what lies between them, in order; joined they are the text.
    pub fn split(&self, text: &str, scratch: &mut Scratch, piece: &mut dyn FnMut(&str)) {
        scratch.hopeless = [0; LIMIT];
        let mut give = |from: usize, to: usize| {
            if let Some(text) = text.get(from..to).filter(|text| !text.is_empty()) {
                piece(text);
            }
        };
        let (mut done, mut at) = (0, 0);
        while let Some(&byte) = text.as_bytes().get(at) {
            match self.match_at(text, at, byte, scratch) {
                Some(end) => {
                    give(done, at);
                    give(at, end);
                    (done, at) = (end, end);
                }
                None => at = text.ceil_char_boundary(at + 1),
            }
        }
        give(done, at);
    }

    /// The end of the match that begins at `at`, where `byte` stands.
    fn match_at(&self, text: &str, at: usize, byte: u8, scratch: &mut Scratch) -> Option<usize> {
        // Beyond ASCII any alternative may match.
        let mut candidates = self.by_first.get(usize::from(byte)).copied().unwrap_or(u16::MAX);
        while candidates != 0 {
            let alternative = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let (Some(program), Some(hopeless)) =
                (self.alternatives.get(alternative), scratch.hopeless.get_mut(alternative))
            else {
                break;
            };
            if at >= *hopeless
                && let Some(end) = program.match_at(text, at, &mut scratch.choices, hopeless)
            {
                return Some(end);
            }
        }
        None
    }
}

impl Program {
    fn match_at(
        &self,
        text: &str,
        start: usize,
        choices: &mut Vec<Choice>,
        hopeless: &mut usize,
    ) -> Option<usize> {
        choices.clear();
        let (mut next, mut at) = (0, start);
        let mut first_run = start;
        loop {
            let passed = match self.operations.get(next) {
                None => return Some(at),
                Some(Operation::Run { class, least, most }) => {
                    let (end, count) = class.run(text, at, *most);
                    if next == 0 {
                        first_run = end;
                    }
                    if count > *least {
                        let least = class.run(text, at, *least).0;
                        choices.push(Choice { operation: next + 1, at: before(text, end), least });
                    }
                    at = end;
                    count >= *least
                }
                Some(&Operation::OrElse(other)) => {
                    choices.push(Choice { operation: other, at, least: at });
                    true
                }
                Some(&Operation::Jump(place)) => {
                    next = place;
                    continue;
                }
                Some(Operation::Followed(class)) => class.step(text, at).is_some(),
                Some(Operation::NotFollowed(class)) => class.step(text, at).is_none(),
                Some(Operation::End) => at == text.len(),
            };
            if passed {
                next += 1;
                continue;
            }
            let Some(choice) = choices.last_mut() else { break };
            (next, at) = (choice.operation, choice.at);
            if choice.at > choice.least {
                choice.at = before(text, choice.at);
            } else {
                choices.pop();
            }
        }
        // Every end of the run has been tried, so a run that begins further on fails too.
        if self.begins_with_a_run() {
            *hopeless = first_run;
        }
        None
    }
}

/// Where the character that ends at `at` begins.
fn before(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.saturating_sub(1))
}
