#![forbid(unsafe_code)]
//! The host's tool for the control plane of an AUTON kernel, as a library: `cargo xtask datactl`, the stress test and
//! the end-to-end tests use what the `datactl` program uses.
//!
//! [`Connection`] speaks with one port: it sends requests, waits for acknowledgements no longer than it is told, and
//! hands out the replies of several requests in flight. [`run()`] is the program: one command, what it prints, and the
//! status that it ends with ([`Error::exit_code`]).
//!
//! A request is asked again on a new connection (`--retries`) where that cannot do harm: always, except that loading,
//! inference and training are not begun twice once the kernel has acknowledged them. An inference whose acknowledgement
//! was lost is ended by the kernel with its connection.

mod cli;
mod connection;
mod error;
mod infer;
mod output;
mod run;
mod text;
mod upload;

pub use cli::{Cli, Command, Options};
pub use connection::{Address, Connection};
pub use error::Error;
pub use run::run;
