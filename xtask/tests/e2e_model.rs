//! The language model in the booted kernel: the same tokens on every machine and on the host, and what happens where
//! there is no good model.

mod common;

use common::damaged::damaged_models;
use common::{ANSWER, COMMAND, QUESTION, boot, power_off, with_model, without_model};
use llm::{
    clock::StdClock,
    engine::{Engine, Flow, LoadOptions, Origin},
    gguf::Gguf,
    pool::Pool,
    sample::Sampling,
    threads::Threads,
    tokenizer::Special,
};
use std::io::Write;
use std::process::{Command, Stdio};
use xtask::guest::Guest;
use xtask::model::fetch;
use xtask::qemu::Machine;

/// `cargo run --release` with commands on standard input is this program with no arguments.
#[test]
fn commands_can_be_piped_in() {
    // Before the clock of anything runs: QEMU, the model, the kernel.
    let machine = with_model();
    let turn = Guest::start_alone(&machine).unwrap();
    drop(turn);
    let mut program = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .env_remove("AUTON_MODEL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let commands = "slm query \"PCI device 8086:10d3 is\" --max-tokens 40\npoweroff\n";
    program.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{text}", output.status);
    let answer = text.split("Shell> ").nth(1).unwrap_or_default();
    assert!(answer.contains("Intel") && answer.contains("82574L") && answer.contains("[neural"), "{text}");
}

/// A kernel that panics must not look like success.
#[test]
fn a_panic_fails_a_piped_run() {
    drop(without_model());
    let mut program = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .env("AUTON_MODEL", "none")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(b"selftest panic\n").unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.lines().last().unwrap_or_default().contains("panicked"), "{errors}");
}

#[test]
fn golden_prompts_give_the_hosts_tokens() {
    let (mut guest, _) = boot(&with_model());
    let output = guest.command("selftest golden", ANSWER).unwrap();
    power_off(guest);
    // The second answer is complete after 29 tokens: then comes the end of the text.
    for (name, text, tokens) in
        [("g1_raw_pci", "PCI device 8086:10d3 is", 32), ("g3_raw_france", "The capital of France is", 29)]
    {
        let prefix = format!("golden {name} ");
        let line = output.lines().find_map(|line| line.strip_prefix(&prefix));
        let line = line.unwrap_or_else(|| panic!("no line {prefix:?} in\n{output}"));
        let in_kernel: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(in_kernel.len(), tokens, "{name}");
        assert_eq!(in_kernel, greedy_on_host(text, 32), "{name}");
    }
}

#[test]
fn every_machine_gives_the_same_answer() {
    let standard = with_model();
    let machines = [
        ("2 CPUs, 1 GiB", standard.clone()),
        ("1 CPU", Machine { cpus: 1, ..standard.clone() }),
        ("4 CPUs, 4 GiB", Machine { cpus: 4, memory: "4G".to_owned(), ..standard.clone() }),
        ("512 MiB", Machine { memory: "512M".to_owned(), ..standard.clone() }),
        ("qemu64, SSE2 only", Machine { cpu_model: "qemu64".to_owned(), ..standard.clone() }),
        // The model as ramdisk, for a kernel without one.
        ("-initrd", Machine { initrd: Some(fetch::fetch().unwrap()), ..without_model() }),
    ];
    let mut first = None;
    for (name, machine) in machines {
        let (mut guest, log) = boot(&machine);
        let cpus = guest.json("uptime --json", COMMAND).unwrap()["cpus_online"].as_u64();
        assert_eq!(cpus, Some(machine.cpus.into()), "{name}:\n{log}");
        let reply = guest.json(QUESTION, ANSWER).unwrap();
        let answer = reply["answer"].as_str().unwrap_or_default().to_owned();
        assert!(!answer.is_empty() && reply["model_tokens"] == 10, "{name}: {reply}");
        assert_eq!(&answer, first.get_or_insert(answer.clone()), "{name}");
        let provided = guest.json("slm status --json", COMMAND).unwrap()["model"]["provided_by"].clone();
        assert_eq!(provided, if machine.initrd.is_some() { "ramdisk" } else { "embedded" }, "{name}");
        power_off(guest);
    }
}

/// A grammar says what an answer may be, for the model alone; what is no grammar is refused in a sentence.
#[test]
fn an_answer_is_held_to_its_grammar() {
    let (mut guest, _) = boot(&with_model());
    let grammar = |text: &str, question: &str| format!("slm query --grammar '{text}' \"{question}\" --json");
    let reply = guest.json(&grammar("root ::= \"yes\" | \"no\"", "Is Linux a kernel?"), ANSWER).unwrap();
    let answer = reply["answer"].as_str().unwrap_or_default().to_owned();
    assert!(["yes", "no"].contains(&answer.as_str()), "{reply}");
    assert_eq!((&reply["stop"], &reply["backend"]), (&"end".into(), &"neural".into()), "{reply}");

    // Without a grammar a record would answer this.
    let device = grammar("root ::= [0-9]{4} \":\" [0-9a-f]{4}", "PCI device 8086:10d3 is");
    let reply = guest.json(&device, ANSWER).unwrap();
    let answer = reply["answer"].as_str().unwrap_or_default().as_bytes().to_vec();
    assert!(answer.len() == 9 && answer[4] == b':', "{reply}");
    assert_eq!(reply["record_tokens"], 0, "{reply}");
    // The beginning of the prompt was read for the first question.
    assert!(reply["reused_tokens"].as_u64() > Some(0), "{reply}");

    let refused = guest.command("slm query --grammar 'root ::= a' x", COMMAND).unwrap();
    assert!(refused.contains("error: grammar, line 1, column 10: rule \"a\" is not defined"), "{refused}");

    let kept = guest.json("slm status --json", COMMAND).unwrap()["prefix_cache"].clone();
    let number = |name: &str| kept[name].as_u64().unwrap_or_else(|| panic!("no {name}: {kept}"));
    assert!(number("hit_percent") > 0, "{kept}");
    assert_eq!(number("live_tokens") + number("kept_tokens"), number("reused_tokens"), "{kept}");
    power_off(guest);
}

