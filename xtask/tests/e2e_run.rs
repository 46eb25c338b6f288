//! `cargo run` fed from a pipe: every line runs, and an end that the lines ask for is success.

mod common;

use common::without_model;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use xtask::file_lock::FileLock;
use xtask::workspace::Workspace;

/// Runs the machine without a model with `input` as its standard input; how it ended and what it printed.
fn piped(input: &[u8]) -> Output {
    without_model(); // built here, so that the lock is not held for it
    let lock = Workspace::find().auton_dir().unwrap().join("guest.lock");
    let _alone = FileLock::acquire(&lock, "running another guest").unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("run")
        .env("AUTON_MODEL", "none")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(input).unwrap();
    run.wait_with_output().unwrap()
}

#[test]
fn a_line_may_end_the_machine() {
    for input in ["echo one; poweroff\necho two\n", "echo one;reboot"] {
        let output = piped(input.as_bytes());
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{input:?}: {errors}\n{printed}");
        assert!(printed.contains("\none\r\n"), "{input:?}:\n{printed}");
        assert!(!printed.contains("\ntwo\r\n"), "{input:?}: typed into a machine that was off:\n{printed}");
    }
}

#[test]
fn a_byte_that_is_no_utf8_loses_no_line() {
    let output = piped(b"echo one\r\necho a\xffb\n\necho two");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{printed}", String::from_utf8_lossy(&output.stderr));
    for wanted in ["\none\r\n", "\na\u{fffd}b\r\n", "\ntwo\r\n"] {
        assert!(printed.contains(wanted), "no {wanted:?} in\n{printed}");
    }
}
