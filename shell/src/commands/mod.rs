//! The commands: one table that drives dispatch, help, completion and the rule engine's how-to answers.
//! One file per family; each documents the keys of its `--json` form, which are stable.

#[cfg(feature = "ai-ops")]
mod autoctl;
mod completion;
#[cfg(feature = "ai-ops")]
mod crashctl;
mod ctlkey;
mod free;
mod grammar;
mod help;
mod how_to;
mod llm;
mod log;
mod lscpu;
mod lspci;
mod memctl;
mod power;
mod ps;
mod sampling;
mod schedctl;
mod selftest;
mod slm;
mod terminal;
mod top;
mod uptime;

pub use completion::CommandCompleter;
pub use grammar::grammar;
pub use how_to::command_help;

use crate::args::{Args, UsageError, brief};
use crate::console::Console;
use crate::parse::ParseError;
use crate::reader::History;
use crate::slm::SlmError;
use crate::suggest::did_you_mean;
use crate::system::{PowerError, SelfTestError, StressError, System};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use thiserror::Error;

/// Every command of this build, in the order of `help`.
pub static COMMANDS: &[Command] = &[
    help::HELP,
    slm::QUERY,
    slm::STATUS,
    slm::LOAD,
    slm::UNLOAD,
    llm::INFER,
    llm::STREAM,
    llm::POLL,
    llm::CANCEL,
    llm::STATS,
    llm::LOAD,
    llm::BUDGET,
    llm::PACE,
    llm::STATUS,
    llm::AUDIT,
    llm::AUDIT_JSON,
    llm::GRAPH,
    llm::SHOW,
    ctlkey::SHOW,
    ctlkey::ADMIN,
    ctlkey::SUBMIT,
    ctlkey::EMBED,
    ps::PS,
    free::FREE,
    uptime::UPTIME,
    lscpu::LSCPU,
    lspci::LSPCI,
    log::DMESG,
    memctl::STATUS,
    memctl::BUDDYINFO,
    memctl::COMPACT,
    memctl::RECLAIM,
    memctl::STRESS,
    #[cfg(feature = "ai-ops")]
    crashctl::STATUS,
    #[cfg(feature = "ai-ops")]
    crashctl::HISTORY,
    #[cfg(feature = "ai-ops")]
    crashctl::TUNE,
    #[cfg(feature = "ai-ops")]
    crashctl::STATS,
    #[cfg(feature = "ai-ops")]
    crashctl::AUTO,
    #[cfg(feature = "ai-ops")]
    crashctl::RECORD,
    #[cfg(feature = "ai-ops")]
    crashctl::SAMPLES,
    schedctl::STATUS,
    schedctl::POLICY,
    schedctl::TRANSFORMER,
    schedctl::STATS,
    schedctl::HISTORY,
    schedctl::SAVE,
    schedctl::LOAD,
    schedctl::ROLLBACK,
    schedctl::BENCH,
    top::TOP,
    #[cfg(feature = "ai-ops")]
    autoctl::AI_METRICS,
    #[cfg(feature = "ai-ops")]
    autoctl::EXPORT_METRICS,
    selftest::SELFTEST,
    terminal::ECHO,
    terminal::CLEAR,
    terminal::HISTORY,
    uptime::VERSION,
    power::REBOOT,
    power::POWEROFF,
];

/// One entry of the table.
pub struct Command {
    /// Name: one word, or family and subcommand (`slm query`).
    pub name: &'static str,
    /// What it does: one line, with a full stop.
    pub summary: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// Its options, without `--help`, which every command has.
    pub options: &'static [OptionSpec],
    /// A command line that works on every machine.
    pub example: &'static str,
    /// Fewest and most operands.
    pub operands: (usize, usize),
    /// What an operand names, for completion.
    pub operand: Operand,
    /// Takes its words as they are, options too.
    pub verbatim: bool,
    /// Does it.
    pub run: fn(&mut Context<'_>) -> Result<Next, CommandError>,
}

/// What most commands have in common: no operands, no options.
const PLAIN: Command = Command {
    name: "",
    summary: "",
    usage: "",
    options: &[],
    example: "",
    operands: (0, 0),
    operand: Operand::Free,
    verbatim: false,
    run: |_| Ok(Next::Prompt),
};

/// What an operand names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Anything.
    Free,
    /// A command.
    Command,
    /// A self test.
    SelfTest,
    /// The first operand is one of these words.
    OneOf(&'static [&'static str]),
}

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Long name without `--`.
    pub name: &'static str,
    /// Letter behind a single `-`.
    pub short: Option<char>,
    /// Name of its value (`N`), or the choices as `a|b|c`, if it takes one.
    pub value: Option<&'static str>,
    /// One line, with a full stop.
    pub summary: &'static str,
}

impl OptionSpec {
    /// The values it may have, if they are a list.
    pub fn choices(&self) -> impl Iterator<Item = &'static str> {
        self.value.filter(|v| v.contains('|')).into_iter().flat_map(|v| v.split('|'))
    }
}

/// An option with a value.
const fn value(name: &'static str, value: &'static str, summary: &'static str) -> OptionSpec {
    OptionSpec { name, short: None, value: Some(value), summary }
}

/// Many commands have it.
const JSON: OptionSpec =
    OptionSpec { name: "json", short: None, value: None, summary: "Print one JSON object instead." };

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Shows its prompt again.
    Prompt,
    /// Ends: the machine is going down.
    Exit,
}

