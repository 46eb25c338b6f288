//! Pre-tokenizers: how a text is cut into words before pairs are merged (`tokenizer.ggml.pre`).
//!
//! Each is a cascade of stages, as in llama.cpp: every stage cuts the pieces that the one before left. A stage
//! is written as a function instead of a regular expression: the patterns are few, fixed, and need no engine.

use super::classes::{is_letter, is_number, is_punctuation};
use super::gpt2;

/// Cuts pieces off the front of a text: the length of the next one in bytes (1 or more, a character boundary).
type Stage = fn(&str) -> usize;

/// The known pre-tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// GPT-2's pattern alone.
    Gpt2,
    /// Every `\p{N}` by itself, then GPT-2's pattern (SmolLM, StarCoder, Command-R).
    DigitsThenGpt2,
    /// llama.cpp's default: runs of punctuation, GPT-2's pattern, runs of digits, at most three of 0–9.
    Default,
}

impl PreTokenizer {
    /// The pre-tokenizer that GGUF files call `name`.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"gpt-2" | b"phi-2" => Self::Gpt2,
            b"smollm" | b"starcoder" | b"refact" | b"command-r" | b"codeshell" => Self::DigitsThenGpt2,
            b"default" => Self::Default,
            _ => return None,
        })
    }

    fn stages(self) -> &'static [Stage] {
        match self {
            Self::Gpt2 => &[gpt2::next_word],
            Self::DigitsThenGpt2 => &[single_numbers, gpt2::next_word],
            Self::Default => &[punctuation_runs, gpt2::next_word, number_runs, three_digits],
        }
    }

    /// Gives the words of `text` in order; joined they are the text.
    pub fn split(self, text: &str, word: &mut dyn FnMut(&str)) {
        cascade(self.stages(), text, word);
    }
}

/// Recurses over the stages (at most four), not over the text.
fn cascade(stages: &[Stage], text: &str, word: &mut dyn FnMut(&str)) {
    let Some((stage, later)) = stages.split_first() else { return word(text) };
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at_checked(stage(rest).max(1)).unwrap_or((rest, ""));
        cascade(later, piece, word);
        rest = after;
    }
}

/// `\p{N}`: each by itself, and what lies between.
fn single_numbers(text: &str) -> usize {
    match text.chars().next() {
        Some(c) if is_number(c) => c.len_utf8(),
        _ => text.find(is_number).unwrap_or(text.len()),
    }
}

/// `\p{N}+`, and what lies between.
fn number_runs(text: &str) -> usize {
    run(text, is_number)
}

/// `[\p{P}\$\+<=>\^~\|]+`, and what lies between.
fn punctuation_runs(text: &str) -> usize {
    run(text, |c| is_punctuation(c) || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|'))
}

/// `[0-9][0-9][0-9]`, and what lies between.
fn three_digits(text: &str) -> usize {
    let bytes = text.as_bytes();
    let triple = bytes.windows(3).position(|three| three.iter().all(u8::is_ascii_digit));
    match triple {
        Some(0) => 3,
        Some(at) => at,
        None => text.len(),
    }
}

/// The longest run from the front of characters that all are, or all are not, of a class.
fn run(text: &str, class: impl Fn(char) -> bool) -> usize {
    let first = text.chars().next().is_some_and(&class);
    text.find(|c| class(c) != first).unwrap_or(text.len())
}

/// A letter, a number, white space or another character, for [`gpt2`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Letter,
    Number,
    Space,
    Other,
}

pub(super) fn class(c: char) -> Class {
    match c {
        c if c.is_whitespace() => Class::Space,
        c if is_letter(c) => Class::Letter,
        c if is_number(c) => Class::Number,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::String, vec::Vec};
    use proptest::prelude::*;

    fn words(pre: PreTokenizer, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        pre.split(text, &mut |word| words.push(word.into()));
        words
    }

    #[test]
    fn gpt2_pattern() {
        let cases: [(&str, &[&str]); 10] = [
            ("Hello world", &["Hello", " world"]),
            ("I'm we'll they're x's'", &["I", "'m", " we", "'ll", " they", "'re", " x", "'s", "'"]),
            ("a   b", &["a", "  ", " b"]),
            ("a \n\n b  ", &["a", " \n\n", " b", "  "]),
            ("  x", &[" ", " x"]),
            ("3.14 is", &["3", ".", "14", " is"]),
            ("\t\tx", &["\t", "\t", "x"]),
            ("你好，世界!!", &["你好", "，", "世界", "!!"]),
            (" ", &[" "]),
            ("I'M", &["I", "'", "M"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(PreTokenizer::Gpt2, text), expected, "{text:?}");
        }
    }

    #[test]
    fn cascades() {
        assert_eq!(words(PreTokenizer::DigitsThenGpt2, "a 12 ²b"), ["a", " ", "1", "2", " ", "²", "b"]);
        assert_eq!(words(PreTokenizer::Default, "x=12345"), ["x", "=", "123", "45"]);
    }

    proptest! {
        #[test]
        fn words_joined_are_the_text(text in "\\PC*|[ \\t\\na-c'1-3é你]{0,40}") {
            for pre in [PreTokenizer::Gpt2, PreTokenizer::DigitsThenGpt2, PreTokenizer::Default] {
                let words = words(pre, &text);
                prop_assert!(words.iter().all(|word| !word.is_empty()));
                prop_assert_eq!(words.concat(), text.clone());
            }
        }
    }
}
