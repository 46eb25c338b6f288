//! `auton run` as its user meets it when things go wrong: nothing to fetch from, an interrupt, two runs at once.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// `auton run` in `folder`, with the packages of a mirror at `mirror` and no cache of earlier ones.
fn auton(folder: &Path, mirror: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auton"));
    command.arg("run").args(arguments).arg("--run").arg(folder.join("run"));
    command
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("XDG_CACHE_HOME")
        .env_remove("AUTON_DEBS")
        .env("AUTON_DEBIAN_MIRROR", mirror);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one sentence of a failed run.
fn refusal(output: &Output) -> String {
    let errors = text(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    errors
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("error: "))
        .unwrap_or_else(|| panic!("{errors}"))
        .to_owned()
}

/// Name and state of every task.
fn states(folder: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder.join("run/workflow.json")).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    let tasks = state["tasks"].as_array().unwrap().iter();
    tasks.map(|task| ["name", "state"].map(|key| task[key].as_str().unwrap().to_owned()).into()).collect()
}

/// A mirror that takes connections and never answers.
fn silent_mirror() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/debian", listener.local_addr().unwrap());
    (listener, address)
}

/// Waits until the first task runs.
fn wait_until_it_works(folder: &Path, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !folder.join("run/log/data.log").exists() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "the run never began");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| auton(folder.path(), "http://127.0.0.1:9", arguments).output().unwrap();
    assert!(refusal(&run(&["--status"])).contains("there is no run in"));
    assert!(refusal(&run(&["--resume"])).contains("there is no run in"));
    assert!(refusal(&run(&["a goal", "--config", "huge"])).contains("huge"));
    assert_eq!(run(&[]).status.code(), Some(2), "a goal is needed");
    std::fs::write(folder.path().join("auton.toml"), "[endpoint]\nurl = 1\n").unwrap();
    assert!(refusal(&run(&["smoke"])).contains("auton.toml"));
    std::fs::remove_file(folder.path().join("auton.toml")).unwrap();
    std::fs::create_dir_all(folder.path().join("run")).unwrap();
    std::fs::write(folder.path().join("run/workflow.json"), "{").unwrap();
    assert!(refusal(&run(&["smoke"])).contains("--fresh"));
}

#[test]
fn a_failed_task_stops_the_rest_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output =
        auton(folder.path(), &format!("http://{nobody}/debian"), &["a smoke model"]).output().unwrap();
    let error = refusal(&output);
    assert!(error.contains("data (failed)") && error.contains("--resume"), "{error}");
    let states = states(folder.path());
    assert_eq!(states[0], ("data".to_owned(), "failed".to_owned()));
    assert!(states[1..].iter().all(|(_, state)| state == "blocked"), "{states:?}");
    let table = text(&output.stdout);
    assert!(table.contains("data failed: ") && table.contains("log/data.log"), "{table}");
    // Asked later, it says the same.
    let status = auton(folder.path(), "", &["--status"]).output().unwrap();
    assert!(status.status.success() && text(&status.stdout).contains("data failed: "), "{status:?}");
}

#[test]
fn an_interrupt_ends_it_soon_and_it_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (_mirror, address) = silent_mirror();
    let mut child = auton(folder.path(), &address, &["a smoke model"]).spawn().unwrap();
    wait_until_it_works(folder.path(), &mut child);
    // Two runs in one folder would write the same files.
    let second = auton(folder.path(), &address, &["a smoke model"]).output().unwrap();
    assert!(refusal(&second).contains("another `auton run` works in"));

    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert!(refusal(&output).starts_with("interrupted; "), "{}", refusal(&output));
    let states = states(folder.path());
    assert_eq!(states[0], ("data".to_owned(), "interrupted".to_owned()));
    assert!(states[1..].iter().all(|(_, state)| state == "waiting"), "{states:?}");

    // Resumed without its goal: it is known. Now nobody is there at all, which ends it.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resumed = auton(folder.path(), &format!("http://{nobody}/debian"), &["--resume"]).output().unwrap();
    assert!(refusal(&resumed).contains("data (failed)"), "{}", refusal(&resumed));
    assert!(text(&resumed.stdout).contains("a smoke model"));
}
