//! `llmctl pace`: how the tokens of a period are spread.
//!
//! JSON: `{"spread":"even|burst"}`.

use crate::args::{UsageError, brief};
use crate::commands::{Command, CommandError, Context, JSON, Next, Operand, PLAIN};
use crate::json;
use alloc::format;
use llm::service::Spread;

pub const PACE: Command = Command {
    name: "llmctl pace",
    summary: "Show how the tokens of a period are spread under a budget, or set it.",
    usage: "llmctl pace [even|burst] [--json]",
    options: &[JSON],
    example: "llmctl pace even",
    operands: (0, 1),
    operand: Operand::OneOf(&["even", "burst"]),
    run,
    ..PLAIN
};

fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    if let Some(word) = context.args.operands.first() {
        let spread = Spread::ALL.into_iter().find(|spread| spread.name() == word).ok_or_else(|| {
            UsageError(format!("`llmctl pace` does not take `{}`; it takes even, burst", brief(word)))
        })?;
        context.system.set_spread(spread);
    }
    let spread = context.system.inference_status().spread;
    let text = match context.args.flag("json") {
        true => json::document(|o| {
            o.text("spread", spread.name());
        }),
        false => format!("{}: {}\n", spread.name(), meaning(spread)),
    };
    context.print(&text)
}

/// What a spread means.
pub(super) fn meaning(spread: Spread) -> &'static str {
    match spread {
        Spread::Even => "the tokens of a period come at equal distances",
        Spread::Burst => {
            "the tokens of a period come as soon as the CPU allows, then none until the next one"
        }
    }
}