/// Why a command did not do its work: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The line is not made of words.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The words are not a command.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The model's answer.
    #[error(transparent)]
    Slm(#[from] SlmError),
    /// The machine is still on.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// A stress workload.
    #[error(transparent)]
    Stress(#[from] StressError),
    /// A self test.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C; not shown as an error.
    #[error("interrupted")]
    Interrupted,
}

/// What a command works with.
pub struct Context<'a> {
    /// The machine.
    pub system: &'a dyn System,
    /// The terminal.
    pub console: &'a mut dyn Console,
    /// The words behind the command's name.
    pub args: Args,
    /// Lines entered before.
    pub history: &'a History,
}

impl Context<'_> {
    /// Prints whole lines; stops at Ctrl-C.
    pub fn print(&mut self, text: &str) -> Result<Next, CommandError> {
        for line in text.split_inclusive('\n') {
            if self.console.interrupted() {
                return Err(CommandError::Interrupted);
            }
            let _ = self.console.write_str(line);
        }
        Ok(Next::Prompt)
    }
}

/// Runs one command given as words.
pub fn execute(
    words: &[String],
    system: &dyn System,
    console: &mut dyn Console,
    history: &History,
) -> Result<Next, CommandError> {
    let (command, rest) = find(words)?;
    let args = Args::parse(command, rest)?;
    let mut context = Context { system, console, args, history };
    if context.args.flag("help") {
        return context.print(&help::of_command(command));
    }
    (command.run)(&mut context)
}

/// The command that the words name, and the words behind its name.
fn find(words: &[String]) -> Result<(&'static Command, &[String]), UsageError> {
    let (first, rest) = words.split_first().ok_or_else(|| UsageError(String::from("there is no command")))?;
    if let Some((second, operands)) = rest.split_first() {
        let name = format!("{first} {second}");
        if let Some(command) = COMMANDS.iter().find(|c| c.name == name) {
            return Ok((command, operands));
        }
    }
    if let Some(command) = COMMANDS.iter().find(|c| c.name == first) {
        return Ok((command, rest));
    }
    let members: Vec<&str> = family(first).map(|(_, subcommand)| subcommand).collect();
    Err(UsageError(match (members.is_empty(), rest.first()) {
        (true, _) => {
            let first_words = COMMANDS.iter().filter_map(|c| c.name.split(' ').next());
            let hint = did_you_mean(first, first_words);
            let hint = if hint.is_empty() { String::from("; `help` lists the commands") } else { hint };
            format!("there is no command `{}`{hint}", brief(first))
        }
        (false, None) => format!("`{first}` needs a subcommand: {}", members.join(", ")),
        (false, Some(second)) => {
            let hint = did_you_mean(second, members.iter().copied());
            let hint = if hint.is_empty() { format!("; it has {}", members.join(", ")) } else { hint };
            format!("`{first}` has no subcommand `{}`{hint}", brief(second))
        }
    }))
}

/// The commands of a family, and the word that each has behind the family's name.
fn family(name: &str) -> impl Iterator<Item = (&'static Command, &'static str)> {
    COMMANDS.iter().filter_map(move |c| Some((c, c.name.strip_prefix(name)?.strip_prefix(' ')?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::split;

    #[test]
    fn the_table_is_complete_and_consistent() {
        for command in COMMANDS {
            let name = command.name;
            assert!(command.summary.ends_with('.'), "{name}");
            assert!(command.usage.starts_with(name), "{name}");
            for option in command.options {
                assert!(command.usage.contains(&format!("--{}", option.name)), "{name} --{}", option.name);
                assert!(option.summary.ends_with('.') && option.name != "help", "{name} --{}", option.name);
            }
            assert_eq!(COMMANDS.iter().filter(|c| c.name == name).count(), 1, "{name}");
            // Every example is a command of the table with valid options.
            let words = split(command.example).unwrap().remove(0);
            let (found, rest) = find(&words).unwrap();
            assert_eq!(found.name, name);
            Args::parse(command, rest).unwrap();
        }
    }

    #[test]
    fn errors_point_the_way() {
        let error = |line: &str| {
            let words = split(line).unwrap().remove(0);
            let parsed = find(&words).and_then(|(command, rest)| Args::parse(command, rest));
            format!("{}", parsed.unwrap_err())
        };
        assert_eq!(error("lscpi"), "there is no command `lscpi`; did you mean `lspci`?");
        assert_eq!(error("frobnicate"), "there is no command `frobnicate`; `help` lists the commands");
        assert_eq!(error("slm"), "`slm` needs a subcommand: query, status, load, unload");
        assert_eq!(error("slm qurey x"), "`slm` has no subcommand `qurey`; did you mean `query`?");
        assert_eq!(error("slm dance"), "`slm` has no subcommand `dance`; it has query, status, load, unload");
        assert_eq!(error("ps --jsno"), "`ps` has no option `--jsno`; did you mean `--json`?");
        assert_eq!(error("ps -x"), "`ps` has no option `-x`; see `help ps`");
        assert_eq!(error("ps --json=1"), "`--json` takes no value; write it alone");
        assert_eq!(error("ps now"), "`ps` does not take `now`; its usage is `ps [--json]`");
        assert_eq!(error("dmesg --level"), "`--level` needs a value: `--level error|warn|info|debug|trace`");
    }
}
