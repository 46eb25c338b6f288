//! `poweroff` and `reboot`.

use super::{Command, CommandError, Context, Next, PLAIN};
use crate::system::PowerAction;

pub const POWEROFF: Command = Command {
    name: "poweroff",
    summary: "Switch the machine off.",
    usage: "poweroff",
    example: "poweroff",
    run: |context| power(context, PowerAction::Off),
    ..PLAIN
};

pub const REBOOT: Command = Command {
    name: "reboot",
    summary: "Restart the machine.",
    usage: "reboot",
    example: "reboot",
    run: |context| power(context, PowerAction::Reboot),
    ..PLAIN
};

fn power(context: &mut Context<'_>, action: PowerAction) -> Result<Next, CommandError> {
    context.system.power(action)?;
    Ok(Next::Exit)
}
