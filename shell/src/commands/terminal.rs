//! `echo`, `clear`, `history`: about the terminal itself.

use super::{Command, CommandError, Context, Next, PLAIN};
use alloc::format;
use alloc::string::String;

pub const ECHO: Command = Command {
    name: "echo",
    summary: "Print its words.",
    usage: "echo [WORD...]",
    example: "echo hello",
    operands: (0, usize::MAX),
    verbatim: true,
    run: echo,
    ..PLAIN
};

pub const CLEAR: Command = Command {
    name: "clear",
    summary: "Clear the screen.",
    usage: "clear",
    example: "clear",
    run: |context| context.print("\x1b[H\x1b[2J"),
    ..PLAIN
};

pub const HISTORY: Command = Command {
    name: "history",
    summary: "List the lines entered before.",
    usage: "history",
    example: "history",
    run: history,
    ..PLAIN
};

fn echo(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let text = format!("{}\n", context.args.operands.join(" "));
    context.print(&text)
}

fn history(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let lines = context.history.iter().enumerate();
    let text: String =
        lines.map(|(i, line)| format!("{:>5}  {}\n", i + 1, line.replace('\n', "; "))).collect();
    context.print(&text)
}
