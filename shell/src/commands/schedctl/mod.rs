//! `schedctl`: the scheduler. One file per thing that it shows; each names the keys of its `--json` form.
//!
//! JSON of `schedctl policy` and of `schedctl transformer` with a mode: that of `schedctl status`. `schedctl save`, `load` and
//! `rollback`: see `weights`.

mod bench;
mod history;
mod stats;
mod status;
mod weights;

use super::{Command, CommandError, Context, JSON, Next, Operand, OptionSpec, PLAIN};
use crate::args::{UsageError, brief};
use crate::scheduler::{FairPolicy, LearnedMode, SchedulingError};
use crate::system::Task;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

pub const STATUS: Command = Command {
    name: "schedctl status",
    summary: "Show the run queues, who decides there, their guards and the reservation servers.",
    usage: "schedctl status [--json]",
    options: &[JSON],
    example: "schedctl status",
    run: status::run,
    ..PLAIN
};

pub const POLICY: Command = Command {
    name: "schedctl policy",
    summary: "Set the policy of the fair class on all CPUs.",
    usage: "schedctl policy eevdf|rr|mlfq|transformer [--json]",
    options: &[JSON],
    example: "schedctl policy eevdf",
    operands: (1, 1),
    operand: Operand::OneOf(&["eevdf", "rr", "mlfq", "transformer"]),
    run: policy,
    ..PLAIN
};

pub const TRANSFORMER: Command = Command {
    name: "schedctl transformer",
    summary: "Let the transformer decide: on, auto (when its guard finds that promising), shadow (predict only) or off \
              (still foretells burst sizes, but names nobody and does not train its network); \
              or do what `schedctl stats`, `save`, `load` and `rollback` do.",
    usage: "schedctl transformer on|auto|shadow|off|stats|save|load|rollback [VERSION] [--json]",
    options: &[JSON],
    example: "schedctl transformer shadow",
    operands: (1, 2),
    operand: Operand::OneOf(&["on", "auto", "shadow", "off", "stats", "save", "load", "rollback"]),
    run: transformer,
    ..PLAIN
};

pub const STATS: Command = Command {
    name: "schedctl stats",
    summary: "Show what decisions cost, how long wake-ups take, and how well burst sizes are predicted.",
    usage: "schedctl stats [--json]",
    options: &[JSON],
    example: "schedctl stats",
    run: stats::run,
    ..PLAIN
};

pub const HISTORY: Command = Command {
    name: "schedctl history",
    summary: "Show when the guards switched between EEVDF and the transformer, and why.",
    usage: "schedctl history [--json]",
    options: &[JSON],
    example: "schedctl history",
    run: history::run,
    ..PLAIN
};

pub const SAVE: Command = Command {
    name: "schedctl save",
    summary: "Put the transformer's weights by as a new version; the last 10 are kept.",
    usage: "schedctl save [--json]",
    options: &[JSON],
    example: "schedctl save",
    run: weights::save,
    ..PLAIN
};

pub const LOAD: Command = Command {
    name: "schedctl load",
    summary: "Go on with a saved version of the transformer's weights, the last one unless told.",
    usage: "schedctl load [VERSION] [--json]",
    options: &[JSON],
    example: "schedctl load 1",
    operands: (0, 1),
    run: weights::load,
    ..PLAIN
};

pub const ROLLBACK: Command = Command {
    name: "schedctl rollback",
    summary: "Go back to the version of the weights put by last; again: to the one before.",
    usage: "schedctl rollback [--json]",
    options: &[JSON],
    example: "schedctl rollback",
    run: weights::roll_back,
    ..PLAIN
};

pub const BENCH: Command = Command {
    name: "schedctl bench",
    summary: "Run real threads under each policy and compare response times, switches and fairness; Ctrl-C ends it.",
    usage: "schedctl bench [mixed|schbench|hackbench|bursts] [--policies LIST] [--seconds N] [--load PERCENT] [--seed N] [--json]",
    options: &[
        OptionSpec {
            name: "policies",
            short: None,
            value: Some("LIST"),
            summary: "Which, with commas between them; eevdf,rr,mlfq,transformer unless given.",
        },
        OptionSpec {
            name: "seconds",
            short: None,
            value: Some("N"),
            summary: "How long to measure each workload under each policy; 20 unless given.",
        },
        OptionSpec {
            name: "load",
            short: None,
            value: Some("PERCENT"),
            summary: "Share of the CPUs that mixed and bursts ask for; 60 unless given.",
        },
        OptionSpec {
            name: "seed",
            short: None,
            value: Some("N"),
            summary: "What all sizes and times are drawn from; 1 unless given.",
        },
        JSON,
    ],
    example: "schedctl bench mixed --policies rr,transformer --seconds 10",
    operands: (0, 1),
    operand: Operand::OneOf(bench::WORKLOADS),
    run: bench::run,
    ..PLAIN
};

impl From<SchedulingError> for CommandError {
    fn from(error: SchedulingError) -> Self {
        CommandError::Failed(error.to_string())
    }
}

fn operand<'a>(context: &'a Context<'_>) -> &'a str {
    context.args.operands.first().map(String::as_str).unwrap_or_default()
}

/// A word that is none of those that the command takes.
fn unknown(command: &Command, word: &str) -> CommandError {
    let Operand::OneOf(words) = command.operand else {
        return UsageError(format!("`{}` does not take `{}`", command.name, brief(word))).into();
    };
    let hint = crate::suggest::did_you_mean(word, words.iter().copied());
    let rest = if hint.is_empty() { format!("; it takes {}", words.join(", ")) } else { hint };
    UsageError(format!("`{}` does not take `{}`{rest}", command.name, brief(word))).into()
}

fn policy(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let word = operand(context);
    let policy = FairPolicy::from_name(word).ok_or_else(|| unknown(&POLICY, word))?;
    context.system.set_policy(policy)?;
    status::run(context)
}

fn transformer(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let word = String::from(operand(context));
    if let (false, Some(extra)) = (word == "load", context.args.operands.get(1)) {
        let text = format!("`schedctl transformer {}` does not take `{}`", brief(&word), brief(extra));
        return Err(UsageError(text).into());
    }
    match word.as_str() {
        "stats" => stats::run(context),
        "save" => weights::save(context),
        "rollback" => weights::roll_back(context),
        "load" => {
            context.args.operands.remove(0);
            weights::load(context)
        }
        word => {
            let mode = LearnedMode::ALL.into_iter().find(|mode| mode.name() == word);
            context.system.set_learned_mode(mode.ok_or_else(|| unknown(&TRANSFORMER, word))?)?;
            status::run(context)
        }
    }
}

/// A thread's number and name.
fn task_name(tasks: &[Task], id: u32) -> String {
    match tasks.iter().find(|task| task.id == id) {
        Some(task) => format!("{id} {}", task.name),
        None => id.to_string(),
    }
}

/// Whole microseconds.
#[cfg(feature = "reservations")]
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Nanoseconds of a clock since reset.
fn since_reset(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}
