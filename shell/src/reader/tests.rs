//! The reader as a whole: scripted bytes in, and the screen of a small terminal emulator out.

use super::*;
use crate::console::{CTRL_C, Size};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use proptest::prelude::*;
use unicode_width::UnicodeWidthChar;

/// A terminal: input from a script, output on a grid that grows downwards. Understands only what the
/// reader is meant to send; anything else fails the test.
struct Terminal {
    input: VecDeque<u8>,
    columns: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    sequence: Option<String>,
    bytes: usize,
    told_size: bool,
}

/// Fills the second cell of a wide character.
const WIDE: char = '\u{f0000}';

impl Terminal {
    fn new(columns: usize, input: &[u8]) -> Self {
        let input = input.iter().copied().collect();
        Self {
            input,
            columns,
            rows: vec![vec![]],
            row: 0,
            column: 0,
            sequence: None,
            bytes: 0,
            told_size: true,
        }
    }

    fn put(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        if width == 0 {
            return;
        }
        if self.column + width > self.columns {
            (self.row, self.column) = (self.row + 1, 0);
        }
        while self.rows.len() <= self.row {
            self.rows.push(vec![]);
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + width), ' ');
        // Half a wide character does not stay.
        if row[self.column] == WIDE {
            row[self.column - 1] = ' ';
        }
        if row.get(self.column + width) == Some(&WIDE) {
            row[self.column + width] = ' ';
        }
        row[self.column] = c;
        if width == 2 {
            row[self.column + 1] = WIDE;
        }
        // May be == columns: the wrap is pending.
        self.column += width;
    }

    fn control(&mut self, sequence: &str) {
        let (number, last) = sequence.split_at(sequence.len() - 1);
        let n = number.parse::<usize>().unwrap_or(1);
        let pending = self.column.min(self.columns - 1);
        match last {
            "A" => (self.row, self.column) = (self.row.checked_sub(n).expect("above the prompt"), pending),
            "B" => (self.row, self.column) = (self.row + n, pending),
            "C" => self.column = (pending + n).min(self.columns - 1),
            "D" => self.column = pending.checked_sub(n).expect("left of the screen"),
            "K" | "J" => {
                self.rows[self.row].truncate(pending);
                if last == "J" {
                    self.rows.truncate(self.row + 1);
                }
            }
            "h" | "l" => assert_eq!(number, "?2004"),
            _ => panic!("unknown sequence {sequence:?}"),
        }
        assert!(self.row < self.rows.len(), "below what was written");
    }

    fn text(&self) -> String {
        let lines: Vec<String> =
            self.rows.iter().map(|row| row.iter().filter(|&&c| c != WIDE).collect::<String>()).collect();
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len();
        for c in text.chars() {
            match (self.sequence.as_mut(), c) {
                (Some(sequence), _) => {
                    sequence.push(c);
                    if sequence.len() > 1 && c.is_ascii_alphabetic() {
                        let sequence = self.sequence.take().unwrap_or_default();
                        self.control(sequence.strip_prefix('[').expect("CSI"));
                    }
                }
                (None, '\x1b') => self.sequence = Some(String::new()),
                (None, '\r') => self.column = 0,
                (None, '\n') => {
                    (self.row, self.column) = (self.row + 1, 0);
                    self.rows.resize(self.rows.len().max(self.row + 1), vec![]);
                }
                (None, '\x08') => self.control("D"),
                (None, '\x07') => {}
                _ => self.put(c),
            }
        }
        Ok(())
    }
}

impl Console for Terminal {
    // The script ends each test with a line or Ctrl-C; running out of it is answered with Ctrl-C.
    fn read_byte(&mut self) -> u8 {
        self.input.pop_front().unwrap_or(CTRL_C)
    }
    // Drawing happens before each byte, so that every intermediate state of the screen is passed through.
    fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> {
        None
    }
    fn interrupted(&mut self) -> bool {
        self.input.contains(&CTRL_C)
    }
    fn clear_interrupt(&mut self) {
        self.input.retain(|&b| b != CTRL_C);
    }
    fn size(&mut self) -> Option<Size> {
        self.told_size.then_some(Size { columns: u16::try_from(self.columns).unwrap_or(80), rows: 24 })
    }
}

struct Words;

