//! The character classes of pre-tokenizer patterns: `\p{L}`, `\p{N}`, `\p{P}` (Unicode general categories).

use unicode_general_category::{GeneralCategory as G, get_general_category};

/// `\p{L}`.
pub(super) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    use G::*;
    let category = get_general_category(c);
    matches!(category, UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter)
}

/// `\p{N}`.
pub(super) fn is_number(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    matches!(get_general_category(c), G::DecimalNumber | G::LetterNumber | G::OtherNumber)
}

/// `\p{P}`.
pub(super) fn is_punctuation(c: char) -> bool {
    use G::*;
    matches!(
        get_general_category(c),
        ConnectorPunctuation
            | DashPunctuation
            | OpenPunctuation
            | ClosePunctuation
            | InitialPunctuation
            | FinalPunctuation
            | OtherPunctuation
    )
}
