//! What pre-tokenizer patterns ask about a character: its Unicode general category, white space, Han.

use unicode_general_category::{GeneralCategory as G, get_general_category};

/// A set of properties, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Properties(u8);

impl Properties {
    pub const NONE: Self = Self(0);
    /// `\p{L}`.
    pub const LETTER: Self = Self(1);
    /// `\p{N}`.
    pub const NUMBER: Self = Self(2);
    /// `\p{P}`.
    pub const PUNCTUATION: Self = Self(4);
    /// `\p{S}`.
    pub const SYMBOL: Self = Self(8);
    /// `\p{M}`.
    pub const MARK: Self = Self(16);
    /// `\s`.
    pub const SPACE: Self = Self(32);
    /// `\p{Han}`.
    pub const HAN: Self = Self(64);

    /// Those of either set.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have one in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of `c`.
    pub fn of(c: char) -> Self {
        let space = if c.is_whitespace() { Self::SPACE } else { Self::NONE };
        let han = if is_han(c) { Self::HAN } else { Self::NONE };
        category(c).with(space).with(han)
    }
}

/// `\p{L}`.
pub(super) fn is_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { category(c).meets(Properties::LETTER) }
}

/// `\p{N}`.
pub(super) fn is_number(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { category(c).meets(Properties::NUMBER) }
}

/// The property that stands for the general category of `c`.
fn category(c: char) -> Properties {
    use G::*;
    if is_newer(c) {
        return Properties::NONE;
    }
    match get_general_category(c) {
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => {
            Properties::LETTER
        }
        DecimalNumber | LetterNumber | OtherNumber => Properties::NUMBER,
        ConnectorPunctuation | DashPunctuation | OpenPunctuation | ClosePunctuation | InitialPunctuation
        | FinalPunctuation | OtherPunctuation => Properties::PUNCTUATION,
        MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol => Properties::SYMBOL,
        NonspacingMark | SpacingMark | EnclosingMark => Properties::MARK,
        _ => Properties::NONE,
    }
}

/// Whether `c` came with Unicode 16: llama.cpp's tables are of 15.1, and call it unassigned. No vocabulary was made
/// with it; it goes once they call it otherwise.
fn is_newer(c: char) -> bool {
    let at = NEWER.partition_point(|&(_, last)| last < c);
    NEWER.get(at).is_some_and(|&(first, _)| first <= c)
}

/// The ranges of what is newer, with gaps closed where nothing is assigned.
#[rustfmt::skip]
const NEWER: [(char, char); 28] = [
    ('\u{897}', '\u{897}'), ('\u{1b4e}', '\u{1b4f}'), ('\u{1b7f}', '\u{1b7f}'),
    ('\u{1c89}', '\u{1c8a}'), ('\u{2427}', '\u{2429}'), ('\u{31e4}', '\u{31e5}'),
    ('\u{a7cb}', '\u{a7cd}'), ('\u{a7da}', '\u{a7dc}'), ('\u{105c0}', '\u{105f3}'),
    ('\u{10d40}', '\u{10d8f}'), ('\u{10ec2}', '\u{10efc}'), ('\u{11380}', '\u{113e2}'),
    ('\u{116d0}', '\u{116e3}'), ('\u{11bc0}', '\u{11bf9}'), ('\u{11f5a}', '\u{11f5a}'),
    ('\u{13460}', '\u{143fa}'), ('\u{16100}', '\u{16139}'), ('\u{16d40}', '\u{16d79}'),
    ('\u{18cff}', '\u{18cff}'), ('\u{1cc00}', '\u{1ceb3}'), ('\u{1e5d0}', '\u{1e5ff}'),
    ('\u{1f8b2}', '\u{1f8c1}'), ('\u{1fa89}', '\u{1fa8f}'), ('\u{1fabe}', '\u{1fabe}'),
    ('\u{1fac6}', '\u{1fac6}'), ('\u{1fadc}', '\u{1fadf}'), ('\u{1fae9}', '\u{1fae9}'),
    ('\u{1fbcb}', '\u{1fbef}'),
];

/// The ideographs, by the blocks that llama.cpp counts as such.
fn is_han(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2ebef}'
        | '\u{2f800}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories() {
        let expected = [
            ("aZéǅʰ你ªא", Properties::LETTER),
            ("09²٣Ⅷ½〇", Properties::NUMBER),
            ("_-([«»!。،", Properties::PUNCTUATION),
            ("$+<=>^`|~¢🙂", Properties::SYMBOL),
            ("\u{301}\u{903}\u{20dd}", Properties::MARK),
            ("\u{85}\u{200b}\u{e000}\u{10ffff}", Properties::NONE),
        ];
        for (text, property) in expected {
            for c in text.chars() {
                assert_eq!(category(c), property, "{c:?}");
                assert_eq!(
                    (is_letter(c), is_number(c)),
                    (property == Properties::LETTER, property == Properties::NUMBER)
                );
            }
        }
        assert!(
            Properties::of('\u{85}').meets(Properties::SPACE) && Properties::of('你').meets(Properties::HAN)
        );
    }

    #[test]
    fn newer_characters_have_no_category() {
        assert!(NEWER.is_sorted() && NEWER.iter().all(|(first, last)| first <= last));
        // Garay, of Unicode 16, between Hanifi Rohingya and Rumi numbers.
        for (c, newer) in
            [('\u{10d39}', false), ('\u{10d40}', true), ('\u{10d65}', true), ('\u{10e60}', false)]
        {
            assert_eq!(is_newer(c), newer, "{c:?}");
            assert_eq!(category(c) == Properties::NONE, newer, "{c:?}");
        }
    }
}
