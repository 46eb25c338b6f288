//! A running guest whose serial line we hold: expects output, types, sends single bytes, waits for the end.

use crate::file_lock::FileLock;
use crate::qemu::{Exit, Machine};
use crate::qmp::ShutdownWatch;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the shell prints when it waits for a line.
pub const PROMPT: &str = "Shell> ";

/// A QEMU process. Dropping it kills QEMU; dropping it in a panic prints what the guest had said.
#[derive(Debug)]
pub struct Guest {
    qemu: Child,
    keyboard: Option<ChildStdin>,
    console: Arc<Console>,
    watch: Option<ShutdownWatch>,
    /// How much of the transcript earlier calls have consumed.
    read: usize,
    started: Instant,
    /// Other guests wait while this is held.
    _turn: Option<FileLock>,
}

/// The error of a wait for output that the guest's end cut short.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// What was waited for.
    pub waited_for: String,
    /// What it printed instead.
    pub printed: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} before {} came; it printed:\n{}", self.exit, self.waited_for, self.printed)
    }
}

impl std::error::Error for Ended {}

/// What the guest has printed so far, filled by a thread that reads QEMU's output.
#[derive(Debug, Default)]
struct Console {
    state: Mutex<Transcript>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct Transcript {
    bytes: Vec<u8>,
    ended: bool,
}

impl Console {
    fn lock(&self) -> MutexGuard<'_, Transcript> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Starts QEMU with its serial line on pipes.
    pub fn start(machine: &Machine) -> Result<Self> {
        Self::start_with(machine, None, false)
    }

    /// As [`Guest::start`], and copies everything the guest prints to standard output as it comes.
    pub fn start_with_echo(machine: &Machine) -> Result<Self> {
        Self::start_with(machine, None, true)
    }

    /// As [`Guest::start`], after waiting until no other guest started by this function runs on this machine: two
    /// emulated guests on two CPUs would only slow one another down.
    pub fn start_alone(machine: &Machine) -> Result<Self> {
        let lock = Workspace::find().auton_dir()?.join("guest.lock");
        Self::start_with(machine, Some(FileLock::acquire(&lock, "running another guest")?), false)
    }

    fn start_with(machine: &Machine, turn: Option<FileLock>, echo: bool) -> Result<Self> {
        let mut command = machine.command()?;
        command.args(["-serial", "stdio", "-monitor", "none"]);
        let watch = ShutdownWatch::attach(&mut command)?;
        Self::spawn(command, Some(watch), turn, echo)
    }

    fn spawn(
        mut command: Command,
        watch: Option<ShutdownWatch>,
        turn: Option<FileLock>,
        echo: bool,
    ) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let started = Instant::now();
        let mut qemu = command.spawn().context("QEMU cannot be started")?;
        let keyboard = qemu.stdin.take();
        let mut output = qemu.stdout.take().context("QEMU has no output")?;
        let console = Arc::new(Console::default());
        let reader = Arc::clone(&console);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                if echo {
                    let mut stdout = std::io::stdout();
                    // Nobody to read it is no reason to stop the guest.
                    let _ = stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush());
                }
                reader.lock().bytes.extend_from_slice(&buffer[..n]);
                reader.grew.notify_all();
            }
            reader.lock().ended = true;
            reader.grew.notify_all();
        });
        Ok(Self { qemu, keyboard, console, watch, read: 0, started, _turn: turn })
    }

    /// Waits until the guest prints `text`, after what earlier calls have consumed; returns everything up to and
    /// including it. An error says what was printed instead; it is an [`Ended`] if the guest ended.
    pub fn expect(&mut self, text: &str, timeout: Duration) -> Result<String> {
        self.wait_until(timeout, &format!("{text:?}"), |unread| {
            find(unread, text.as_bytes()).map(|at| at + text.len())
        })
    }

    /// Waits until the shell waits for a line; returns what was printed before the prompt.
    pub fn wait_for_prompt(&mut self, timeout: Duration) -> Result<String> {
        let mut text = self
            .wait_until(timeout, "the shell's prompt", |unread| at_prompt(unread).then_some(unread.len()))?;
        text.truncate(text.rfind(PROMPT).unwrap_or(text.len()));
        Ok(text)
    }

    /// Types `line`, waits until the prompt is back, and returns what was printed in between, without the echo.
    pub fn command(&mut self, line: &str, timeout: Duration) -> Result<String> {
        self.skip_unread();
        self.type_line(line)?;
        let output = self.wait_until(timeout, &format!("the prompt after `{line}`"), |unread| {
            (unread.contains(&b'\n') && at_prompt(unread)).then_some(unread.len())
        })?;
        let output = after_echo(&output[..output.rfind(PROMPT).unwrap_or(output.len())], line);
        Ok(output.replace('\r', ""))
    }

    /// The JSON object that `line` (a command with `--json`) prints.
    pub fn json(&mut self, line: &str, timeout: Duration) -> Result<serde_json::Value> {
        let output = self.command(line, timeout)?;
        let object = output.find('{').map_or("", |start| &output[start..]);
        let value = serde_json::Deserializer::from_str(object).into_iter().next();
        value.and_then(Result::ok).with_context(|| format!("`{line}` printed no JSON object but:\n{output}"))
    }

    /// Types `line` and Enter.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.send(line.as_bytes())?;
        self.send(b"\r")
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let keyboard = self.keyboard.as_mut().context("the guest's serial line is closed")?;
        keyboard.write_all(bytes).and_then(|()| keyboard.flush()).context("QEMU no longer takes input")
    }

    /// Waits until QEMU has ended, and says how.
    pub fn wait_for_exit(&mut self, timeout: Duration) -> Result<Exit> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.qemu.try_wait()? {
                self.wait_for_output_end();
                return Ok(Exit::new(status, self.watch.take().and_then(ShutdownWatch::reason)));
            }
            if Instant::now() >= deadline {
                bail!("the guest still runs after {timeout:?}; it printed:\n{}", self.unread());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything that the guest has printed since its start.
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.console.lock().bytes).into_owned()
    }

    /// How many bytes the guest has printed since its start.
    pub fn printed(&self) -> usize {
        self.console.lock().bytes.len()
    }

    /// Time since QEMU was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes everything printed so far as read.
    pub fn skip_unread(&mut self) {
        self.read = self.printed();
    }

    fn unread(&self) -> String {
        String::from_utf8_lossy(&self.console.lock().bytes[self.read..]).into_owned()
    }

    fn wait_until(
        &mut self,
        timeout: Duration,
        what: &str,
        end: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let console = Arc::clone(&self.console);
        let mut state = console.lock();
        loop {
            if let Some(n) = end(&state.bytes[self.read..]) {
                let text = String::from_utf8_lossy(&state.bytes[self.read..self.read + n]).into_owned();
                self.read += n;
                return Ok(text);
            }
            let seen = || String::from_utf8_lossy(&state.bytes[self.read..]).into_owned();
            if state.ended {
                let seen = seen();
                drop(state);
                let exit = self.wait_for_exit(Duration::from_secs(10))?;
                return Err(Ended { exit, waited_for: what.to_owned(), printed: seen }.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what} did not come within {timeout:?}; the guest printed:\n{}", seen());
            }
            (state, _) = self.console.grew.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_for_output_end(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut state = self.console.lock();
        while !state.ended && Instant::now() < deadline {
            let wait = self.console.grew.wait_timeout(state, Duration::from_millis(100));
            (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if matches!(self.qemu.try_wait(), Ok(None)) {
            let _ = self.qemu.kill();
        }
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            eprintln!("--- the guest's transcript ---\n{}\n--- end ---", self.transcript());
        }
    }
}

/// Whether output that ends here ends in a prompt: the last line, without terminal escapes, is exactly the prompt.
fn at_prompt(output: &[u8]) -> bool {
    let last_line = output.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    without_escapes(last_line).trim_start_matches('\r') == PROMPT
}

/// Text without ANSI control sequences (`ESC [ … letter`).
pub fn without_escapes(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\x1b' {
            plain.push(c);
        } else if characters.next() == Some('[') {
            characters.by_ref().find(|c| ('@'..='~').contains(c));
        }
    }
    plain
}

