//! `cargo run`: the kernel in QEMU, on the terminal or fed from a pipe.

use crate::guest::{Ended, Guest, without_escapes};
use crate::qemu::{Exit, Machine};
use crate::qmp::ShutdownWatch;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
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
///
/// A reset ends QEMU (`-no-reboot`). What the guest printed tells which reset it was: after the kernel's [`RESTARTING`]
/// somebody asked for it, and QEMU starts again; any other is a fault, which is an error.
fn on_terminal(machine: &Machine) -> Result<()> {
    eprintln!("Ctrl-A X leaves QEMU");
    let log = ConsoleLog::new()?;
    loop {
        let exit = once_on_terminal(machine, &log)?;
        match after_terminal(exit, || restarting(&log.bytes()))? {
            Next::Restart => eprintln!("The machine restarts."),
            Next::End => return Ok(()),
        }
    }
}

/// One QEMU from its start to its end; what the guest prints goes to the terminal and to `log`.
fn once_on_terminal(machine: &Machine, log: &ConsoleLog) -> Result<Exit> {
    let mut qemu = machine.command()?;
    // What `-serial mon:stdio` means, with a copy of the output in a file.
    qemu.arg("-chardev").arg(format!("stdio,id=terminal,mux=on,signal=off,logfile={}", log.as_option()));
    qemu.args(["-serial", "chardev:terminal", "-mon", "chardev=terminal,mode=readline"]);
    let watch = ShutdownWatch::attach(&mut qemu)?;
    // QEMU sets the terminal to raw mode; should it be killed, nobody else would set it back.
    let terminal = std::io::stdin();
    let settings = rustix::termios::tcgetattr(&terminal).ok();
    let status = qemu.status().context("QEMU cannot be started");
    if let Some(settings) = settings {
        let _ = rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &settings);
    }
    Ok(Exit::new(status?, watch.reason()))
}

/// What follows the end of a QEMU on the terminal.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Restart,
    End,
}

/// `asked` says whether the guest's shell was told to restart the machine.
fn after_terminal(exit: Exit, asked: impl FnOnce() -> bool) -> Result<Next> {
    match exit {
        Exit::PoweredOff | Exit::Stopped | Exit::DebugSuccess => Ok(Next::End),
        Exit::Reset if asked() => Ok(Next::Restart),
        exit => bail!("{exit}"),
    }
}

/// What the kernel logs last before it restarts the machine.
const RESTARTING: &str = "] Power: restarting";

/// Whether the guest's output ends in a restart that was asked for.
fn restarting(output: &[u8]) -> bool {
    without_escapes(output).trim_end().ends_with(RESTARTING)
}

/// The file into which QEMU copies what the guest prints. Each start of QEMU empties it; dropping this removes it.
struct ConsoleLog(PathBuf);

impl ConsoleLog {
    fn new() -> Result<Self> {
        Ok(Self(Workspace::find().auton_dir()?.join(format!("console-{}.log", std::process::id()))))
    }

    /// Its path in an option of QEMU, where a comma is written twice.
    fn as_option(&self) -> String {
        self.0.display().to_string().replace(',', ",,")
    }

    /// What it holds: nothing where QEMU did not get as far as creating it.
    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.0).unwrap_or_default()
    }
}

impl Drop for ConsoleLog {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Types the lines of `commands`, each when the prompt is back, so that none is lost; after the last, `poweroff`.
/// Where a line switches the machine off or reboots it, the run ends there with success, and later lines are not
/// typed. Bytes that are no UTF-8 are typed as U+FFFD.
pub fn with_commands(machine: &Machine, commands: impl BufRead) -> Result<()> {
    let mut guest = Guest::start_with_echo(machine)?;
    guest.wait_for_prompt(BOOT).map_err(brief).context("the kernel did not reach its prompt")?;
    for line in commands.split(b'\n') {
        let line = line.context("standard input cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Err(error) = guest.command(line, COMMAND) {
            return if ended_as_asked(&error) { Ok(()) } else { Err(brief(error)) };
        }
    }
    guest.type_line("poweroff")?;
    let exit = guest.wait_for_exit(SHUTDOWN).map_err(brief)?;
    if !exit.powered_off() {
        bail!("{exit}");
    }
    Ok(())
}

/// Whether `error`, which waiting for a prompt gave, is an end that was asked for: a power-off, which only the shell can
/// cause, or a restart that the kernel announced (any other reset is a triple fault).
fn ended_as_asked(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Ended>().is_some_and(|ended| match ended.exit {
        Exit::PoweredOff => true,
        Exit::Reset => restarting(ended.printed.as_bytes()),
        _ => false,
    })
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

    #[test]
    fn a_reset_restarts_the_machine_only_if_it_was_asked_for() {
        assert_eq!(after_terminal(Exit::Reset, || true).unwrap(), Next::Restart);
        assert_eq!(after_terminal(Exit::PoweredOff, || true).unwrap(), Next::End);
        assert_eq!(after_terminal(Exit::Stopped, || false).unwrap(), Next::End);
        assert!(after_terminal(Exit::Reset, || false).is_err());
        assert!(after_terminal(Exit::DebugFailure, || true).is_err());
        assert!(after_terminal(Exit::Failed(Some(1)), || true).is_err());
    }

    #[test]
    fn a_restart_is_announced_by_the_last_line() {
        assert!(restarting(b"Shell> reboot\r\n[    3.200000] Power: restarting\r\n"));
        assert!(!restarting(b"[    3.200000] Power: restarting\r\n[    0.1] AUTON kernel booting...\r\n"));
        assert!(!restarting(b"Shell> slm query \"how do I reboot?\"\r\n"));
        assert!(!restarting(b""));
    }

    #[test]
    fn the_end_that_was_asked_for_is_no_error() {
        let after = |exit: Exit, printed: &str| {
            ended_as_asked(
                &Ended { exit, waited_for: "the prompt".to_owned(), printed: printed.to_owned() }.into(),
            )
        };
        assert!(after(Exit::PoweredOff, "bye"));
        assert!(after(Exit::Reset, "up 0:01\n[    3.200000] Power: restarting\n"));
        assert!(!after(Exit::Reset, "up 0:01\n"));
        assert!(!after(Exit::DebugFailure, "[    3.200000] Power: restarting\n"));
        assert!(!after(Exit::Stopped, ""));
        assert!(!after(Exit::Failed(Some(1)), "the guest powered off before "));
        assert!(!ended_as_asked(&anyhow::anyhow!("the guest powered off before the prompt came")));
    }
}