#[test]
fn with_too_little_memory_the_rule_engine_answers() {
    // The embedded model is 94 MiB: less than that and nothing could load the kernel at all.
    let (guest, log) = boot(&Machine { memory: "128M".to_owned(), ..with_model() });
    assert!(log.lines().any(|line| line.contains("SLM: ") && line.contains("MiB")), "{log}");
    rules_answer(guest);
}

/// The host's line and the kernel's are the same, and say what is wrong.
#[test]
fn damaged_models_are_refused_in_one_line() {
    for damaged in damaged_models() {
        let (name, clue) = (damaged.name, damaged.clue);
        let on_host = damaged.error_on_host();
        assert!(on_host.contains(clue), "{name}: no {clue:?} in {on_host:?}");
        let (guest, log) = boot(&Machine { initrd: Some(damaged.file()), ..without_model() });
        let wanted = format!("SLM: the model cannot be loaded: {on_host}");
        let lines = log.lines().filter(|line| line.trim_end().ends_with(&wanted)).count();
        assert_eq!(lines, 1, "{name}: lines that end with {wanted:?} in\n{log}");
        assert!(log.contains("using the rule engine"), "{name}:\n{log}");
        rules_answer(guest);
    }
}

#[test]
fn unloading_gives_every_byte_back() {
    let (mut guest, _) = boot(&with_model());
    let before = guest.json(QUESTION, ANSWER).unwrap();
    let pool = guest.json("slm status --json", COMMAND).unwrap()["pool"]["size"].as_u64().unwrap();
    let loaded = memory_in_use(&mut guest);
    guest.command("slm unload", COMMAND).unwrap();
    // The pool itself is gone: its memory is the page allocator's again.
    let unloaded = memory_in_use(&mut guest);
    assert!(unloaded + pool <= loaded, "{loaded} bytes in use before, {unloaded} after, the pool had {pool}");
    let answer = guest.command("slm query \"PCI device 8086:10d3 is\"", COMMAND).unwrap();
    assert!(answer.contains("82574L") && answer.contains("the rule engine answered"), "{answer}");
    guest.command("slm load", COMMAND).unwrap();
    let after = guest.json(QUESTION, ANSWER).unwrap();
    assert_eq!(before["answer"], after["answer"]);

    // From one unloaded state to the next nothing may stay behind but what the heap has grown by meanwhile.
    const HEAP_GROWTH: u64 = 64 << 10;
    guest.command("slm unload", COMMAND).unwrap();
    let baseline = memory_in_use(&mut guest);
    for round in 1..=3 {
        guest.command("slm load", COMMAND).unwrap();
        let loaded = memory_in_use(&mut guest);
        assert!(loaded >= baseline + pool, "round {round}: {baseline} bytes in use without, {loaded} with");
        guest.command("slm unload", COMMAND).unwrap();
        let again = memory_in_use(&mut guest);
        assert!(
            again <= baseline + HEAP_GROWTH,
            "round {round}: {baseline} bytes in use after one unload, {again} after another"
        );
    }
    power_off(guest);
}

fn memory_in_use(guest: &mut Guest) -> u64 {
    guest.json("free --json", COMMAND).unwrap()["memory"]["used"].as_u64().unwrap()
}

fn rules_answer(mut guest: Guest) {
    let reply = guest.json("slm query \"PCI device 8086:10d3 is\" --json", COMMAND).unwrap();
    assert_eq!(reply["backend"], "rules");
    assert!(reply["answer"].as_str().unwrap_or_default().contains("82574L"), "{reply}");
    power_off(guest);
}

fn greedy_on_host(text: &str, tokens: usize) -> Vec<u32> {
    let file = std::fs::read(fetch::fetch().unwrap()).unwrap();
    let mut memory = vec![0; 256 << 20];
    let (threads, clock) = (Threads::new(2), StdClock::new());
    let options = LoadOptions { context: Some(256), ..LoadOptions::default() };
    let gguf = Gguf::parse(&file).unwrap();
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    let mut prompt = Vec::new();
    engine.tokenizer().encode(text, Special::Parse, &mut prompt);
    let mut ids = Vec::new();
    engine
        .generate(&prompt, &[], &Sampling::greedy(), tokens, &mut |piece| {
            if piece.origin == Origin::Model {
                ids.push(piece.token);
            }
            Flow::Continue
        })
        .unwrap();
    ids
}
