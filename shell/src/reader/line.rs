//! The text being edited, and its cursor.

use alloc::string::String;

/// A line and a cursor in it.
#[derive(Clone, Debug, Default)]
pub struct Line {
    text: String,
    // Invariant: a character boundary of `text`.
    cursor: usize,
}

impl Line {
    /// A line with the cursor at its end.
    pub fn new(text: &str) -> Self {
        Self { text: String::from(text), cursor: text.len() }
    }

    /// A line with the cursor at byte `cursor`, or at the end if that is no character boundary.
    pub fn with_cursor(text: &str, cursor: usize) -> Self {
        let cursor = if text.is_char_boundary(cursor) { cursor } else { text.len() };
        Self { text: String::from(text), cursor }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The cursor, in bytes.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// The text before the cursor.
    pub fn before(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or_default()
    }

    /// The text from the cursor on.
    pub fn after(&self) -> &str {
        self.text.get(self.cursor..).unwrap_or_default()
    }

    /// Inserts before the cursor.
    pub fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
    }

    /// Replaces everything from byte `start` to the cursor; nothing if `start` is no boundary before it.
    pub fn replace_from(&mut self, start: usize, text: &str) {
        if start <= self.cursor && self.text.is_char_boundary(start) {
            self.text.replace_range(start..self.cursor, text);
            self.cursor = start + text.len();
        }
    }

    /// Moves the cursor to a position found by one of the functions below.
    pub fn move_to(&mut self, position: usize) {
        if self.text.is_char_boundary(position) {
            self.cursor = position;
        }
    }

    /// Cuts out everything between the cursor and `position`; the cursor is where the text was.
    pub fn cut_to(&mut self, position: usize) -> String {
        if !self.text.is_char_boundary(position) {
            return String::new();
        }
        let (start, end) = (position.min(self.cursor), position.max(self.cursor));
        self.cursor = start;
        self.text.drain(start..end).collect()
    }

    /// One character left of the cursor.
    pub fn left(&self) -> usize {
        self.before().char_indices().next_back().map_or(0, |(i, _)| i)
    }

    /// One character right of the cursor.
    pub fn right(&self) -> usize {
        self.cursor + self.after().chars().next().map_or(0, char::len_utf8)
    }

    /// The end of the line.
    pub fn end(&self) -> usize {
        self.text.len()
    }

    /// Start of the word (letters and digits) left of the cursor.
    pub fn word_left(&self) -> usize {
        let word = self.before().trim_end_matches(|c: char| !c.is_alphanumeric());
        word.trim_end_matches(char::is_alphanumeric).len()
    }

    /// End of the word (letters and digits) right of the cursor.
    pub fn word_right(&self) -> usize {
        let rest = self.after().trim_start_matches(|c: char| !c.is_alphanumeric());
        self.text.len() - rest.trim_start_matches(char::is_alphanumeric).len()
    }

    /// Start of the blank-delimited word left of the cursor.
    pub fn blank_left(&self) -> usize {
        self.before().trim_end().trim_end_matches(|c: char| !c.is_whitespace()).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let line = Line::new("slm query --max-tokens  é8");
        assert_eq!(line.word_left(), "slm query --max-tokens  ".len());
        let line = Line::with_cursor("slm query --max-tokens  é8", 22);
        assert_eq!(line.word_left(), "slm query --max-".len());
        assert_eq!(line.blank_left(), "slm query ".len());
        assert_eq!(line.word_right(), line.end());
        assert_eq!(Line::new("").word_left() + Line::new("").word_right() + Line::new("").blank_left(), 0);
    }

    #[test]
    fn cut_and_insert() {
        let mut line = Line::with_cursor("aéb", 3);
        let left = line.left();
        assert_eq!(line.cut_to(left), "é");
        line.insert("ß");
        assert_eq!((line.text(), line.cursor()), ("aßb", 3));
        line.replace_from(1, "x");
        assert_eq!((line.before(), line.after()), ("ax", "b"));
        line.move_to(99);
        assert_eq!(line.cut_to(99), "");
        assert_eq!(line.cursor(), 2);
    }
}
