//! The `datactl` program beside a kernel's end of the line: what it prints, and the status that it ends with.

mod kernel;
#[path = "../../../xtask/src/schema_check.rs"]
mod schema_check;

use kernel::{Faults, Kernel};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

fn program(kernel: &Kernel, token: &str, words: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_datactl"));
    program.arg("--socket").arg(&kernel.path).args(words).env("AUTON_TOKEN", token);
    program
}

fn run(kernel: &Kernel, token: &str, words: &[&str]) -> Output {
    program(kernel, token, words).output().unwrap()
}

fn admin(kernel: &Kernel, words: &[&str]) -> Output {
    run(kernel, &kernel.admin, words)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that succeeds prints.
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

/// What a command that fails with this status says.
fn failed(output: Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The JSON lines, each of which keeps to the schema.
fn lines(output: &Output) -> Vec<Value> {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/schemas/datactl.schema.json")).unwrap();
    let lines = stdout(output);
    lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(schema_check::check(&line, &schema), Ok(()), "{line}");
            line
        })
        .collect()
}

/// The one JSON line.
fn json(output: &Output) -> Value {
    let [line] = &lines(output)[..] else { panic!("not one line: {output:?}") };
    line.clone()
}

#[test]
fn what_needs_no_token() {
    let kernel = Kernel::start("plain", Faults::default());
    assert!(printed(run(&kernel, "", &["ping"])).starts_with("answered in "));
    let status = printed(run(&kernel, "", &["status"]));
    assert!(status.contains("512 MiB free of 1024 MiB") && status.contains("SmolLM2 (ready)"), "{status}");
    let status = json(&run(&kernel, "", &["status", "--json"]));
    assert_eq!((&status["ok"], &status["status"]["cpus"]), (&Value::Bool(true), &Value::from(2)));
}

#[test]
fn an_answer_whole_and_streamed() {
    let kernel = Kernel::start("infer", Faults::default());
    let ask = |words: &[&str]| run(&kernel, &kernel.submit, words);
    assert_eq!(printed(ask(&["infer", "one two three"])), "one two three\n");
    let streamed = ask(&["infer", "one two three", "--stream", "--max-tokens", "2"]);
    assert!(String::from_utf8_lossy(&streamed.stderr).contains("ended: max-tokens"));
    assert_eq!(printed(streamed), "one two \n");
    let answer = json(&ask(&["infer", "üben macht", "--json"]));
    assert_eq!((&answer["answer"], &answer["tokens"]), (&Value::from("üben macht"), &Value::from(2)));
    let events = lines(&ask(&["infer", "a b", "--stream", "--json"]));
    let names: Vec<_> = events.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["ack", "chunk", "chunk", "result"]);
    assert_eq!((&events[2]["sequence"], &events[2]["text"]), (&Value::from(1), &Value::from("b")));
    assert_eq!(printed(ask(&["infer", "forever", "--wait-ack"])), "acknowledged: request 5\n");
}

#[test]
fn an_answer_that_is_not_complete() {
    let kernel = Kernel::start("incomplete", Faults::default());
    let ask = |words: &[&str]| run(&kernel, &kernel.submit, words);
    assert!(failed(ask(&["infer", "late"]), 6).contains("deadline"));
    let late = ask(&["infer", "late", "--json"]);
    assert_eq!((late.status.code(), json(&late)["reason"].as_str()), (Some(6), Some("deadline")));
    assert!(failed(ask(&["infer", "break"]), 5).contains("broke"));
    // The answer was begun: it is not asked for again.
    let begun = kernel.begun.load(Ordering::SeqCst);
    failed(ask(&["infer", "break", "--retries", "3"]), 5);
    assert_eq!(kernel.begun.load(Ordering::SeqCst), begun + 1);
    assert!(failed(ask(&["infer", "forever", "--timeout", "0.3"]), 7).contains("--timeout"));
}

