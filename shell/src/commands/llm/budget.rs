//! `llmctl load` and `llmctl budget`: the model, and CPU time for so many of its tokens in every period.
//!
//! JSON of both: `{"model"|null,"budget":{"tokens","period_ns","wcet_cycles","wcet_measured","token_ns","reserved_ns","reserved_ppm","cpus",
//! "cycles_per_second"}|null}`; `reserved_ns` and `reserved_ppm` are of each of the `cpus`.

use super::time;
use crate::args::UsageError;
use crate::commands::value;
use crate::commands::{Command, CommandError, Context, JSON, Next, OptionSpec, PLAIN};
use crate::inference::{BudgetChange, BudgetState, InferenceStatus};
use crate::json::{self, Object};
use alloc::format;
use alloc::string::String;
use llm::service::MARGIN_PERCENT;

pub const LOAD: Command = Command {
    name: "llmctl load",
    summary: "Load the model of this boot, or one by name: `ramdisk`, `embedded`, or what an upload was named.",
    usage: "llmctl load [NAME] [--wcet-cycles N] [--json]",
    options: &[
        value(
            "wcet-cycles",
            "N",
            "Worst case of a token in cycles of the time-stamp counter; 0: what is measured.",
        ),
        JSON,
    ],
    example: "llmctl load --wcet-cycles 400000000",
    operands: (0, 1),
    run: load,
    ..PLAIN
};

pub const BUDGET: Command = Command {
    name: "llmctl budget",
    summary: "Reserve CPU time for so many tokens in every period, or show what is reserved.",
    usage: "llmctl budget [--wcet-cycles N] [--period-ns N] [--max-tokens-per-period N] [--off] [--json]",
    options: &[
        WCET,
        value("period-ns", "N", "Length of a period in nanoseconds; 1000000000 unless it was set before."),
        value("max-tokens-per-period", "N", "Tokens in a period; 1 unless it was set before."),
        OptionSpec {
            name: "off",
            short: None,
            value: None,
            summary: "Take the budget and its reservations away, and forget the worst case that was given.",
        },
        JSON,
    ],
    example: "llmctl budget --max-tokens-per-period 4",
    run: budget,
    ..PLAIN
};

const WCET: OptionSpec = value(
    "wcet-cycles",
    "N",
    "Worst case of a token in cycles of the time-stamp counter; measured unless given.",
);

const POSITIVE: &str = "a whole number from 1 on";

fn load(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let wcet = context.args.number("wcet-cycles", 0.., "a whole number; 0: what is measured")?;
    let start = context.system.uptime();
    context.system.inference_load(context.args.operands.first().map(String::as_str), wcet)?;
    let took = crate::units::short_time(context.system.uptime().saturating_sub(start));
    let status = context.system.inference_status();
    if context.args.flag("json") {
        return context.print(&as_json(&status));
    }
    let name = status.model.as_deref().unwrap_or("the model");
    let worst = match wcet {
        None => String::new(),
        Some(0) => String::from("; a token's worst case is what is measured"),
        Some(cycles) => format!("; a token is given {cycles} cycles"),
    };
    context.print(&format!("loaded {name} in {took}{worst}\n"))
}

fn budget(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let args = &context.args;
    let change = BudgetChange {
        wcet_cycles: args.number("wcet-cycles", 1.., POSITIVE)?,
        period_ns: args.number("period-ns", 1.., POSITIVE)?,
        tokens: args.number("max-tokens-per-period", 1.., POSITIVE)?,
    };
    match (args.flag("off"), change == BudgetChange::default()) {
        (true, false) => {
            return Err(
                UsageError("`--off` takes the budget away; leave the other options out".into()).into()
            );
        }
        (true, true) => context.system.clear_budget(),
        (false, false) => {
            context.system.set_budget(change)?;
        }
        (false, true) => {}
    }
    let status = context.system.inference_status();
    if context.args.flag("json") {
        return context.print(&as_json(&status));
    }
    let text = match &status.budget {
        Some(budget) => as_text(budget, status.cycles_per_second),
        None => no_budget(&status),
    };
    context.print(&text)
}

fn no_budget(status: &InferenceStatus) -> String {
    let worst = match status.worst_cycles {
        Some(cycles) => format!("the worst token so far took {cycles} cycles"),
        None => String::from("no token was made yet"),
    };
    format!("No budget: the model runs like any other thread; {worst}.\n")
}

/// Tokens, worst case, reservation, and how one comes from the other.
pub(super) fn as_text(state: &BudgetState, hz: u64) -> String {
    let budget = &state.budget;
    let origin = match state.measured {
        true => format!("measured + {MARGIN_PERCENT} %"),
        false => String::from("given"),
    };
    let share = reserved_ppm(state) as f64 / 10_000.0;
    let lines = [
        ("Budget", format!("{} tokens in every {}", budget.tokens, time(budget.period_ns))),
        (
            "Worst case",
            format!("{} cycles a token ({origin}), {}", budget.wcet_cycles, time(token_ns(state, hz))),
        ),
        (
            "Reserved",
            format!(
                "{} of every {} on each of {} CPUs ({share:.2} %)",
                time(state.reserved_ns),
                time(budget.period_ns),
                state.cpus
            ),
        ),
        (
            "Arithmetic",
            format!(
                "{} tokens x {} cycles / {hz} Hz = {} ns of {} ns",
                budget.tokens, budget.wcet_cycles, state.reserved_ns, budget.period_ns
            ),
        ),
    ];
    lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
}

/// Time of a token at its worst.
fn token_ns(state: &BudgetState, hz: u64) -> u64 {
    let ns = u128::from(state.budget.wcet_cycles) * 1_000_000_000 / u128::from(hz.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Share of each CPU that is reserved, in parts of a million.
pub(super) fn reserved_ppm(state: &BudgetState) -> u64 {
    let ppm = u128::from(state.reserved_ns) * 1_000_000 / u128::from(state.budget.period_ns.max(1));
    u64::try_from(ppm).unwrap_or(u64::MAX)
}

/// The key `budget`.
pub(super) fn budget_as_json(o: &mut Object<'_>, status: &InferenceStatus) {
    match &status.budget {
        Some(state) => o.object("budget", |o| {
            o.number("tokens", state.budget.tokens).number("period_ns", state.budget.period_ns);
            o.number("wcet_cycles", state.budget.wcet_cycles).boolean("wcet_measured", state.measured);
            o.number("token_ns", token_ns(state, status.cycles_per_second));
            o.number("reserved_ns", state.reserved_ns).number("reserved_ppm", reserved_ppm(state));
            o.number("cpus", state.cpus).number("cycles_per_second", status.cycles_per_second);
        }),
        None => o.null("budget"),
    };
}

fn as_json(status: &InferenceStatus) -> String {
    json::document(|o| {
        o.text_or_null("model", status.model.as_deref());
        budget_as_json(o, status);
    })
}
