//! `schedctl save`, `load` and `rollback`: versions of the transformer's weights.
//!
//! JSON of each: `{"version":the one that was saved, or is used now,"versions":[{"number","time_s","steps","loss"}]}`, oldest first.

use crate::args::{UsageError, brief};
use crate::commands::{CommandError, Context, Next};
use crate::json::{self, Object};
use crate::scheduler::WeightVersion;
use crate::table::{Align, Table};
use alloc::format;
use alloc::string::{String, ToString};

pub(super) fn save(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let number = context.system.save_weights()?;
    report(context, number, format!("The weights are version {number} now.\n"))
}

pub(super) fn load(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let wanted = match context.args.operands.first() {
        None => None,
        Some(word) => Some(word.parse().map_err(|_| {
            UsageError(format!("a version of the weights is a number such as 3, not `{}`", brief(word)))
        })?),
    };
    let number = context.system.load_weights(wanted)?;
    report(context, number, format!("Version {number} of the weights is used; those before are put by.\n"))
}

pub(super) fn roll_back(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let number = context.system.roll_back_weights()?;
    report(context, number, format!("Back at version {number} of the weights.\n"))
}

fn report(context: &mut Context<'_>, number: u32, said: String) -> Result<Next, CommandError> {
    let versions = context.system.weight_versions();
    if context.args.flag("json") {
        let text = json::document(|o| {
            o.number("version", number);
            versions_as_json(o, &versions);
        });
        return context.print(&text);
    }
    context.print(&format!("{said}{}", versions_as_text(&versions)))
}

/// Key and array of the versions.
pub(super) fn versions_as_json(o: &mut Object<'_>, versions: &[WeightVersion]) {
    o.objects("versions", versions, |o, version| {
        o.number("number", version.number).decimal("time_s", version.time.as_secs_f64());
        o.number("steps", version.steps).decimal("loss", f64::from(version.loss));
    });
}

/// A table of the versions; a sentence where there are none.
pub(super) fn versions_as_text(versions: &[WeightVersion]) -> String {
    if versions.is_empty() {
        return String::from("No version of the weights is put by.\n");
    }
    let columns = [
        ("VERSION", Align::Right),
        ("SAVED [s]", Align::Right),
        ("LEARNING STEPS", Align::Right),
        ("LOSS", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for version in versions {
        table.row([
            version.number.to_string(),
            format!("{:.1}", version.time.as_secs_f64()),
            version.steps.to_string(),
            format!("{:.4}", version.loss),
        ]);
    }
    format!("{table}")
}
