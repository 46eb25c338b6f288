#![no_std]
#![forbid(unsafe_code)]
//! shell: line editing, argument parsing and the commands.
extern crate alloc;

mod console;
pub mod slm;
mod system;
mod type_ahead;

pub use console::{CTRL_C, Console, Size};
pub use system::*;
pub use type_ahead::TypeAhead;
