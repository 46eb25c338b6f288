#![no_std]
#![forbid(unsafe_code)]
//! shell: line editing, argument parsing and the commands.
extern crate alloc;

pub mod args;
pub mod commands;
mod console;
mod device_names;
mod json;
pub mod parse;
pub mod reader;
mod session;
pub mod slm;
mod suggest;
mod system;
mod table;
mod type_ahead;
mod units;
mod utf8;

pub use console::{CTRL_C, Console, Size};
pub use session::{PROMPT, run};
pub use system::*;
pub use type_ahead::TypeAhead;
