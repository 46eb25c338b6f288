//! A grammar's rules as they were written: trees of alternatives, sequences and repetitions.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Code points from the first to the second, both included.
pub(super) type Range = (u32, u32);

/// What one place of a text may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// This text.
    Literal(String),
    /// One character of these ranges: ascending, disjoint, without surrogates, at least one.
    Class(Vec<Range>),
    /// What the rule of this number allows.
    Rule(usize),
    /// One after another.
    Sequence(Vec<Expression>),
    /// One of these.
    Choice(Vec<Expression>),
    /// The item several times.
    Repeat {
        /// What is repeated.
        item: Box<Expression>,
        /// At least so often.
        least: u32,
        /// At most so often; `None`: any number of times.
        most: Option<u32>,
    },
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule<'t> {
    /// Its name.
    pub name: &'t str,
    /// Where it is defined (or first used), as an offset in the text.
    pub at: usize,
    /// What it allows; `None` where it was only used so far.
    pub body: Option<Expression>,
}

/// The highest code point.
pub(super) const LAST_CHARACTER: u32 = 0x10_FFFF;
const SURROGATES: Range = (0xD800, 0xDFFF);

/// Characters that are in one of `ranges`, or in none of them: ascending, disjoint, without surrogates.
pub(super) fn class(mut ranges: Vec<Range>, negated: bool) -> Vec<Range> {
    if negated {
        // Neither the named ones nor the surrogates.
        ranges.push(SURROGATES);
        ranges = gaps(ranges);
    } else {
        // Those that are in none of the gaps, nor surrogates.
        let mut others = gaps(ranges);
        others.push(SURROGATES);
        ranges = gaps(others);
    }
    ranges
}

/// All code points that are in none of `ranges`.
fn gaps(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let (mut gaps, mut next) = (Vec::new(), 0);
    for (first, last) in ranges {
        if first > next {
            gaps.push((next, first - 1));
        }
        next = next.max(last.saturating_add(1));
    }
    if next <= LAST_CHARACTER {
        gaps.push((next, LAST_CHARACTER));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn classes_are_in_order_without_surrogates() {
        assert_eq!(class(vec![(5, 9), (1, 3), (4, 6)], false), [(1, 9)]);
        assert_eq!(class(vec![(0, 0x10_FFFF)], false), [(0, 0xD7FF), (0xE000, 0x10_FFFF)]);
        assert_eq!(class(vec![], true), [(0, 0xD7FF), (0xE000, 0x10_FFFF)]);
        assert_eq!(class(vec![(97, 122), (0, 64)], true), [(65, 96), (123, 0xD7FF), (0xE000, 0x10_FFFF)]);
        assert_eq!(class(vec![(0xD900, 0xD901)], false), []);
        assert_eq!(class(vec![(0, 0x10_FFFF)], true), []);
    }
}
