//! The program: see [`datactl`].

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    datactl::run(&datactl::Cli::parse().options)
}
