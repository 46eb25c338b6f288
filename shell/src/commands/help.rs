//! `help`, and the page that `--help` shows.

use super::{COMMANDS, Command, CommandError, Context, Next, Operand, PLAIN, family, find};
use crate::args::HELP as HELP_OPTION;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::String;

pub const HELP: Command = Command {
    name: "help",
    summary: "List the commands, or explain one.",
    usage: "help [COMMAND]",
    example: "help slm query",
    operands: (0, 2),
    operand: Operand::Command,
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let words = core::mem::take(&mut context.args.operands);
    let page = match words.as_slice() {
        [] => {
            let list = summaries(COMMANDS.iter());
            format!(
                "{list}\n`help COMMAND` explains one. `;` separates commands on a line. Ctrl-C stops a command.\n"
            )
        }
        [name] if family(name).next().is_some() => summaries(family(name).map(|(command, _)| command)),
        words => {
            let (command, rest) = find(words)?;
            if let Some(extra) = rest.first() {
                let extra = crate::args::brief(extra);
                return Err(CommandError::Failed(format!("`{}` has no subcommand `{extra}`", command.name)));
            }
            of_command(command)
        }
    };
    context.print(&page)
}

fn summaries<'a>(commands: impl Iterator<Item = &'a Command>) -> String {
    let mut table = Table::new(&[("COMMAND", Align::Left), ("WHAT IT DOES", Align::Left)]);
    commands.for_each(|command| table.row([command.name.into(), command.summary.into()]));
    format!("{table}")
}

/// All about one command.
pub(super) fn of_command(command: &Command) -> String {
    let mut options = Table::new(&[("OPTION", Align::Left), ("WHAT IT DOES", Align::Left)]);
    for option in command.options.iter().chain([&HELP_OPTION]) {
        let short = option.short.map_or_else(String::new, |c| format!("-{c}, "));
        let value = option.value.map_or_else(String::new, |v| format!(" {v}"));
        options.row([format!("{short}--{}{value}", option.name), option.summary.into()]);
    }
    let options = if command.verbatim { String::new() } else { format!("\n{options}") };
    format!("{}\n\nUsage:   {}\nExample: {}\n{options}", command.summary, command.usage, command.example)
}
