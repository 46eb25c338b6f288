//! What the pre-tokenizers make of texts, and that their rows are llama.cpp's.

use super::families::{FAMILIES, Family, Stage};
use super::{Cutter, PreTokenizer, gpt2, patterns};
use crate::tokenizer::pattern::{Pattern, Scratch};
use alloc::{string::String, vec::Vec};
use proptest::prelude::*;

fn words(name: &str, text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let pre = PreTokenizer::new(Family::find(name.as_bytes()).unwrap()).unwrap();
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
        assert_eq!(words("gpt-2", text), expected, "{text:?}");
    }
}

/// One text each that tells a family from its neighbours.
#[test]
fn families_cut_as_their_patterns_say() {
    let cases: [(&str, &str, &[&str]); 18] = [
        ("smollm", "a 12 ²b", &["a", " ", "1", "2", " ", "²", "b"]),
        ("default", "x=12345", &["x", "=", "123", "45"]),
        ("falcon", "`x` 12345", &["`", "x", "`", " ", "123", "45"]),
        ("llama-bpe", "I'LL 12345\n\n x  y", &["I", "'LL", " ", "123", "45", "\n\n", " x", " ", " y"]),
        ("qwen2", "(foo)12 \r\n bar", &["(foo", ")", "1", "2", " \r\n", " bar"]),
        ("qwen2", "e\u{301}a", &["e", "\u{301}a"]),
        ("qwen35", "e\u{301}a", &["e\u{301}a"]),
        ("minicpm5", "12345", &["123", "45"]),
        ("jais-2", "a       b", &["a", "    ", "  ", " b"]),
        ("deepseek-llm", "a 你好 12.", &["a", " ", "你好", " ", "12", "."]),
        ("deepseek-coder", "a 你好 12.", &["a", " ", "你好", " ", "1", "2", "."]),
        ("deepseek-v3", "#include 1234你", &["#include", " ", "123", "4", "你"]),
        ("tekken", "camelCaseÉtéABC", &["camel", "CaseÉté", "ABC"]),
        ("gpt-4o", "HELLO'll 12345", &["HELLO'll", " ", "123", "45"]),
        ("bloom", "a, b.c", &["a", ",", " b", ".", "c"]),
        ("superbpe", "two words 12345", &["two words ", "12", "345"]),
        ("exaone-moe", "은 하 수 12", &["은 하 수", " ", "1", "2"]),
        ("kimi-k2", "word你好 a", &["word", "你好", " a"]),
    ];
    for (name, text, expected) in cases {
        assert_eq!(words(name, text), expected, "{name}: {text:?}");
    }
}

#[test]
fn every_row_compiles_and_every_name_is_there_once() {
    for family in &FAMILIES {
        assert!(PreTokenizer::new(family).is_some(), "{:?}", family.names);
    }
    let mut names: Vec<&str> = Family::all_names().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(Family::find(b"unheard-of").is_none());
}

/// A pattern that the matcher would give up on is found here, not in the booted kernel.
#[test]
fn long_runs_are_no_quadratic_work() {
    let texts = [" ", "a", "A", "1", "\u{3000}", "é", "!", "\n", "a ", "'", "aA", "\u{301}", "你"]
        .map(|unit| unit.repeat(100_000 / unit.len()));
    for family in &FAMILIES {
        let pre = PreTokenizer::new(family).unwrap();
        for text in &texts {
            let mut bytes = 0;
            pre.split(text, &mut |word| bytes += word.len());
            assert_eq!(bytes, text.len(), "{:?}", family.names);
        }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    let letters = "[ \t\r\na-cA-C'\u{2019}s1-3é你ß.,!`$\u{3000}\u{301}\u{660}🙂ǅ]{0,40}";
    prop_oneof![any::<String>(), letters]
}

proptest! {
    #[test]
    fn words_joined_are_the_text(text in any_text()) {
        for family in &FAMILIES {
            let words = words(family.names[0], &text);
            prop_assert!(words.iter().all(|word| !word.is_empty()));
            prop_assert_eq!(words.concat(), text.clone(), "{:?}", family.names);
        }
    }

    #[test]
    fn patterns_by_hand_equal_the_matcher(text in any_text()) {
        for (pattern, next) in [
            (patterns::GPT2, gpt2::next_word as fn(&str) -> usize),
            (patterns::NUMBER, gpt2::next_number),
        ] {
            let (mut by_hand, mut matched) = (Vec::new(), Vec::new());
            super::cascade(&[Cutter::Front(next)], &mut [Scratch::default()], &text, &mut |word| {
                by_hand.push(String::from(word));
            });
            let compiled = Pattern::new(pattern).unwrap();
            compiled.split(&text, &mut Scratch::default(), &mut |word| matched.push(String::from(word)));
            prop_assert_eq!(by_hand, matched);
        }
    }
}

#[test]
fn stages_fit_the_cascade() {
    assert!(FAMILIES.iter().all(|family| (1..=super::STAGES).contains(&family.stages.len())));
    assert!(FAMILIES.iter().any(|family| family.stages.contains(&Stage::GroupsOfDigits)));
}