impl Completer for Words {
    fn complete(&self, before: &str) -> Completion {
        let start = before.rfind(' ').map_or(0, |i| i + 1);
        let word = &before[start..];
        let all = ["lscpu", "lspci", "poweroff", "slm"];
        Completion {
            start,
            candidates: all.iter().filter(|w| w.starts_with(word)).map(|w| String::from(*w)).collect(),
        }
    }
}

fn read_all(reader: &mut Reader, bytes: &[u8]) -> (Vec<Input>, Terminal) {
    let mut terminal = Terminal::new(80, bytes);
    let mut inputs = Vec::new();
    while !terminal.input.is_empty() {
        inputs.push(reader.read_line(&mut terminal, "> ", &Words));
    }
    (inputs, terminal)
}

fn read(bytes: &[u8]) -> Vec<Input> {
    read_all(&mut Reader::new(), bytes).0
}

fn line(bytes: &[u8]) -> String {
    match read(bytes).pop() {
        Some(Input::Line(line)) => line,
        other => panic!("{other:?}"),
    }
}

#[test]
fn editing() {
    assert_eq!(line(b"hlp\x1b[D\x1b[De\r"), "help");
    assert_eq!(line(b"elp\x01h\x05!\r"), "help!");
    assert_eq!(line(b"one two three\x17\x17four\r"), "one four");
    assert_eq!(line(b"one two\x1bb\x0b\x01\x19\r"), "twoone ");
    assert_eq!(line(b"one two\x02\x02\x15\r"), "wo");
    assert_eq!(line(b"abc\x02\x02\x04\x1b[3~\x08\x7f\r"), "");
    assert_eq!(line(b"a b c\x1b[1;5D\x1b[1;5Dx\x1bd\r"), "a x c");
    assert_eq!(line("né\x08e\r".as_bytes()), "ne");
    assert_eq!(line(b"ab\x1b[H\x06\x06c\x1b[1~d\x1bOFe\n"), "dabce");
}

#[test]
fn interrupt_and_history() {
    let entered = |line: &str| Input::Line(String::from(line));
    let inputs = read(b"ps\rfree\rps\r\x1b[A\x1b[A\rdraft\x10\x0e\x03\x10\x10\x10\x10\x0e\x0e\x0enew\r");
    assert_eq!(
        inputs,
        [entered("ps"), entered("free"), entered("ps"), entered("free"), Input::Interrupted, entered("new")]
    );
    let inputs = read(b"ps\rx\x10\x0e\r");
    assert_eq!(inputs[1], entered("x"), "the draft comes back");
}

#[test]
fn searching() {
    let before = b"slm status\rlspci -v\rslm query x\r";
    let search = |keys: &[u8]| line(&[before, keys].concat());
    assert_eq!(search(b"\x12slm\r"), "slm query x");
    assert_eq!(search(b"\x12slm\x12\r"), "slm status");
    assert_eq!(search(b"\x12lsz\x08\x05 y\r"), "lspci -v y");
    assert_eq!(search(b"draft\x12slm\x07!\r"), "draft!");
    let mut editor = Editor::new(5);
    for key in [Key::Char('a'), Key::Char('b'), Key::Enter, Key::Search, Key::Char('b')] {
        editor.press(key, &Words);
    }
    let view = editor.view();
    assert_eq!((view.prompt.as_deref(), view.text, view.cursor), (Some("(reverse-i-search)`b': "), "ab", 1));
}

#[test]
fn completing() {
    assert_eq!(line(b"sl\tx\r"), "slm x");
    assert_eq!(line(b"ls\tx\r"), "lsx");
    assert_eq!(line(b"a pow\t\x08;\r"), "a poweroff;");
    let (inputs, terminal) = read_all(&mut Reader::new(), b"ls\t\tp\t-v\r");
    assert_eq!(inputs, [Input::Line(String::from("lspci -v"))]);
    assert_eq!(terminal.text(), "> ls\nlscpu  lspci\n> lspci -v\n");
}

#[test]
fn pastes() {
    assert_eq!(line(b"\x1b[200~ps\r\nfree\r\n\x1b[201~\r"), "ps\nfree");
    let long = vec![b'a'; MAX_LINE];
    assert_eq!(line(&[&long[..], b"\r"].concat()).len(), MAX_LINE);
    let inputs = read(&[&long[..], b"b; poweroff\rps\r"].concat());
    assert_eq!(inputs, [Input::Discarded, Input::Line(String::from("ps"))]);
    let (_, terminal) = read_all(&mut Reader::new(), &[&long[..], b"b\r"].concat());
    assert!(terminal.text().contains("error: the line is longer than 4096 bytes"));
}

