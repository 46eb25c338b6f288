//! A line to commands, a command to words.
//!
//! Words are separated by blanks, commands by `;` or a line end. `'…'` takes everything as it is; in `"…"`
//! a backslash takes the next `"` or `\` as it is; elsewhere a backslash takes any character as it is.

use alloc::string::String;
use alloc::vec::Vec;
use thiserror::Error;

/// A word and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and backslashes.
    pub text: String,
    /// First byte in the line.
    pub start: usize,
    /// Byte behind the last.
    pub end: usize,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParseError {
    /// A quote was opened only.
    #[error("the quote {0} is not closed; add {0} at its end, or write \\{0} for the character itself")]
    OpenQuote(char),
    /// A backslash at the end.
    #[error("there is nothing behind the last \\; write \\\\ for the character itself")]
    OpenBackslash,
}

/// What a line consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Words of each command; the last command may be empty.
    pub commands: Vec<Vec<Word>>,
    /// What is unfinished at the end.
    pub open: Option<ParseError>,
}

/// Finds the words of a line, finished or not.
pub fn scan(line: &str) -> Scan {
    let mut done: Vec<Vec<Word>> = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.char_indices().peekable();
    let mut open = None;
    while let Some((at, c)) = chars.next() {
        let escapes = match quote {
            None => c == '\\',
            Some('"') => c == '\\' && matches!(chars.peek(), Some((_, '"' | '\\'))),
            Some(_) => false,
        };
        let ends_word = quote.is_none() && (c.is_whitespace() || c == ';');
        if ends_word {
            words.extend(word.take().map(|word| Word { end: at, ..word }));
            if c == ';' || c == '\n' {
                done.push(core::mem::take(&mut words));
            }
            continue;
        }
        let text = &mut word.get_or_insert_with(|| Word { start: at, ..Word::default() }).text;
        match (quote, c) {
            _ if escapes => match chars.next() {
                Some((_, next)) => text.push(next),
                None => open = Some(ParseError::OpenBackslash),
            },
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), _) if q == c => quote = None,
            _ => text.push(c),
        }
    }
    words.extend(word.take().map(|word| Word { end: line.len(), ..word }));
    done.push(words);
    Scan { commands: done, open: open.or(quote.map(ParseError::OpenQuote)) }
}

/// The commands of a line, each at least one word.
///
/// ```
/// let commands = shell::parse::split(r#"slm query "what's 8086:10d3?" ; ps"#).unwrap();
/// assert_eq!(commands, [vec!["slm", "query", "what's 8086:10d3?"], vec!["ps"]]);
/// ```
pub fn split(line: &str) -> Result<Vec<Vec<String>>, ParseError> {
    let scan = scan(line);
    if let Some(error) = scan.open {
        return Err(error);
    }
    let texts = |words: Vec<Word>| words.into_iter().map(|word| word.text).collect();
    Ok(scan.commands.into_iter().filter(|words| !words.is_empty()).map(texts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn quotes_and_backslashes() {
        let words = |line: &str| split(line).unwrap().concat();
        assert_eq!(words(r#"a"b c"'d e'f\ g"#), ["ab cd ef g"]);
        assert_eq!(words(r#"'a\' "b\"c\\d\e" '' \;"#), ["a\\", "b\"c\\d\\e", "", ";"]);
        assert_eq!(split("ps;;free\nps ;").unwrap().len(), 3);
        assert_eq!(split("  ").unwrap().len(), 0);
        assert_eq!(split("slm query 'x"), Err(ParseError::OpenQuote('\'')));
        assert_eq!(split("a\\"), Err(ParseError::OpenBackslash));
    }

    #[test]
    fn words_know_where_they_stand() {
        let scan = scan("ps; slm 'a b' x");
        let places: Vec<_> = scan.commands[1].iter().map(|word| (word.start, word.end)).collect();
        assert_eq!(places, [(4, 7), (8, 13), (14, 15)]);
    }

    proptest! {
        #[test]
        fn any_line_is_words_or_an_error(line in "\\PC{0,80}|[ ;\"'\\\\ab\n]{0,40}") {
            let _ = split(&line);
            for word in scan(&line).commands.concat() {
                prop_assert!(line.get(word.start..word.end).is_some_and(|text| !text.is_empty()));
            }
        }

        #[test]
        fn a_quoted_word_comes_back(text in "[^']{0,40}") {
            prop_assert_eq!(split(&format!("'{text}'")).unwrap(), [[text.clone()]]);
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(split(&format!("\"{escaped}\"")).unwrap(), [[text]]);
        }
    }
}
