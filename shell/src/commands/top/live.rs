//! `top` on a terminal: drawn every second and at every key, on the terminal's other screen.
//!
//! A serial line does not say how large the terminal is, or when that changes. So with every picture the terminal is asked where its
//! cursor would stop in the far corner; its answer comes among the keys, and counts from the next picture on.

use super::sort::{Frame, Sort};
use super::view;
use crate::commands::{CommandError, Context, Next};
use crate::console::{Console, Size};
use crate::reader::{Key, KeyDecoder};
use crate::scheduler::Activity;
use core::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);
/// A terminal that does not answer is taken for one of these.
const SIZE: Size = Size { columns: 80, rows: 24 };

/// The other screen, without a cursor; and back. The line ends there, for whoever reads this as a stream of lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\n\x1b[?25h\x1b[?1049l";
/// To the far corner, and: where is the cursor?
const ASK_SIZE: &str = "\x1b[9999;9999H\x1b[6n";

/// What the keys change.
struct State {
    sort: Sort,
    /// The first row that is shown.
    first: usize,
    size: Size,
    quit: bool,
}

impl State {
    /// Takes a key; says whether the picture changes.
    fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Char('q' | 'Q') | Key::Interrupt | Key::EndOfInput => self.quit = true,
            Key::Char(letter) => match Sort::from_letter(letter) {
                Some(sort) => self.sort = sort,
                None => return false,
            },
            Key::Left => self.sort = self.sort.step(-1),
            Key::Right => self.sort = self.sort.step(1),
            Key::Up => self.first = self.first.saturating_sub(1),
            Key::Down => self.first += 1,
            Key::Home => self.first = 0,
            Key::CursorAt { row, column } if row > 1 && column > 1 => {
                let size = Size { columns: column, rows: row };
                return core::mem::replace(&mut self.size, size) != size;
            }
            _ => return false,
        }
        true
    }
}

pub(super) fn run(context: &mut Context<'_>, sort: Sort) -> Result<Next, CommandError> {
    let size = context.console.size().unwrap_or(SIZE);
    let mut state = State { sort, first: 0, size, quit: false };
    let _ = context.console.write_str(ENTER);
    watch(context, &mut state);
    let _ = context.console.write_str(LEAVE);
    Ok(Next::Prompt)
}

fn watch(context: &mut Context<'_>, state: &mut State) {
    let (mut decoder, mut before) = (KeyDecoder::default(), None::<Activity>);
    while !state.quit {
        let now = context.system.activity();
        let next = context.system.uptime() + PERIOD;
        let mut frame = Frame::new(before.as_ref(), now.clone());
        let mut changed = true;
        loop {
            if changed {
                state.first = state.first.min(frame.rows.len().saturating_sub(1));
                frame.sort(state.sort);
                let lines =
                    view::screen(&frame, &context.system.scheduler(), state.sort, state.first, state.size);
                draw(context.console, &lines);
            }
            let left = next.saturating_sub(context.system.uptime());
            let Some(byte) = context.console.read_byte_timeout(left) else { break };
            changed = false;
            decoder.push(byte, &mut |key| changed |= state.press(key));
            if state.quit {
                return;
            }
        }
        before = Some(now);
    }
}

/// Draws over what is there, so that nothing flickers.
fn draw(console: &mut dyn Console, lines: &[alloc::string::String]) {
    let _ = console.write_str("\x1b[H");
    for (index, line) in lines.iter().enumerate() {
        // No line end behind the last line: it would scroll.
        let end = if index + 1 < lines.len() { "\x1b[K\n" } else { "\x1b[K" };
        let _ = console.write_str(line);
        let _ = console.write_str(end);
    }
    let _ = console.write_str("\x1b[J");
    let _ = console.write_str(ASK_SIZE);
}
