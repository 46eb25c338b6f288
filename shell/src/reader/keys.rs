//! Bytes of a terminal to keys: control codes, escape sequences, UTF-8, bracketed paste.

use crate::utf8::Utf8Stream;

/// What the user pressed, by its meaning to the editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character typed.
    Char(char),
    /// A character from a bracketed paste; line ends come as `'\n'`.
    Pasted(char),
    /// The paste is over.
    PasteEnd,
    /// CR, LF or CR LF.
    Enter,
    /// Tab.
    Tab,
    /// Delete before the cursor.
    Backspace,
    /// Delete under the cursor.
    Delete,
    /// Ctrl-D: delete under the cursor; nothing on an empty line.
    EndOfInput,
    /// One character left.
    Left,
    /// One character right.
    Right,
    /// One word left.
    WordLeft,
    /// One word right.
    WordRight,
    /// Start of the line.
    Home,
    /// End of the line.
    End,
    /// Older line.
    Up,
    /// Newer line.
    Down,
    /// Kill to the end of the line.
    KillToEnd,
    /// Kill to the start of the line.
    KillToStart,
    /// Kill back to white space.
    KillWordBack,
    /// Kill to the end of the word.
    KillWordForward,
    /// Insert what was killed last.
    Yank,
    /// Clear the screen.
    Clear,
    /// Search the history.
    Search,
    /// Leave a search.
    Cancel,
    /// Ctrl-C.
    Interrupt,
    /// The terminal's answer to where its cursor is, counted from 1: not a key, but it comes among them.
    CursorAt {
        /// From the top.
        row: u16,
        /// From the left.
        column: u16,
    },
}