#[test]
fn ctrl_c_cancels_in_the_kernel() {
    let kernel = Kernel::start("interrupt", Faults::default());
    let child = program(&kernel, &kernel.submit, &["infer", "forever", "--stream", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while kernel.begun.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = child.wait_with_output().unwrap();
    let events = lines(&output);
    assert_eq!(
        (output.status.code(), events.last().unwrap()["reason"].as_str()),
        (Some(6), Some("cancelled"))
    );
}

#[test]
fn refusals_are_told() {
    let kernel = Kernel::start("refused", Faults::default());
    assert!(failed(run(&kernel, &kernel.submit, &["infer", "busy"]), 1).contains("the queue is full"));
    let busy = run(&kernel, &kernel.submit, &["infer", "busy", "--json"]);
    let busy = json(&busy);
    assert_eq!((busy["reason"].as_str(), busy["retry_after_ms"].as_u64()), (Some("busy"), Some(50)));
    assert!(failed(run(&kernel, &kernel.submit, &["load"]), 1).contains("weak"));
    assert!(failed(run(&kernel, &kernel.submit, &["load", "--wait-ack"]), 1).contains("weak"));
    assert!(failed(admin(&kernel, &["finetune", "corpus"]), 1).contains("unsupported"));
    for left in (0..5).rev() {
        let denied = failed(run(&kernel, "0100000000000bad", &["metrics"]), 1);
        assert!(denied.contains("denied") && !denied.contains("bad"), "{left}: {denied}");
    }
    assert!(failed(admin(&kernel, &["metrics"]), 1).contains("locked-out"));
}

#[test]
fn the_command_line_and_the_token() {
    let kernel = Kernel::start("usage", Faults::default());
    assert!(failed(run(&kernel, "nonsense", &["infer", "x"]), 2).contains("hexadecimal"));
    assert!(failed(run(&kernel, "", &["infer", "x"]), 2).contains("needs a token"));
    let without = program(&kernel, "", &["infer", "x"]).env_remove("AUTON_TOKEN").output().unwrap();
    assert!(failed(without, 2).contains("needs a token"));
    failed(run(&kernel, "", &["sing"]), 2);
    let nowhere = Command::new(env!("CARGO_BIN_EXE_datactl")).arg("ping").output().unwrap();
    assert!(failed(nowhere, 2).contains("--socket"));
    let file = kernel.path.with_extension("token");
    std::fs::write(&file, format!("{}\n", kernel.submit)).unwrap();
    let file = file.to_string_lossy();
    assert_eq!(printed(run(&kernel, "nonsense", &["infer", "hi", "--token-file", &file])), "hi\n");
    failed(admin(&kernel, &["upload", "/no/such/file"]), 8);
}

#[test]
fn lines_that_fail() {
    let nobody =
        Command::new(env!("CARGO_BIN_EXE_datactl")).args(["--socket", "/no/socket", "ping"]).output();
    assert!(failed(nobody.unwrap(), 3).contains("is the kernel running"));
    let deaf = Kernel::start("deaf", Faults { deaf: 2, closed: 1, ..Faults::default() });
    let quick = ["--ack-timeout", "0.1", "ping"];
    assert!(failed(run(&deaf, "", &quick), 4).contains("100ms"));
    // The second is deaf, too, the third closes, the fourth answers.
    assert!(printed(run(&deaf, "", &[&quick[..], &["--retries", "2"]].concat())).starts_with("answered"));
    let closed = Kernel::start("closed", Faults { closed: 1, ..Faults::default() });
    assert_eq!(json(&run(&closed, "", &["ping", "--json"]))["error"], "broken");
    // Nothing was acknowledged on the first connection: the inference is asked for again.
    let closed = Kernel::start("closed-infer", Faults { closed: 1, ..Faults::default() });
    assert_eq!(printed(run(&closed, &closed.submit, &["infer", "hi", "--retries", "1"])), "hi\n");
}

#[test]
fn audit_and_metrics_come_in_pieces() {
    let kernel = Kernel::start("pages", Faults::default());
    let records = json(&admin(&kernel, &["audit", "--last", "120", "--json"]));
    let numbers: Vec<_> = records["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (11..=130).collect::<Vec<u64>>());
    let table = printed(admin(&kernel, &["audit", "--last", "1000"]));
    assert_eq!(table.lines().count(), 131);
    assert!(table.contains("busy") && table.contains("010"));
    assert_eq!(
        printed(run(&kernel, &kernel.submit, &["metrics"])),
        "# HELP speed café\nspeed 1\n".repeat(200)
    );
    json(&run(&kernel, &kernel.submit, &["metrics", "--json"]));
}

#[test]
fn a_model_is_sent_and_loaded_though_the_line_breaks() {
    let faults = Faults { upload_breaks_at: Some(50_000), ..Faults::default() };
    let kernel = Kernel::start("upload", faults);
    let content: Vec<u8> =
        (0..100_000u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()[..2].to_vec()).collect();
    let file = kernel.path.with_extension("gguf");
    std::fs::write(&file, &content).unwrap();
    let name = file.to_string_lossy();
    failed(admin(&kernel, &["upload", &name]), 5);
    let there = kernel.uploaded.lock().unwrap().len();
    assert!(there > 0 && there <= 50_000);
    let sent = json(&admin(&kernel, &["upload", &name, "--load", "--json"]));
    assert_eq!((&sent["bytes"], &sent["text"]), (&Value::from(200_000), &Value::from("stored; loaded")));
    assert_eq!(*kernel.uploaded.lock().unwrap(), content);
    assert!(failed(admin(&kernel, &["load", "missing"]), 6).contains("no such model"));
    assert_eq!(printed(admin(&kernel, &["load", "missing", "--wait-ack"])), "acknowledged\n");
}

#[test]
fn completion_and_man_page() {
    for shell in ["bash", "zsh", "fish"] {
        let script =
            Command::new(env!("CARGO_BIN_EXE_datactl")).args(["completion", shell]).output().unwrap();
        assert!(printed(script).contains("--wait-ack") || shell == "fish");
    }
    let page = printed(Command::new(env!("CARGO_BIN_EXE_datactl")).arg("man").output().unwrap());
    assert!(page.contains(".TH datactl") && page.contains("Exit status"));
}
