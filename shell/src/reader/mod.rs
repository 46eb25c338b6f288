//! Reads lines from a terminal: [`KeyDecoder`] makes keys of bytes, [`Editor`] makes lines of keys, and
//! `Screen` shows them. Only [`Reader`] does input and output; the rest is plain state, tested without.

mod complete;
mod editor;
mod history;
mod keys;
mod line;
mod screen;
#[cfg(test)]
mod tests;

pub use complete::{Completer, Completion};
pub use editor::{Editor, MAX_LINE, Step};
pub use history::History;
pub use keys::{Key, KeyDecoder};

use crate::console::Console;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;
use screen::Screen;

/// Columns where the terminal did not tell.
const DEFAULT_COLUMNS: u16 = 80;
/// Lines of history.
const HISTORY: usize = 200;

/// How reading a line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// With Enter.
    Line(String),
    /// With Ctrl-C.
    Interrupted,
    /// It was longer than [`MAX_LINE`] bytes; the user has been told.
    Discarded,
}

/// Reads lines, with history.
pub struct Reader {
    decoder: KeyDecoder,
    editor: Editor,
    // Keys decoded but not yet pressed: what came behind the end of the last line.
    keys: VecDeque<Key>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader with an empty history.
    pub fn new() -> Self {
        Self { decoder: KeyDecoder::default(), editor: Editor::new(HISTORY), keys: VecDeque::new() }
    }

    /// The lines read so far.
    pub fn history(&self) -> &History {
        self.editor.history()
    }

    /// Shows `prompt` and reads a line. Takes no byte from the console beyond the end of the line, so that
    /// what was typed ahead (a Ctrl-C above all) is still there for the command to see.
    pub fn read_line(&mut self, console: &mut dyn Console, prompt: &str, completer: &dyn Completer) -> Input {
        let size = console.size();
        let mut screen = Screen::new(size.map_or(DEFAULT_COLUMNS, |size| size.columns));
        // Asked for only where a terminal is known to listen: output to a file stays plain text.
        let bracketed = size.is_some();
        if bracketed {
            let _ = console.write_str("\x1b[?2004h");
        }
        let input = self.edit(console, &mut screen, prompt, completer);
        if bracketed {
            let _ = console.write_str("\x1b[?2004l");
        }
        input
    }

    fn edit(
        &mut self,
        console: &mut dyn Console,
        screen: &mut Screen,
        prompt: &str,
        completer: &dyn Completer,
    ) -> Input {
        self.show(console, screen, prompt);
        loop {
            let Some(key) = self.keys.pop_front() else {
                // Draw only when no more input waits: a paste is drawn in few strokes.
                let byte = match console.read_byte_timeout(Duration::ZERO) {
                    Some(byte) => byte,
                    None => {
                        self.show(console, screen, prompt);
                        console.read_byte()
                    }
                };
                self.decoder.push(byte, &mut |key| match key {
                    // Asked for by `top`, and come too late.
                    Key::CursorAt { .. } => {}
                    key => self.keys.push_back(key),
                });
                continue;
            };
            match self.editor.press(key, completer) {
                Step::Edit => {}
                Step::Bell => {
                    let _ = console.write_char('\x07');
                }
                Step::Submit(text) => {
                    screen.update(console, prompt, &text, text.len());
                    screen.finish(console);
                    return Input::Line(text);
                }
                Step::Interrupt(text) => {
                    screen.update(console, prompt, &text, text.len());
                    let _ = console.write_str("^C");
                    screen.finish(console);
                    return Input::Interrupted;
                }
                Step::Clear => {
                    let _ = console.write_str("\x1b[H\x1b[2J");
                    screen.forget();
                    self.show(console, screen, prompt);
                }
                Step::List(words) => {
                    screen.finish(console);
                    let _ = console.write_str(&words.join("  "));
                    let _ = console.write_char('\n');
                    self.show(console, screen, prompt);
                }
                Step::TooLong => {
                    screen.finish(console);
                    let _ = writeln!(
                        console,
                        "error: the line is longer than {MAX_LINE} bytes, so none of it will be run; press Enter to go on"
                    );
                }
                Step::Discarded => return Input::Discarded,
            }
        }
    }

    fn show(&self, console: &mut dyn Console, screen: &mut Screen, prompt: &str) {
        if !self.editor.is_discarding() {
            let view = self.editor.view();
            screen.update(console, view.prompt.as_deref().unwrap_or(prompt), view.text, view.cursor);
        }
    }
}
