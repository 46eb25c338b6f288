//! Inference as a service: driven from outside by tokens, audited, and kept to its budget.

mod common;
#[path = "../src/schema_check.rs"]
mod schema_check;

use common::{ANSWER, COMMAND, boot, power_off, scratch, with_model, without_model};
use control::{Infer, Message, Priority, Reply, Token};
use datactl::{Address, Connection, Error};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use xtask::control_ports::{ControlPorts, Place};
use xtask::guest::Guest;
use xtask::model::fetch;
use xtask::qemu::Machine;
use xtask::workspace::Workspace;
use xtask::{disk, export_region};

/// A machine that is busy with other tests may be slower than the usual 2 s.
const PATIENCE: Duration = Duration::from_secs(60);
const QUESTION: &str = "What is virtual memory?";

/// A machine with the model, whose control plane is at sockets of this name and which exports to a file beside them.
fn machine(name: &str) -> (Machine, ControlPorts, PathBuf) {
    let ports = ControlPorts::new(Place::Socket(scratch().join(name)), 2).unwrap();
    let region = scratch().join(format!("{name}.export"));
    let machine =
        Machine { control: Some(ports.clone()), export_region: Some(region.clone()), ..with_model() };
    (machine, ports, region)
}

/// The tokens that the console shows: admin, submit.
fn keys(guest: &mut Guest) -> [Token; 2] {
    let shown = guest.command("ctlkey", COMMAND).unwrap();
    let token = |kind: &str| {
        let line = shown.lines().find(|line| line.starts_with(kind)).unwrap();
        Token::parse(line.split_whitespace().nth(1).unwrap()).unwrap()
    };
    [token("admin"), token("submit")]
}

fn datactl(socket: &Path, token: Token, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["datactl", "--ack-timeout", "60", "--socket"])
        .arg(socket)
        .env("AUTON_TOKEN", token.reveal().to_string())
        .args(arguments)
        .output()
        .unwrap()
}

fn connect(ports: &ControlPorts, port: u16) -> Connection {
    let address = Address::Socket(ports.path(port).unwrap());
    Connection::open(&address).unwrap().with_ack_timeout(PATIENCE)
}

