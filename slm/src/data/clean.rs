//! Text made fit for training, with a count of what had to go.

use serde::Serialize;

/// What cleaning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Sequences that are no UTF-8, each replaced by U+FFFD.
    pub invalid_utf8: usize,
    /// Control characters dropped (all but line feed and tab).
    pub control_characters: usize,
    /// Lines over the limit, cut there.
    pub cut_lines: usize,
    /// Documents with the same text as another.
    pub exact_duplicates: usize,
    /// Documents nearly the same as another.
    pub near_duplicates: usize,
    /// Documents without text.
    pub empty: usize,
}

impl Cleaned {
    /// Bytes as text.
    pub fn text(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            out.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                out.push('\u{fffd}');
                self.invalid_utf8 += 1;
            }
        }
        self.controls(out)
    }

    /// Text without control characters; a carriage return before a line feed is no loss and not counted.
    pub fn controls(&mut self, text: String) -> String {
        if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return text;
        }
        let text = text.replace("\r\n", "\n");
        let kept: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        self.control_characters += text.chars().count() - kept.chars().count();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_replaced_and_counted() {
        let mut cleaned = Cleaned::default();
        assert_eq!(cleaned.text(b"a\xffb\r\n\x00c\td\xe2\x82"), "a\u{fffd}b\nc\td\u{fffd}");
        assert_eq!((cleaned.invalid_utf8, cleaned.control_characters), (2, 1));
    }
}
