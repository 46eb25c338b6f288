//! `slm`: the language model. `query.rs` asks it, `status.rs` shows it, `answer.rs` prints what it says.

mod answer;
mod query;
mod status;

use super::{Command, CommandError, Context, Next, PLAIN};
use crate::units::bytes;
use alloc::format;

pub(super) use answer::{Answer, Style};
pub use query::QUERY;
pub use status::STATUS;

pub const LOAD: Command = Command {
    name: "slm load",
    summary: "Load the model that came with the boot.",
    usage: "slm load",
    example: "slm load",
    run: load,
    ..PLAIN
};

pub const UNLOAD: Command = Command {
    name: "slm unload",
    summary: "Unload the model and give its memory back; the rule engine answers then.",
    usage: "slm unload",
    example: "slm unload",
    run: unload,
    ..PLAIN
};

fn load(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let start = context.system.uptime();
    context.system.slm_load()?;
    let time = crate::units::short_time(context.system.uptime().saturating_sub(start));
    let status = context.system.slm_status();
    let name = status.model.map_or_else(|| "the model".into(), |model| model.name);
    let pool = status.pool.unwrap_or_default();
    let line = format!(
        "loaded {name} in {time}; the pool has {} of {} in use\n",
        bytes(pool.used()),
        bytes(pool.size)
    );
    context.print(&line)
}

fn unload(context: &mut Context<'_>) -> Result<Next, CommandError> {
    // Asked before: a machine may give the whole pool back, and has none to show afterwards.
    let pool = context.system.slm_status().pool.unwrap_or_default();
    context.system.slm_unload()?;
    let line = format!("unloaded; all {} of the pool are free again\n", bytes(pool.size));
    context.print(&line)
}
