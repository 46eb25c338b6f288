//! Draws the line on the terminal, sending only what differs from what is there.

use crate::console::Console;
use alloc::string::String;
use alloc::vec::Vec;
use unicode_width::UnicodeWidthChar;

/// What the terminal shows from the start of the prompt on. Only relative movements are used, so that it
/// does not matter where on the screen the line stands. Limit: a line with more rows than the terminal
/// is drawn right while text is appended, but its first rows cannot be reached any more for editing.
#[derive(Debug)]
pub struct Screen {
    columns: usize,
    shown: Vec<char>,
    // Where the terminal's cursor is.
    at: Place,
}

/// Row and column, from the start of the prompt.
type Place = (usize, usize);

impl Screen {
    /// Nothing drawn yet; the cursor is in column 0.
    pub fn new(columns: u16) -> Self {
        Self { columns: usize::from(columns).max(4), shown: Vec::new(), at: (0, 0) }
    }

    /// Shows `prompt` and `text` with the cursor at byte `cursor` of `text`.
    pub fn update(&mut self, console: &mut dyn Console, prompt: &str, text: &str, cursor: usize) {
        let mut wanted: Vec<char> = Vec::with_capacity(prompt.len() + text.len());
        prompt.chars().for_each(|c| push_visible(&mut wanted, c));
        let mut target = wanted.len();
        for (i, c) in text.char_indices() {
            push_visible(&mut wanted, c);
            if i + c.len_utf8() <= cursor {
                target = wanted.len();
            }
        }

        let mut same = self.shown.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        // A combining character is redrawn with the one that it changes.
        let combining = |text: &[char], i: usize| text.get(i).is_some_and(|&c| width(c) == 0);
        while same > 0 && (combining(&wanted, same) || combining(&self.shown, same)) {
            same -= 1;
        }
        if same < wanted.len().max(self.shown.len()) {
            self.redraw(console, wanted, same);
        }
        let mut place = self.place(self.shown.get(..target).unwrap_or_default());
        // A wide character that does not fit the row stands on the next one.
        if self.shown.get(target).is_some_and(|&c| place.1 + width(c) > self.columns) {
            place = (place.0 + 1, 0);
        }
        self.go(console, place);
    }

    /// Draws `wanted` from index `same` on, up to which it is on the screen.
    fn redraw(&mut self, console: &mut dyn Console, wanted: Vec<char>, same: usize) {
        let old_end = self.place(&self.shown);
        let (head, tail) = wanted.split_at(same.min(wanted.len()));
        let (mut row, mut column) = self.place(head);
        self.go(console, (row, column));
        let mut text = String::new();
        for &c in tail {
            if column + width(c) > self.columns {
                // The terminal leaves the last cell as it is.
                text.push_str("\x1b[K");
            }
            (row, column) = self.advance((row, column), c);
            text.push(c);
        }
        // In the last column the terminal waits with the line break: make it now, so that the place is
        // certain.
        if column == 0 && !tail.is_empty() {
            text.push('\n');
        }
        if old_end > (row, column) {
            text.push_str(if old_end.0 > row { "\x1b[J" } else { "\x1b[K" });
        }
        let _ = console.write_str(&text);
        self.at = (row, column);
        self.shown = wanted;
    }

    /// Leaves the line: to its end and on to a new row.
    pub fn finish(&mut self, console: &mut dyn Console) {
        let end = self.place(&self.shown);
        self.go(console, end);
        // A line that just filled its row has put the cursor on a fresh one already.
        if self.shown.is_empty() || end.1 != 0 {
            let _ = console.write_char('\n');
        }
        self.forget();
    }

    /// The terminal was cleared or written to by others: the cursor is in column 0 of an empty row.
    pub fn forget(&mut self) {
        self.shown.clear();
        self.at = (0, 0);
    }

    /// Where the cursor is behind `text`. A full row counts as the start of the next.
    fn place(&self, text: &[char]) -> Place {
        text.iter().fold((0, 0), |place, &c| self.advance(place, c))
    }

    fn advance(&self, (row, column): Place, c: char) -> Place {
        let width = width(c);
        let (row, end) = if column + width > self.columns { (row + 1, width) } else { (row, column + width) };
        if end == self.columns { (row + 1, 0) } else { (row, end) }
    }

    fn go(&mut self, console: &mut dyn Console, to: Place) {
        let from = core::mem::replace(&mut self.at, to);
        step(console, from.0, to.0, 'A', 'B');
        if to.1 == 0 && from.1 > 1 {
            let _ = console.write_char('\r');
        } else {
            step(console, from.1, to.1, 'D', 'C');
        }
    }
}

/// Moves `from` → `to` along one axis.
fn step(console: &mut dyn Console, from: usize, to: usize, back: char, forth: char) {
    let _ = match (from.abs_diff(to), if to < from { back } else { forth }) {
        (0, _) => Ok(()),
        (1, 'D') => console.write_char('\x08'),
        (1, direction) => write!(console, "\x1b[{direction}"),
        (n, direction) => write!(console, "\x1b[{n}{direction}"),
    };
}

fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Control characters (the line ends of a paste) are shown in caret notation.
fn push_visible(cells: &mut Vec<char>, c: char) {
    match u32::from(c) {
        code @ 0..0x20 => {
            cells.push('^');
            cells.extend(char::from_u32(code + 0x40));
        }
        0x7f..0xa0 => cells.push(char::REPLACEMENT_CHARACTER),
        _ => cells.push(c),
    }
}