/// The audit as `llmjson` prints it, checked against its schema.
fn audit(guest: &mut Guest) -> Vec<Value> {
    let json: Value = serde_json::from_str(&guest.command("llmjson", COMMAND).unwrap()).unwrap();
    let path = Workspace::find().root.join("docs/schemas/llmjson.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    schema_check::check(&json, &schema).unwrap();
    json["entries"].as_array().unwrap().clone()
}

/// (client, operation, status, reason) of an entry.
fn essence(entry: &Value) -> (u64, &str, u64, &str) {
    let number = |key: &str| entry[key].as_u64().unwrap();
    (
        number("client"),
        entry["op_name"].as_str().unwrap(),
        number("status"),
        entry["reason"].as_str().unwrap(),
    )
}

fn question(max_tokens: u32) -> Message {
    Message::Infer(Infer {
        max_tokens,
        chunk_tokens: 1,
        priority: Priority::Normal,
        stream: true,
        deadline_ms: 0,
        prompt: QUESTION.to_owned(),
    })
}

#[test]
fn a_host_loads_asks_and_finds_exactly_that_in_the_audit() {
    let (machine, ports, region) = machine("load.sock");
    let image = scratch().join("audit.img");
    let _ = std::fs::remove_file(&image);
    disk::make(&image, "64M").unwrap();
    let (mut guest, _) = boot(&Machine { disk: Some(image.clone()), ..machine });
    let [admin, submit] = keys(&mut guest);
    let socket = ports.path(0).unwrap();

    let loaded = datactl(&socket, admin, &["load"]);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let arguments = ["infer", QUESTION, "--stream", "--chunk", "3", "--max-tokens", "10"];
    let streamed = datactl(&socket, submit, &arguments);
    assert!(streamed.status.success(), "{}", String::from_utf8_lossy(&streamed.stderr));
    let streamed = String::from_utf8(streamed.stdout).unwrap();

    let entries = audit(&mut guest);
    let essence: Vec<_> = entries.iter().map(essence).collect();
    assert_eq!(essence, [(0, "load", 1, ""), (1, "load", 1, ""), (1, "stream", 1, "")]);
    let stream = &entries[2];
    assert_eq!(
        (stream["tokens"].as_u64(), stream["prompt_len"].as_u64()),
        (Some(10), Some(QUESTION.len() as u64))
    );
    // The same answer as at the console, word for word.
    let console = guest.json(&format!("llminfer \"{QUESTION}\" --max-tokens 10 --json"), ANSWER).unwrap();
    assert_eq!(streamed.trim_end(), console["answer"].as_str().unwrap().trim_end());

    // The export is the same document, where the host can read it: while the machine runs, and on its disk.
    let exported = guest.command("llmctl audit --export", COMMAND).unwrap();
    assert!(exported.contains("shared memory") && exported.contains("/audit/audit.json"), "{exported}");
    assert!(!exported.contains("not written"), "{exported}");
    let document: Value = serde_json::from_slice(&export_region::read(&region).unwrap()).unwrap();
    assert_eq!(document["entries"].as_array().unwrap()[..3], entries[..]);

    let passed = guest.command("selftest audit", ANSWER).unwrap();
    assert!(passed.contains("passed"), "{passed}");
    power_off(guest);
    disk::check(&image).unwrap();
    let on_disk: Value = serde_json::from_slice(&disk::read(&image, "/audit/audit.json").unwrap()).unwrap();
    assert_eq!(on_disk, document);
}

#[test]
fn bad_tokens_are_refused_and_audited() {
    let (machine, ports, _) = machine("tokens.sock");
    let (mut guest, _) = boot(&machine);
    let [admin, submit] = keys(&mut guest);
    let mut port = connect(&ports, 0);
    let mut refused = |message: &Message, token: Token| match port.ask(message, Some(token)) {
        Err(Error::Refused { reason, .. }) => reason.name(),
        other => panic!("{other:?}"),
    };
    let load = Message::Load { name: String::new(), wcet_cycles: 0 };
    let wrong = Token::from_bits(admin.to_bits() ^ 1);
    assert_eq!(refused(&load, wrong), "denied");
    assert_eq!(refused(&load, submit), "weak");
    guest.command("ctlsubmit", COMMAND).unwrap();
    assert_eq!(refused(&question(1), submit), "expired");
    // A frame that ends within its token.
    let mut short = Vec::new();
    control::frame::encode(0x11, u32::MAX, &submit.to_bits().to_le_bytes()[..5], &mut short).unwrap();
    port.send_bytes(&short).unwrap();
    let reply = port.next(u32::MAX, PATIENCE).unwrap();
    assert!(
        matches!(&reply, Some(Reply::Refused { reason, .. }) if reason.name() == "truncated"),
        "{reply:?}"
    );

    let entries = audit(&mut guest);
    let refusals: Vec<_> = entries.iter().map(essence).filter(|entry| entry.2 == 2).collect();
    let expected = [
        (1, "load", 2, "denied"),
        (1, "load", 2, "weak"),
        (1, "infer", 2, "expired"),
        (1, "infer", 2, "truncated"),
    ];
    assert_eq!(refusals, expected);

    // Guessing locks the port out, the right token too; the other port is served.
    drop(port);
    let mut port = connect(&ports, 0);
    let guesses: Vec<_> = (0..8)
        .map(|guess| port.ask(&load, Some(Token::from_bits(admin.to_bits() ^ guess ^ 0xff00))))
        .map(|result| matches!(result, Err(Error::Refused { reason, .. }) if reason.name() == "locked-out"))
        .collect();
    assert!(*guesses.last().unwrap() && !guesses[0], "{guesses:?}");
    let [admin, submit] = keys(&mut guest);
    let locked = port.ask(&question(1), Some(submit));
    assert!(
        matches!(&locked, Err(Error::Refused { reason, .. }) if reason.name() == "locked-out"),
        "{locked:?}"
    );
    connect(&ports, 1).ask(&load, Some(admin)).unwrap();
    power_off(guest);
}

#[test]
fn a_model_that_is_sent_is_loaded_and_answers() {
    let ports = ControlPorts::new(Place::Socket(scratch().join("upload.sock")), 2).unwrap();
    let (mut guest, _) = boot(&Machine { control: Some(ports.clone()), ..without_model() });
    let [admin, submit] = keys(&mut guest);
    let socket = ports.path(0).unwrap();
    let model = fetch::fetch().unwrap();

    // Something that is no model is refused, whole as it came, and changes nothing.
    let junk = scratch().join("junk.gguf");
    std::fs::write(&junk, vec![7; 100_000]).unwrap();
    let refused = datactl(&socket, admin, &["upload", junk.to_str().unwrap(), "--name", "junk", "--load"]);
    assert!(!refused.status.success());
    let arguments = ["upload", model.to_str().unwrap(), "--name", "sent", "--load"];
    assert!(!datactl(&socket, submit, &arguments).status.success(), "SUBMIT may not send models");
    let sent = datactl(&socket, admin, &arguments);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let mut port = connect(&ports, 1);
    let (id, _) = port.ask(&question(4), Some(submit)).unwrap();
    let end = loop {
        match port.next(id, ANSWER).unwrap().unwrap() {
            Reply::End(end) => break end,
            Reply::Chunk { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end.tokens, 4);
    let entries = audit(&mut guest);
    let uploads: Vec<_> = entries.iter().map(essence).filter(|entry| entry.2 == 1).collect();
    assert_eq!(uploads, [(1, "upload", 1, ""), (1, "load", 1, ""), (2, "stream", 1, "")]);
    power_off(guest);
}

#[test]
fn streams_of_two_ports_share_the_model_and_one_that_leaves_ends() {
    let (machine, ports, _) = machine("share.sock");
    let (mut guest, _) = boot(&machine);
    let [_, submit] = keys(&mut guest);
    let (mut first, mut second) = (connect(&ports, 0), connect(&ports, 1));
    let (one, _) = first.ask(&question(8), Some(submit)).unwrap();
    let (endless, _) = second.ask(&question(2000), Some(submit)).unwrap();
    // Both are under way at a time.
    assert!(matches!(second.next(endless, ANSWER).unwrap(), Some(Reply::Chunk { sequence: 0, .. })));
    let mut tokens = 0;
    let end = loop {
        match first.next(one, ANSWER).unwrap().unwrap() {
            Reply::Chunk { tokens: more, .. } => tokens += u32::from(more),
            Reply::End(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((tokens, end.tokens), (8, 8));
    drop(second);
    let gone = |guest: &mut Guest| {
        guest.json("llmctl status --json", COMMAND).unwrap()["requests"].as_array().map(Vec::len)
    };
    for _ in 0..100 {
        if gone(&mut guest) == Some(0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(gone(&mut guest), Some(0));
    let cancelled =
        audit(&mut guest).iter().map(essence).filter(|e| e.1 == "stream" && e.3 == "cancelled").count();
    assert_eq!(cancelled, 1);
    power_off(guest);
}

#[test]
fn a_budgeted_stream_keeps_its_tokens_beside_a_hog() {
    let machine = Machine { instruction_clock: true, ..with_model() };
    let (mut guest, _) = boot(&machine);
    let output = guest.command("selftest inference-budget", ANSWER).unwrap();
    assert!(output.contains("passed"), "{output}");
    let stats = guest.json("llmstats --json", COMMAND).unwrap();
    println!("{output}\n{stats}");
    power_off(guest);
}
