//! Grammars that an answer is held to, in the notation of llama.cpp's GBNF, as a mask over the vocabulary.
//!
//! A grammar is compiled to an automaton over *bytes*, with a stack where rules recurse. A [`Constraint`] follows
//! a text through it and tells for each place which tokens may come next, as a set ([`Mask`]) that the engine applies to the logits
//! before anything else. A set is found by one walk over the vocabulary's bytes ([`TokenTrie`]) and kept by the automaton's
//! state, so that a place that was met before costs one look-up.
//!
//! The notation: rules `name ::= …`, the text begins with `root`; literals `"…"` with the escapes `\n \r \t \\ \" \[
//! \] \- \x41 \u0041 \U00000041`; classes `[a-z]`, `[^"\\]`; `.` for any character; groups; `|`; `* + ?
//! {m} {m,} {m,n}`; comments from `#`; rules that refer to each other and to themselves. A rule ends with its line, but
//! not inside parentheses, behind `::=` or behind `|`.
//!
//! Differences from llama.cpp, all of them refusals: a rule defined twice, a class without characters, a range or repetition written
//! backwards, a number above 65,535 in `{}` (llama.cpp: above 2,000), left recursion that passes through rules which may be empty, and
//! tokens by name (`<think>`). Characters are those of UTF-8: no surrogates, nothing overlong.
//!
//! Bounds: [`MAX_TEXT`], [`MAX_RULES`], [`MAX_NESTING`] and [`MAX_NODES`] for a grammar; states, places, stacks and work
//! for one mask in [`machine`]; [`MASK_BYTES`] for masks. Once its states and masks are known a text costs no memory
//! at all. Rules nested deeper than [`MAX_DEPTH`] are not begun: a JSON text may not have more brackets open.
//!
//! ```
//! use llm::grammar::Grammar;
//!
//! let list = Grammar::parse("root ::= item (\", \" item)*\nitem ::= [a-z]+ | \"(\" root \")\"").unwrap();
//! assert!(list.matches(b"a, (b, c), d") && !list.matches(b"a, (b"));
//!
//! let error = Grammar::parse("root ::= \"a\" | root \"b\"").unwrap_err();
//! assert!(error.to_string().starts_with("grammar, line 1, column 1: rule \"root\" can begin with itself"));
//! ```

mod compile;
mod constraint;
mod error;
mod expression;
pub mod machine;
mod mask;
mod parse;
mod recursion;
mod trie;
mod utf8;

pub use compile::MAX_NODES;
use compile::{Automaton, compile};
pub use constraint::{Constraint, MASK_BYTES};
pub use error::{ConstraintError, GrammarError, GrammarFault};
use machine::DEAD;
pub use machine::MAX_DEPTH;
pub use mask::{Mask, MaskUsage};
pub use parse::{MAX_NESTING, MAX_REPETITIONS, MAX_RULES, MAX_TEXT};
use parse::{error_at, parse};
use recursion::left_recursive;
pub use trie::TokenTrie;

use crate::error::Quoted;

/// A compiled grammar.
#[derive(Debug)]
pub struct Grammar {
    automaton: Automaton,
    /// The rule where texts begin.
    root: u32,
}

impl Grammar {
    /// Compiles a grammar.
    pub fn parse(text: &str) -> Result<Self, GrammarError> {
        let (rules, root) = parse(text)?;
        let at = |rule: usize| rules.get(rule).map_or(0, |rule| rule.at);
        let automaton = compile(&rules).map_err(|(rule, fault)| error_at(text, at(rule), fault))?;
        if let Some(rule) = left_recursive(&automaton) {
            let name = rules.get(rule).map_or("", |rule| rule.name);
            let fault = GrammarFault::LeftRecursion { name: Quoted::new(name.as_bytes()) };
            return Err(error_at(text, at(rule), fault));
        }
        Ok(Self { automaton, root: root as u32 })
    }

    /// Whether `text`, as a whole, is one of the grammar's. A text that passes the automaton's bounds is none.
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut machine = machine::Machine::default();
        let mut state = machine.start(&self.automaton, self.root);
        for &byte in text {
            state = state.and_then(|state| machine.begin(&self.automaton, state)).and_then(|(state, _)| {
                if state == DEAD { Ok(DEAD) } else { machine.step(&self.automaton, state, byte) }
            });
        }
        state.is_ok_and(|state| machine.may_end(state))
    }

    /// States of the automaton that it was compiled to.
    pub fn nodes(&self) -> usize {
        self.automaton.nodes.len()
    }
}
