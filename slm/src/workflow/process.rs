//! One call of the tool as a process of its own: its output goes to a log, its cost is measured, Ctrl-C reaches it.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use wait4::Wait4;

use super::state::Usage;

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With exit status 0.
    Well,
    /// Otherwise; why, in a sentence.
    Badly(String),
    /// By an interrupt that was asked for.
    Interrupted,
}

/// The processes that run now, so that an interrupt reaches them all: each leads a group of its own, which a Ctrl-C on the
/// terminal does not reach by itself.
#[derive(Debug, Default)]
pub struct Running(Mutex<Processes>);

#[derive(Debug, Default)]
struct Processes {
    groups: Vec<Pid>,
    interrupts: u32,
}

impl Running {
    /// Asks all processes to end, with what they themselves have started; the second time, they are ended.
    pub fn interrupt(&self) {
        let mut processes = self.lock();
        processes.interrupts += 1;
        let signal = if processes.interrupts == 1 { Signal::INT } else { Signal::KILL };
        for group in &processes.groups {
            // It may have ended just now.
            let _ = kill_process_group(*group, signal);
        }
    }

    /// Whether [`Running::interrupt`] was called.
    pub fn interrupted(&self) -> bool {
        self.lock().interrupts > 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Processes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `program` with `arguments`; what it prints is added to `log`.
    pub fn call(&self, program: &Path, arguments: &[String], log: &Path) -> Result<(End, Usage)> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("the log {} cannot be written", log.display()))?;
        writeln!(file, "$ auton {}", arguments.join(" ")).context("the log cannot be written")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let started = Instant::now();
        let child = {
            // Held over the start, so that no process escapes an interrupt.
            let mut processes = self.lock();
            if processes.interrupts > 0 {
                return Ok((End::Interrupted, Usage::default()));
            }
            let child =
                command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
            processes.groups.extend(i32::try_from(child.id()).ok().and_then(Pid::from_raw));
            child
        };
        let id = child.id();
        let used = child.wait4().with_context(|| format!("{} cannot be waited for", program.display()))?;
        self.lock().groups.retain(|group| group.as_raw_nonzero().get().unsigned_abs() != id);
        let usage = Usage {
            wall_s: started.elapsed().as_secs_f64(),
            cpu_s: (used.rusage.utime + used.rusage.stime).as_secs_f64(),
            peak_rss_bytes: used.rusage.maxrss,
        };
        let end = match used.status.success() {
            true => End::Well,
            false if self.interrupted() => End::Interrupted,
            false => End::Badly(format!("{} ({})", last_words(log), used.status)),
        };
        Ok((end, usage))
    }
}

/// The last error in a log, or its last line.
fn last_words(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mut lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().take(50).find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| lines.next()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shell(running: &Running, script: &str, log: &Path) -> (End, Usage) {
        running.call(Path::new("/bin/sh"), &["-c".into(), script.into()], log).unwrap()
    }

    #[test]
    fn ends_and_costs_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let running = Running::default();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo said";
        let (end, usage) = shell(&running, busy, &log);
        assert_eq!(end, End::Well);
        assert!(usage.cpu_s > 0.01 && usage.wall_s > 0.01 && usage.peak_rss_bytes > 100_000, "{usage:?}");
        assert!(std::fs::read_to_string(&log).unwrap().ends_with("said\n"));
        let (end, _) = shell(&running, "echo 'error: the disk is full' >&2; echo more; exit 3", &log);
        assert_eq!(end, End::Badly("the disk is full (exit status: 3)".into()));
        assert!(running.call(Path::new("/no/such"), &[], &log).is_err());
    }

    #[test]
    fn an_interrupt_reaches_what_runs_and_what_would_start() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let running = Running::default();
        std::thread::scope(|scope| {
            // The shell waits for a program of its own, which must end too.
            let call = scope.spawn(|| shell(&running, "sleep 60; true", &log));
            while running.lock().groups.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(100));
            let asked = Instant::now();
            running.interrupt();
            assert_eq!(call.join().unwrap().0, End::Interrupted);
            assert!(asked.elapsed() < Duration::from_secs(10));
        });
        assert_eq!(shell(&running, "true", &log).0, End::Interrupted);
    }
}
