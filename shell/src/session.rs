//! The loop of the shell.

use crate::commands::{self, CommandCompleter, CommandError, Next};
use crate::console::Console;
use crate::parse;
use crate::reader::{Input, Reader};
use crate::system::System;

/// What the shell shows when it waits for a command.
pub const PROMPT: &str = "Shell> ";

/// Reads commands from `console` and runs them, until one switched the machine off: in the kernel that
/// never returns, for [`System::power`] does not.
pub fn run(system: &dyn System, console: &mut dyn Console) {
    let completer =
        CommandCompleter { self_tests: system.self_tests().iter().map(|test| test.name).collect() };
    let mut reader = Reader::new();
    loop {
        if let Input::Line(line) = reader.read_line(console, PROMPT, &completer)
            && run_line(&line, system, console, &reader) == Next::Exit
        {
            return;
        }
    }
}

/// Runs the commands of a line in order. An error ends that command only; Ctrl-C ends the line.
fn run_line(line: &str, system: &dyn System, console: &mut dyn Console, reader: &Reader) -> Next {
    let commands = match parse::split(line) {
        Ok(commands) => commands,
        Err(error) => {
            let _ = writeln!(console, "error: {error}");
            return Next::Prompt;
        }
    };
    for words in commands {
        match commands::execute(&words, system, console, reader.history()) {
            Ok(Next::Prompt) => {}
            Ok(Next::Exit) => return Next::Exit,
            Err(CommandError::Interrupted) => {
                console.clear_interrupt();
                let _ = writeln!(console, "interrupted");
                return Next::Prompt;
            }
            Err(error) => {
                let _ = writeln!(console, "error: {error}");
            }
        }
    }
    Next::Prompt
}
