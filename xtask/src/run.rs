//! `cargo run`: the kernel in QEMU, on the terminal or fed from a pipe.

use crate::guest::Guest;
use crate::qemu::{Exit, Machine};
use crate::qmp::ShutdownWatch;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, IsTerminal};
use std::time::Duration;

/// How long a boot may take before it counts as hung.
const BOOT: Duration = Duration::from_secs(180);
/// How long a single command may take: a long answer under emulation, with room to spare.
const COMMAND: Duration = Duration::from_secs(3600);
/// How long the machine may take to switch itself off.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Runs `machine` to its end: on the terminal where standard input is one, else with the commands that come from
/// standard input.
pub fn run(machine: &Machine) -> Result<()> {
    if std::io::stdin().is_terminal() {
        on_terminal(machine)
    } else {
        with_commands(machine, std::io::stdin().lock())
    }
}

/// The guest's serial line on our terminal. Ctrl-A X ends QEMU, Ctrl-A H shows what else it understands.
fn on_terminal(machine: &Machine) -> Result<()> {
    let mut qemu = machine.command()?;
    qemu.args(["-serial", "mon:stdio"]);
    machine.add_control_socket(&mut qemu);
    let watch = ShutdownWatch::attach(&mut qemu)?;
    eprintln!("Ctrl-A X leaves QEMU");
    // QEMU sets the terminal to raw mode; should it be killed, nobody else would set it back.
    let terminal = std::io::stdin();
    let settings = rustix::termios::tcgetattr(&terminal).ok();
    let status = qemu.status().context("QEMU cannot be started");
    if let Some(settings) = settings {
        let _ = rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &settings);
    }
    match Exit::new(status?, watch.reason()) {
        Exit::PoweredOff | Exit::Stopped | Exit::DebugSuccess => Ok(()),
        Exit::Reset => {
            eprintln!("{}", Exit::Reset);
            Ok(())
        }
        exit => bail!("{exit}"),
    }
}

/// Types the lines of `commands`, each when the prompt is back, so that none is lost; after the last, `poweroff`.
pub fn with_commands(machine: &Machine, commands: impl BufRead) -> Result<()> {
    let mut guest = Guest::start_with_echo(machine)?;
    guest.wait_for_prompt(BOOT).map_err(brief).context("the kernel did not reach its prompt")?;
    let mut last = ("poweroff", Exit::PoweredOff);
    for line in commands.lines() {
        let line = line.context("standard input cannot be read")?;
        match line.trim() {
            "" => {}
            "poweroff" => break,
            "reboot" => {
                last = ("reboot", Exit::Reset);
                break;
            }
            _ => {
                guest.command(&line, COMMAND).map_err(brief)?;
            }
        }
    }
    let (command, expected) = last;
    guest.type_line(command)?;
    let exit = guest.wait_for_exit(SHUTDOWN).map_err(brief)?;
    if exit != expected {
        bail!("{exit}");
    }
    Ok(())
}

/// The first line of an error: what the guest printed is on standard output already.
fn brief(error: anyhow::Error) -> anyhow::Error {
    let text = error.to_string();
    anyhow::anyhow!("{}", text.lines().next().unwrap_or_default().trim_end_matches("; it printed:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_piped_run_is_one_line() {
        let long =
            anyhow::anyhow!("QEMU failed with exit status 1 before \"x\" came; it printed:\nlots\nof lines");
        assert_eq!(brief(long).to_string(), "QEMU failed with exit status 1 before \"x\" came");
    }
}
