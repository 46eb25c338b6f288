//! What can be wrong with a grammar's text, and with using it, each as one sentence.

use crate::error::Quoted;

/// Why a text is not a grammar, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("grammar, line {line}, column {column}: {fault}")]
pub struct GrammarError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: GrammarFault,
}

/// What is wrong with a grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarFault {
    /// Something else belongs here.
    #[error("expected {wanted}, found {found}")]
    Unexpected {
        /// What belongs here.
        wanted: &'static str,
        /// The character there, or the end.
        found: Quoted,
    },
    /// A quote, bracket or parenthesis that is opened only.
    #[error("{what} is not closed; add {close} at its end")]
    NotClosed {
        /// The thing.
        what: &'static str,
        /// What closes it.
        close: char,
    },
    /// A backslash before a character that has no special meaning.
    #[error(
        "{found} is no escape; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\x41 \\u0041 and \\U00000041"
    )]
    BadEscape {
        /// Backslash and character.
        found: Quoted,
    },
    /// Too few hexadecimal digits.
    #[error("this escape needs {digits} hexadecimal digits")]
    BadHex {
        /// How many belong here.
        digits: usize,
    },
    /// A number above the highest code point, or a surrogate by itself.
    #[error("U+{code:04X} is not a character; characters go up to U+10FFFF, without U+D800 to U+DFFF")]
    NoCharacter {
        /// The number.
        code: u32,
    },
    /// A class that nothing matches.
    #[error("the class matches no character; name at least one that it does")]
    EmptyClass,
    /// A range whose end is before its beginning.
    #[error("the range ends before it begins; write the lower character first")]
    BackwardsRange,
    /// `*`, `+`, `?` or `{` with nothing before it.
    #[error("there is nothing to repeat; write an item before this")]
    NothingToRepeat,
    /// `{m,n}` with `n` below `m`.
    #[error("at least {least} but at most {most} times is not possible; write the lower number first")]
    BackwardsRepetition {
        /// The first number.
        least: u32,
        /// The second.
        most: u32,
    },
    /// A number of repetitions beyond the limit.
    #[error("at most {limit} repetitions can be counted; write {{m,}} for any number from m on")]
    TooManyRepetitions {
        /// The limit.
        limit: u32,
    },
    /// A token by name or number.
    #[error("tokens (<…>) cannot be named in a grammar here; write their text as a literal")]
    TokenReference,
    /// Two rules of one name.
    #[error("rule {name} is defined twice; join the two by |")]
    DuplicateRule {
        /// Its name.
        name: Quoted,
    },
    /// A rule that is used and not defined.
    #[error("rule {name} is not defined; add a line {name} ::= …")]
    UndefinedRule {
        /// Its name.
        name: Quoted,
    },
    /// No `root`.
    #[error("there is no rule root, where every text begins; add a line root ::= …")]
    NoRoot,
    /// A rule that can begin with itself.
    #[error(
        "rule {name} can begin with itself (left recursion); write it with a repetition, or with itself at the end"
    )]
    LeftRecursion {
        /// Its name.
        name: Quoted,
    },
    /// Parentheses, or repetitions of repetitions, beyond the limit.
    #[error("the grammar is nested deeper than {limit} levels; give inner parts a rule of their own")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More text, rules or automaton than the limits allow.
    #[error("the grammar has more than {limit} {what}; make it simpler")]
    TooLarge {
        /// Bytes, rules or states.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// Why the next tokens cannot be told, though the grammar is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// One mask took more work or memory than its limits.
    #[error("the grammar is too ambiguous here: one token's mask passes {limit} {what}; make it simpler")]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// No memory for a table.
    #[error("not enough memory for {bytes} bytes of the grammar's tables")]
    OutOfMemory {
        /// Bytes wanted.
        bytes: usize,
    },
    /// A token that the grammar does not allow here.
    #[error("token {token} is not allowed by the grammar here")]
    NotAllowed {
        /// Its number.
        token: u32,
    },
}
