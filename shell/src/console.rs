//! The terminal, as commands and the line editor see it.

use core::fmt;
use core::time::Duration;

/// The byte that Ctrl-C sends (ETX).
pub const CTRL_C: u8 = 0x03;

/// A byte stream in both directions. Implemented by the kernel over the serial port and by scripted
/// terminals in tests. Used by one thread, never from an interrupt handler.
///
/// Output goes through [`fmt::Write`]; lines end in `\n`, and the implementation sends `\r\n` if its
/// terminal needs it. A write never fails for reasons that a command could act upon.
///
/// # Ctrl-C
/// Ctrl-C keeps its place among the other bytes: there is no separate flag that could run ahead of or
/// behind them. [`interrupted`](Console::interrupted) says whether an *unread* [`CTRL_C`] is waiting;
/// reading it with [`read_byte`](Console::read_byte) or dropping it with
/// [`clear_interrupt`](Console::clear_interrupt) ends that. Everything else that was typed ahead stays.
/// [`TypeAhead`](crate::TypeAhead) is a receive buffer with exactly these rules, fit for an interrupt
/// handler.
pub trait Console: fmt::Write {
    /// The next byte typed, waiting for as long as it takes (the thread sleeps). Returns Ctrl-C like any
    /// other byte.
    fn read_byte(&mut self) -> u8;

    /// The next byte typed, or `None` if none came within `timeout`. Zero asks without waiting.
    fn read_byte_timeout(&mut self, timeout: Duration) -> Option<u8>;

    /// Whether a Ctrl-C is among the bytes not read yet. Cheap: asked for every token and every line.
    fn interrupted(&mut self) -> bool;

    /// Drops the first unread Ctrl-C and those directly behind it (an impatient user presses it more than
    /// once), and no other byte.
    fn clear_interrupt(&mut self);

    /// Columns and rows, where the terminal told. The editor assumes 80 columns otherwise.
    fn size(&mut self) -> Option<Size> {
        None
    }
}

/// Size of a terminal in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Cells in a row.
    pub columns: u16,
    /// Rows on the screen.
    pub rows: u16,
}
