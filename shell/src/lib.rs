#![no_std]
#![forbid(unsafe_code)]
//! The shell: line editing, argument parsing and the commands of the serial console.
//!
//! Everything that a command asks of the machine goes through [`System`], everything that it reads or
//! prints through [`Console`]; the kernel implements both, and so do the tests, which run whole sessions
//! on the host.
//!
//! Principles:
//! 1. One table ([`commands::COMMANDS`]) drives dispatch, `help`, completion and the rule engine's answers
//!    to "how do I …?" ([`commands::command_help`]): a command is described once.
//! 2. No byte sequence may panic, and none is half understood: a line that is too long or ill-formed is
//!    not run, and one sentence says why.
//! 3. What a terminal sends is an ordered stream. Ctrl-C keeps its place in it, and nothing that was typed
//!    ahead is lost.
//! 4. What a model says is data: no control character of an answer reaches the terminal.
//!
//! Honest limits: one command at a time, no pipes, no variables, no jobs. Ctrl-C is noticed between the
//! lines of an output, between the tokens of an answer, and not inside a self test.
//!
//! ```
//! use core::{fmt, time::Duration};
//! use shell::{Console, TypeAhead, reader::{Completer, Completion, Input, Reader}};
//!
//! /// A terminal at which somebody typed "hlp", went back, and put the "e" in.
//! struct Terminal { typed: TypeAhead<64>, screen: String }
//! impl fmt::Write for Terminal {
//!     fn write_str(&mut self, text: &str) -> fmt::Result { self.screen.push_str(text); Ok(()) }
//! }
//! impl Console for Terminal {
//!     fn read_byte(&mut self) -> u8 { self.typed.pop().unwrap_or(b'\r') }
//!     fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> { self.typed.pop() }
//!     fn interrupted(&mut self) -> bool { self.typed.interrupted() }
//!     fn clear_interrupt(&mut self) { self.typed.clear_interrupt() }
//! }
//! struct NoCompletion;
//! impl Completer for NoCompletion {
//!     fn complete(&self, _: &str) -> Completion { Completion::default() }
//! }
//!
//! let mut terminal = Terminal { typed: TypeAhead::new(), screen: String::new() };
//! for byte in *b"hlp\x1b[D\x1b[De\r" { terminal.typed.push(byte); }
//! let line = Reader::new().read_line(&mut terminal, shell::PROMPT, &NoCompletion);
//! assert_eq!(line, Input::Line("help".into()));
//! assert_eq!(terminal.screen, "Shell> help\n");
//! ```

extern crate alloc;

pub mod args;
mod bar;
pub mod commands;
mod console;
mod inference;
mod json;
pub mod parse;
pub mod reader;
mod scheduler;
mod session;
pub mod slm;
mod suggest;
mod system;
mod table;
mod type_ahead;
mod units;
mod utf8;

pub use console::{CTRL_C, Console, Size};
pub use inference::*;
pub use scheduler::*;
pub use session::{PROMPT, run};
pub use system::*;
pub use type_ahead::TypeAhead;
