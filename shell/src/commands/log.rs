//! `dmesg`: the kernel log.

use super::{Command, CommandError, Context, Next, OptionSpec, PLAIN};
use crate::system::LogLevel;
use crate::units;
use alloc::format;
use alloc::string::String;

pub const DMESG: Command = Command {
    name: "dmesg",
    summary: "Show the kernel log with seconds since reset.",
    usage: "dmesg [--level error|warn|info|debug|trace]",
    options: &[OptionSpec {
        name: "level",
        short: None,
        value: Some("error|warn|info|debug|trace"),
        summary: "Show only lines that are at least as grave as this.",
    }],
    example: "dmesg --level warn",
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let least = context.args.choice("level", &LogLevel::ALL, LogLevel::name)?;
    let mut text = String::new();
    for line in context.system.log() {
        if least.is_none_or(|least| line.level <= least) {
            let time = units::seconds(line.time);
            text.push_str(&format!("[{time:>12}] {:<5} {}\n", line.level.name(), line.text));
        }
    }
    context.print(&text)
}