/// What follows the echo of `line`, which the shell breaks into rows of the terminal's width.
fn after_echo<'a>(output: &'a str, line: &str) -> &'a str {
    let mut rest = output;
    for wanted in line.trim_end().chars() {
        match rest.trim_start_matches(['\r', '\n']).strip_prefix(wanted) {
            Some(after) => rest = after,
            None => return output.split_once('\n').map_or("", |(_echo, after)| after),
        }
    }
    rest.split_once('\n').map_or("", |(_, after)| after)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A shell script in QEMU's place.
    fn script(script: &str) -> Guest {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Guest::spawn(command, None, None, false).unwrap()
    }

    #[test]
    fn the_prompt_is_a_line_of_its_own() {
        assert!(at_prompt(b"boot\r\nShell> "));
        assert!(at_prompt(b"\r\n\r\x1b[KShell> "));
        assert!(!at_prompt(b"Shell> help"));
        assert!(!at_prompt(b"the prompt is Shell> "));
        assert!(!at_prompt(b"Shell> \r\n"));
    }

    #[test]
    fn the_echo_is_no_output() {
        assert_eq!(after_echo("uptime\r\n3 s\r\n", "uptime"), "3 s\r\n");
        assert_eq!(after_echo("slm que\r\nry\r\nanswer", "slm query"), "answer");
        assert_eq!(after_echo("hel\x08\x08x\r\nanswer", "help"), "answer");
        assert_eq!(after_echo("", "help"), "");
    }

    #[test]
    fn a_command_gives_its_output() {
        let mut guest =
            script(r#"printf 'hello\nShell> '; read line; printf "$line\r\nanswer\r\nShell> "; read end"#);
        assert_eq!(guest.wait_for_prompt(SOON).unwrap(), "hello\n");
        // A terminal would turn Enter into a newline; this script reads lines.
        guest.send(b"ask\n").unwrap();
        assert_eq!(guest.expect("answer", SOON).unwrap(), "ask\r\nanswer");
        guest.wait_for_prompt(SOON).unwrap();
    }

    #[test]
    fn an_early_end_is_an_error_with_the_output() {
        let mut guest = script("echo dying; exit 65");
        let error = guest.expect("never", SOON).unwrap_err();
        let ended = error.downcast_ref::<Ended>().unwrap();
        assert_eq!((ended.exit, ended.printed.as_str()), (Exit::DebugFailure, "dying\n"));
        let error = error.to_string();
        assert!(error.contains("panicked") && error.contains("dying"), "{error}");
    }

    #[test]
    fn a_wait_has_an_end() {
        let mut guest = script("sleep 60");
        let error = guest.expect("never", Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("did not come within"), "{error}");
        assert!(guest.wait_for_exit(Duration::from_millis(50)).is_err());
    }
}
