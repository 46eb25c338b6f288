//! `ctlkey`, `ctladmin`, `ctlsubmit`, `ctlembed`: the keys of the control plane. There is no `--json` form: a token is for a person's eyes, and no
//! program should read it off a console's record.

use super::{Command, CommandError, Context, Next, Operand, PLAIN};
use crate::args::{UsageError, brief};
use crate::inference::{KeyError, KeyKind};
use alloc::format;
use alloc::string::ToString;

pub const SHOW: Command = Command {
    name: "ctlkey",
    summary: "Show the two tokens of the control plane. They are secret.",
    usage: "ctlkey",
    example: "ctlkey",
    run: show,
    ..PLAIN
};

pub const ADMIN: Command = Command {
    name: "ctladmin",
    summary: "Replace the admin token and show the new one; the old one and those embedded from it die.",
    usage: "ctladmin",
    example: "ctladmin",
    run: |context| rotate(context, KeyKind::Admin),
    ..PLAIN
};

pub const SUBMIT: Command = Command {
    name: "ctlsubmit",
    summary: "Replace the submit token and show the new one; the old one and those embedded from it die.",
    usage: "ctlsubmit",
    example: "ctlsubmit",
    run: |context| rotate(context, KeyKind::Submit),
    ..PLAIN
};

pub const EMBED: Command = Command {
    name: "ctlembed",
    summary: "Give out one more token of a kind; it dies when its kind is replaced.",
    usage: "ctlembed admin|submit",
    example: "ctlembed submit",
    operands: (1, 1),
    operand: Operand::OneOf(&["admin", "submit"]),
    run: embed,
    ..PLAIN
};

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        CommandError::Failed(error.to_string())
    }
}

fn show(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let [admin, submit] = context.system.keys()?;
    let (all, ask) = (allows(KeyKind::Admin), allows(KeyKind::Submit));
    context.print(&format!(
        "admin   {admin}  {all}\nsubmit  {submit}  {ask}\nBoth are secret. `ctladmin` and `ctlsubmit` replace them.\n"
    ))
}

/// What a token of a kind allows.
fn allows(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Admin => "allows everything: loading and sending models, all requests, the audit",
        KeyKind::Submit => "allows asking the model, and ending one's own requests",
    }
}

fn rotate(context: &mut Context<'_>, kind: KeyKind) -> Result<Next, CommandError> {
    let token = context.system.rotate(kind)?;
    context.print(&format!("{token}  {}. It is secret; the old one is refused from now on.\n", allows(kind)))
}

fn embed(context: &mut Context<'_>) -> Result<Next, CommandError> {
    let word = context.args.operands.first().map(|word| word.as_str()).unwrap_or_default();
    let kind = match word {
        "admin" => KeyKind::Admin,
        "submit" => KeyKind::Submit,
        other => {
            let text = format!("`ctlembed` does not take `{}`; it takes admin, submit", brief(other));
            return Err(UsageError(text).into());
        }
    };
    let token = context.system.embed(kind)?;
    context.print(&format!("{token}  {}. It is secret, and dies when its kind is replaced.\n", allows(kind)))
}