#[test]
fn output_is_minimal() {
    let (_, mut terminal) = read_all(&mut Reader::new(), b"");
    terminal.told_size = false;
    terminal.input = b"hello\r".iter().copied().collect();
    Reader::new().read_line(&mut terminal, "> ", &Words);
    assert_eq!(terminal.bytes, "> hello\n".len(), "plain typing is plain output");
    let start = terminal.bytes;
    terminal.input = b"hello\x02\x02\x02X\r".iter().copied().collect();
    Reader::new().read_line(&mut terminal, "> ", &Words);
    // Three backspaces left; X and the tail, two columns... and to the end again.
    assert_eq!(
        terminal.bytes - start,
        "> hello".len() + 3 + "Xllo".len() + "\x1b[3D".len() + "\x1b[3C\n".len()
    );
}

/// Where `text` must be on the screen, and the cursor behind its first `cursor` characters.
fn laid_out(columns: usize, prompt: &str, text: &str, cursor: usize) -> (Vec<Vec<char>>, (usize, usize)) {
    let mut terminal = Terminal::new(columns, b"");
    let mut place = None;
    for (i, c) in prompt.chars().chain(text.chars()).enumerate() {
        if i == prompt.chars().count() + cursor {
            let wraps = terminal.column + c.width().unwrap_or(0) > columns;
            place = Some(if wraps { (terminal.row + 1, 0) } else { (terminal.row, terminal.column) });
        }
        terminal.put(c);
    }
    let end =
        if terminal.column == columns { (terminal.row + 1, 0) } else { (terminal.row, terminal.column) };
    (terminal.rows, place.unwrap_or(end))
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    let text = prop::sample::select(vec!['a', 'b', ' ', 'é', '語']).prop_map(Key::Char);
    let control = prop::sample::select(vec![
        Key::Backspace,
        Key::Delete,
        Key::Left,
        Key::Right,
        Key::WordLeft,
        Key::WordRight,
        Key::Home,
        Key::End,
        Key::KillToEnd,
        Key::KillToStart,
        Key::KillWordBack,
        Key::KillWordForward,
        Key::Yank,
    ]);
    prop::collection::vec(prop_oneof![3 => text, 1 => control], 0..60)
}

proptest! {
    #[test]
    fn the_screen_shows_the_line(keys in keys(), columns in 5usize..20) {
        let mut terminal = Terminal::new(columns, b"");
        let mut editor = Editor::new(10);
        let mut screen = Screen::new(u16::try_from(columns).unwrap_or(80));
        for key in keys {
            editor.press(key, &Words);
            let view = editor.view();
            screen.update(&mut terminal, "> ", view.text, view.cursor);
            let before = view.text[..view.cursor].chars().count();
            let (rows, cursor) = laid_out(columns, "> ", view.text, before);
            let trimmed = |rows: &[Vec<char>]| {
                let lines = rows.iter().map(|row| row.iter().collect::<String>());
                let mut lines: Vec<String> = lines.map(|l| String::from(l.trim_end())).collect();
                while lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                lines
            };
            prop_assert_eq!(trimmed(&terminal.rows), trimmed(&rows));
            prop_assert_eq!((terminal.row, terminal.column), cursor);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut reader = Reader::new();
        let mut terminal = Terminal::new(80, &bytes);
        // The grid is only for the sequences that are expected; here any output will do.
        struct Blind<'a>(&'a mut Terminal);
        impl fmt::Write for Blind<'_> {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                Ok(())
            }
        }
        impl Console for Blind<'_> {
            fn read_byte(&mut self) -> u8 {
                self.0.read_byte()
            }
            fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> {
                self.0.input.pop_front()
            }
            fn interrupted(&mut self) -> bool {
                self.0.interrupted()
            }
            fn clear_interrupt(&mut self) {
                self.0.clear_interrupt();
            }
        }
        while !terminal.input.is_empty() {
            if let Input::Line(line) = reader.read_line(&mut Blind(&mut terminal), "> ", &Words) {
                prop_assert!(line.len() <= MAX_LINE);
            }
        }
    }
}