/// Longest escape sequence that is understood; a longer one is read to its end and ignored.
const MAX_PARAMETERS: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC [`: parameter bytes so far (`None` once there were too many).
    Csi([u8; MAX_PARAMETERS], Option<usize>),
    /// After `ESC O`.
    Ss3,
}

/// The decoder. Keeps its state between bytes, so that a sequence may come in any number of parts, and
/// between lines, so that the LF of a CR LF is not a second line end.
#[derive(Clone, Debug, Default)]
pub struct KeyDecoder {
    state: State,
    text: Utf8Stream,
    after_cr: bool,
    pasting: bool,
}

impl KeyDecoder {
    /// Takes a byte; gives the keys that it completes. Unknown sequences, NUL, other control codes and
    /// ill-formed UTF-8 give none.
    pub fn push(&mut self, byte: u8, out: &mut dyn FnMut(Key)) {
        let after_cr = core::mem::take(&mut self.after_cr);
        // A control code ends whatever sequence it interrupts, and keeps its own meaning: Ctrl-C always works.
        if byte < 0x20 && byte != 0x1b {
            self.state = State::Ground;
        }
        match core::mem::take(&mut self.state) {
            State::Ground => self.ground(byte, after_cr, out),
            State::Escape => self.escape(byte, out),
            State::Csi(parameters, len) => self.csi(byte, parameters, len, out),
            State::Ss3 => self.emit(final_key(byte, 1), out),
        }
    }

    fn ground(&mut self, byte: u8, after_cr: bool, out: &mut dyn FnMut(Key)) {
        match byte {
            0x1b => self.state = State::Escape,
            b'\n' if after_cr => {}
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                out(if self.pasting { Key::Pasted('\n') } else { Key::Enter });
            }
            0x03 => {
                self.pasting = false;
                out(Key::Interrupt);
            }
            b'\t' if self.pasting => out(Key::Pasted(' ')),
            0..=0x1f | 0x7f => self.emit(control_key(byte).filter(|_| !self.pasting), out),
            _ => {
                let pasting = self.pasting;
                self.text.push(byte, &mut |c| match c {
                    // C1 controls are not text either.
                    Some(c) if c.is_control() => {}
                    Some(c) if pasting => out(Key::Pasted(c)),
                    Some(c) => out(Key::Char(c)),
                    None => {}
                });
            }
        }
    }

    fn escape(&mut self, byte: u8, out: &mut dyn FnMut(Key)) {
        match byte {
            0x1b => self.state = State::Escape,
            b'[' => self.state = State::Csi([0; MAX_PARAMETERS], Some(0)),
            b'O' => self.state = State::Ss3,
            _ => {
                let key = match byte {
                    b'b' | b'B' => Some(Key::WordLeft),
                    b'f' | b'F' => Some(Key::WordRight),
                    b'd' | b'D' => Some(Key::KillWordForward),
                    0x7f => Some(Key::KillWordBack),
                    _ => None,
                };
                self.emit(key, out);
            }
        }
    }

    fn csi(
        &mut self,
        byte: u8,
        mut parameters: [u8; MAX_PARAMETERS],
        len: Option<usize>,
        out: &mut dyn FnMut(Key),
    ) {
        match byte {
            // Parameters and intermediates.
            0x20..=0x3f => {
                let len = len.and_then(|n| {
                    *parameters.get_mut(n)? = byte;
                    Some(n + 1)
                });
                self.state = State::Csi(parameters, len);
            }
            0x40..=0x7e => {
                let Some(text) = len.and_then(|n| parameters.get(..n)) else { return };
                let mut numbers = text.split(|&b| b == b';').map(number);
                let (first, modifier) = (numbers.next().flatten(), numbers.next().flatten().unwrap_or(1));
                match (byte, first) {
                    (b'~', Some(200)) => self.pasting = true,
                    (b'~', Some(201)) => {
                        if core::mem::take(&mut self.pasting) {
                            out(Key::PasteEnd);
                        }
                    }
                    (b'~', Some(1 | 7)) => self.emit(Some(Key::Home), out),
                    (b'~', Some(4 | 8)) => self.emit(Some(Key::End), out),
                    (b'~', Some(3)) if modifier > 1 => self.emit(Some(Key::KillWordForward), out),
                    (b'~', Some(3)) => self.emit(Some(Key::Delete), out),
                    // Two numbers, or it is F3.
                    (b'R', Some(row)) if text.contains(&b';') => {
                        if let (Ok(row), Ok(column)) = (u16::try_from(row), u16::try_from(modifier)) {
                            self.emit(Some(Key::CursorAt { row, column }), out);
                        }
                    }
                    _ => self.emit(final_key(byte, modifier), out),
                }
            }
            0x1b => self.state = State::Escape,
            _ => {}
        }
    }

    fn emit(&self, key: Option<Key>, out: &mut dyn FnMut(Key)) {
        if let Some(key) = key.filter(|_| !self.pasting) {
            out(key);
        }
    }
}

fn control_key(byte: u8) -> Option<Key> {
    Some(match byte {
        0x01 => Key::Home,
        0x02 => Key::Left,
        0x04 => Key::EndOfInput,
        0x05 => Key::End,
        0x06 => Key::Right,
        0x07 => Key::Cancel,
        0x08 | 0x7f => Key::Backspace,
        0x09 => Key::Tab,
        0x0b => Key::KillToEnd,
        0x0c => Key::Clear,
        0x0e => Key::Down,
        0x10 => Key::Up,
        0x12 => Key::Search,
        0x15 => Key::KillToStart,
        0x17 => Key::KillWordBack,
        0x19 => Key::Yank,
        _ => return None,
    })
}

/// Keys named by the final byte alone. `modifier` is xterm's: 1 = none, 3 = Alt, 5 = Ctrl.
fn final_key(byte: u8, modifier: u32) -> Option<Key> {
    Some(match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' if modifier > 1 => Key::WordRight,
        b'C' => Key::Right,
        b'D' if modifier > 1 => Key::WordLeft,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::default();
        let mut keys = Vec::new();
        bytes.iter().for_each(|&b| decoder.push(b, &mut |k| keys.push(k)));
        keys
    }

    #[test]
    fn line_ends() {
        assert_eq!(keys(b"\r\n\r\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\n\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\r\r"), [Key::Enter; 2]);
        assert_eq!(keys(b"\ra\n"), [Key::Enter, Key::Char('a'), Key::Enter]);
    }

    #[test]
    fn cursor_keys_in_their_spellings() {
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[C\x1b[D"), [Key::Up, Key::Down, Key::Right, Key::Left]);
        assert_eq!(
            keys(b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1bOH"),
            [Key::Home, Key::End, Key::Home, Key::End, Key::Home]
        );
        assert_eq!(
            keys(b"\x1b[1;5C\x1b[1;5D\x1bb\x1bf"),
            [Key::WordRight, Key::WordLeft, Key::WordLeft, Key::WordRight]
        );
        assert_eq!(keys(b"\x1b[3~\x1b[3;5~\x1bd"), [Key::Delete, Key::KillWordForward, Key::KillWordForward]);
    }

    #[test]
    fn a_broken_sequence_costs_nothing_else() {
        assert_eq!(keys(b"\x1b[\x03"), [Key::Interrupt]);
        assert_eq!(keys(b"\x1b[1;\ra"), [Key::Enter, Key::Char('a')]);
        assert_eq!(keys(b"\x1b[11111111111111111111111111111Ca"), [Key::Char('a')]);
        assert_eq!(keys(b"\x1b[?1;2c\x1b[5Rx"), [Key::Char('x')]);
        assert_eq!(keys(b"\0\x1c\xff\xc3x"), [Key::Char('x')]);
    }

    #[test]
    fn the_terminal_says_where_its_cursor_is() {
        assert_eq!(keys(b"\x1b[24;80Rx"), [Key::CursorAt { row: 24, column: 80 }, Key::Char('x')]);
        assert_eq!(keys(b"\x1b[99999;1R\x1b[;R\x1b[R\x1b[200~\x1b[24;80R"), []);
    }

    #[test]
    fn a_paste_is_text() {
        let expected = vec![
            Key::Pasted('a'),
            Key::Pasted(' '),
            Key::Pasted('\n'),
            Key::Pasted('é'),
            Key::PasteEnd,
            Key::Enter,
        ];
        assert_eq!(keys(b"\x1b[200~a\t\x01\x1b[A\r\n\xc3\xa9\x1b[201~\r"), expected);
        assert_eq!(keys(b"\x1b[200~a\x03b"), [Key::Pasted('a'), Key::Interrupt, Key::Char('b')]);
    }
}
