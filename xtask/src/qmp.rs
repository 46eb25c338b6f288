//! Asks QEMU why the guest stopped, over its machine protocol (QMP).
//!
//! QEMU's exit status is 0 after a power-off and, with `-no-reboot`, after a triple fault as well. Its `SHUTDOWN`
//! event says which it was.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// Why QEMU shut the machine down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The guest asked for it by ACPI.
    GuestShutdown,
    /// The guest was reset, by itself or by a triple fault.
    GuestReset,
    /// The user, a signal, or anything else.
    Other,
}

/// Listens to one QEMU from its start to its end.
#[derive(Debug)]
pub struct ShutdownWatch {
    socket: PathBuf,
    listener: Option<JoinHandle<Option<Reason>>>,
}

impl ShutdownWatch {
    /// Adds the option that makes QEMU report, and listens.
    pub fn attach(qemu: &mut Command) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("auton-qmp-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&socket); // left by a process that had our number and was killed
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("{} cannot be created", socket.display()))?;
        qemu.arg("-qmp").arg(format!("unix:{}", socket.display()));
        let listener =
            std::thread::spawn(move || listener.accept().ok().and_then(|(stream, _)| last_reason(stream)));
        Ok(Self { socket, listener: Some(listener) })
    }

    /// The reason, once QEMU has exited; `None` where it gave none.
    pub fn reason(mut self) -> Option<Reason> {
        // Where QEMU died before it connected, this ends the wait for it.
        drop(UnixStream::connect(&self.socket));
        self.listener.take()?.join().ok()?
    }
}

impl Drop for ShutdownWatch {
    fn drop(&mut self) {
        drop(UnixStream::connect(&self.socket));
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Reads events until QEMU hangs up.
fn last_reason(mut stream: UnixStream) -> Option<Reason> {
    stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n").ok()?;
    BufReader::new(stream).lines().map_while(Result::ok).filter_map(|line| reason_in(&line)).last()
}

/// The reason in one line of the protocol, where it is a `SHUTDOWN` event.
fn reason_in(line: &str) -> Option<Reason> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message["event"] != "SHUTDOWN" {
        return None;
    }
    Some(match message["data"]["reason"].as_str() {
        Some("guest-shutdown") => Reason::GuestShutdown,
        Some("guest-reset") => Reason::GuestReset,
        _ => Reason::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shutdown_event_is_read() {
        let event = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(reason_in(event), Some(Reason::GuestReset));
        assert_eq!(
            reason_in(r#"{"event": "SHUTDOWN", "data": {"reason": "host-signal"}}"#),
            Some(Reason::Other)
        );
        assert_eq!(reason_in(r#"{"return": {}}"#), None);
        assert_eq!(reason_in("no json"), None);
    }

    #[test]
    fn a_qemu_that_never_connects_is_not_waited_for() {
        let mut command = Command::new("true");
        let watch = ShutdownWatch::attach(&mut command).unwrap();
        assert_eq!(watch.reason(), None);
    }
}
