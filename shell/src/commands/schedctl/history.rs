//! `schedctl history`: the switch-overs.
//!
//! JSON: `{"switch_overs":[{"cpu","time_s","to":"off|shadow|acting","reason"}]}`, oldest first.

use super::since_reset;
use crate::commands::{CommandError, Context, Next};
use crate::json::{self, Object};
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};
use sched::guard::{Rule, SwitchOver};

pub(super) fn run(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let changes = context.system.switch_overs();
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.objects("switch_overs", &changes, |o, change| {
                o.number("cpu", change.cpu);
                change_as_json(o, &change.change);
            });
        });
        return context.print(&text);
    }
    if changes.is_empty() {
        return context.print("No guard has switched over yet.\n");
    }
    let columns =
        [("TIME [s]", Align::Right), ("CPU", Align::Right), ("DECIDES", Align::Left), ("WHY", Align::Left)];
    let mut table = Table::new(&columns);
    for change in &changes {
        let decides = match change.change.to {
            Rule::Acting => "transformer",
            Rule::Shadow => "eevdf, transformer in shadow",
            Rule::Off => "eevdf",
        };
        table.row([
            format!("{:.3}", since_reset(change.change.time).as_secs_f64()),
            change.cpu.to_string(),
            String::from(decides),
            change.change.reason.to_string(),
        ]);
    }
    context.print(&format!("{table}"))
}

/// The keys of a switch-over.
pub(super) fn change_as_json(o: &mut Object<'_>, change: &SwitchOver) {
    o.decimal("time_s", since_reset(change.time).as_secs_f64()).text("to", change.to.name());
    o.text("reason", &change.reason.to_string());
}
