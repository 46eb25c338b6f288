//! The commands of the inference service, over the real desk and a model that answers `A page is a piece of memory.`

mod common;
#[path = "../../xtask/src/schema_check.rs"]
mod schema_check;

use common::{Machine, output, session};
use llm::service::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const ANSWER: &str = "A page is a piece of memory.";

/// What a session prints, without prompts and echoes.
fn run(machine: &Machine, lines: &[&str]) -> Vec<String> {
    let outputs = lines.iter().map(|line| {
        let printed = session(machine, format!("{line}\r"));
        printed.strip_prefix(&format!("Shell> {line}\n")).expect("the line is echoed").to_string()
    });
    outputs.collect()
}

fn parsed(text: &str) -> Value {
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(text).expect("JSON")
}

/// Words of each line.
fn has_row(text: &str, row: &str) {
    let wanted: Vec<&str> = row.split_whitespace().collect();
    assert!(text.lines().any(|line| line.split_whitespace().eq(wanted.iter().copied())), "{row}: {text}");
}

#[test]
fn an_answer_as_a_whole() {
    let machine = Machine::new();
    let printed = run(&machine, &["llminfer what is a page --max-tokens 3", "llminfer x --json"]);
    let expected = "A page is\n[neural | 3 tokens | 10.0 tokens/s | first token after 100.00 ms | queued 100.00 ms | stopped at --max-tokens]\n";
    assert_eq!(printed[0], expected);
    let value = parsed(&printed[1]);
    let expected = json!({"id": 2, "answer": ANSWER, "end": "finished", "error": null, "prompt_tokens": 9, "record_tokens": 0,
        "reused_tokens": 0, "tokens": 8, "tokens_per_second": 10.0, "queued_ns": 100_000_000, "first_token_ns": 100_000_000,
        "total_ns": 800_000_000, "period_misses": 0});
    assert_eq!(value, expected);
    let state = machine.inference.borrow();
    assert_eq!((state.jobs[0].operation, state.jobs[0].chunk), (Operation::Infer, MAX_CHUNK));
}

#[test]
fn an_answer_in_chunks() {
    let printed = output("llmstream 'what is a page' --chunk 3");
    let expected = format!(
        "{ANSWER}\n[neural | 8 tokens | 10.0 tokens/s | first token after 100.00 ms | queued 100.00 ms | 3 chunks | jitter p99 100.00 ms]\n"
    );
    assert_eq!(printed, expected);
    let value = parsed(&output("llmstream 'what is a page' --chunk 3 --json"));
    let texts: Vec<&str> = value["chunks"]
        .as_array()
        .expect("chunks")
        .iter()
        .filter_map(|chunk| chunk["text"].as_str())
        .collect();
    assert_eq!(texts, ["A page is", " a piece of", " memory."]);
    assert_eq!(
        value["chunks"][1],
        json!({"sequence": 1, "tokens": 3, "at_ns": 600_000_000, "text": " a piece of"})
    );
    assert_eq!((&value["answer"], &value["jitter_p99_ns"]), (&json!(ANSWER), &json!(100_000_000)));
}

#[test]
fn options_reach_the_service() {
    let machine = Machine::new();
    session(
        &machine,
        "llmstream x --priority high --deadline-ms 1500 --temp 0.5 --seed=9 --top-k 3 --top-p=0.5 --repeat-penalty 1.5 --raw --grammar 'root ::= \"a\"' --chunk 7\r",
    );
    session(&machine, "llminfer x\r");
    let state = machine.inference.borrow();
    let job = &state.jobs[0];
    assert_eq!(
        (job.operation, job.priority, job.deadline_ns),
        (Operation::Stream, Priority::High, Some(1_500_000_000))
    );
    assert_eq!((job.chunk, &job.form, job.grammar.as_deref()), (7, &Form::Raw, Some("root ::= \"a\"")));
    let sampling = &job.sampling;
    assert_eq!((sampling.temperature, sampling.seed, sampling.top_k), (0.5, 9, 3));
    assert_eq!((sampling.top_p, sampling.repeat_penalty), (0.5, 1.5));
    let plain = &state.jobs[1];
    assert_eq!(
        (&plain.form, plain.sampling.temperature, plain.priority),
        (&Form::Chat, 0.0, Priority::Normal)
    );
}

#[test]
fn ctrl_c_cancels_a_stream_and_a_deadline_ends_one() {
    let machine = Machine::new();
    let printed = session(&machine, b"llmstream x; echo not\r\x03echo yes\r");
    assert!(
        printed.contains("| cancelled]\ninterrupted\n") && printed.ends_with("Shell> echo yes\nyes\n"),
        "{printed}"
    );
    assert!(!printed.contains("\nnot\n"), "{printed}");
    let late = run(&machine, &["llminfer x --deadline-ms 250", "llmstats --json", "llmjson"]);
    assert!(
        late[0].starts_with("A page\n[neural | 2 tokens") && late[0].contains("| stopped at its deadline]"),
        "{}",
        late[0]
    );
    let stats = parsed(&late[1]);
    assert_eq!((&stats["cancelled"], &stats["deadlines_missed"]), (&json!(1), &json!(1)));
    let entries = parsed(&late[2])["entries"].clone();
    let seen: Vec<(&str, u64)> = entries
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["op_name"].as_str().unwrap_or(""), entry["status"].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(seen, [("stream", 1), ("cancel", 1), ("infer", 4)]);
}

#[test]
fn requests_in_the_background() {
    let machine = Machine::new();
    let printed = run(
        &machine,
        &["llmstream x --background", "llminfer y --background --json", "llmpoll 1", "llmctl status"],
    );
    assert_eq!(printed[0], "request 1; `llmpoll 1` fetches its answer, `llmcancel 1` ends it\n");
    assert_eq!(printed[1], "{\"id\":2}\n");
    assert_eq!(printed[2], "[request 1 | queued | 0 new chunks]\n");
    has_row(&printed[3], "1 console stream normal queued 0/64 0 ns");
    has_row(&printed[3], "console 2 0 2 0 0");
    for _ in 0..3 {
        shell::Inference::sleep(&machine, Duration::ZERO);
    }
    let printed = run(
        &machine,
        &["llmpoll 1", "llmpoll 1 --json", "llmcancel 1", "llmcancel 2 --json", "llmctl status --json"],
    );
    assert_eq!(printed[0], "A page is\n[request 1 | running | 3 new chunks]\n");
    assert_eq!(
        parsed(&printed[1]),
        json!({"id": 1, "state": "running", "text": "", "chunks": 0, "outcome": null})
    );
    assert_eq!(printed[2], "request 1 ends; what it has made can be fetched\n");
    assert_eq!(parsed(&printed[3]), json!({"id": 2, "cancelled": true}));
    assert_eq!(parsed(&printed[4])["requests"][0]["state"], "running");
    shell::Inference::sleep(&machine, Duration::ZERO);
    let printed = run(&machine, &["llmpoll 1", "llmpoll 1", "llmpoll 2 --json", "llmcancel 2"]);
    assert_eq!(printed[0], "[request 1 | cancelled | 3 tokens | 10.0 tokens/s | 400.00 ms in all]\n");
    assert_eq!(
        printed[1],
        "error: there is no request 1 of yours; `llmctl status` lists those that are known\n"
    );
    let value = parsed(&printed[2]);
    assert_eq!((&value["text"], &value["outcome"]["end"]), (&json!("A page is"), &json!("cancelled")));
    assert!(printed[3].starts_with("error: there is no request 2"), "{}", printed[3]);
}

#[test]
fn a_full_service_says_so() {
    let machine = Machine::new();
    let lines = ["llminfer x --background"; 9];
    let printed = run(&machine, &lines);
    assert_eq!(
        printed[8],
        "error: 8 requests of this client are under way, as many as it may have; ask again when one has ended\n"
    );
    let printed = run(&machine, &["slm unload", "llminfer x", "llmctl audit --last 1"]);
    assert_eq!(printed[1], "error: no model is loaded; `llmctl load` loads it\n");
    // The first was refused, the eight under way failed with the model, and then this one.
    has_row(&printed[2], "10 100.000000 console infer 010 reject 1 0 - - no model");
}

#[test]
fn a_model_that_fails_and_one_that_commands_the_terminal() {
    let machine = Machine::new();
    machine.inference.borrow_mut().broken = true;
    let printed = run(&machine, &["llminfer x", "llmstream x --json", "llmgraph x"]);
    assert_eq!(printed[0], "error: the answer could not be completed: the model is broken\n");
    assert_eq!(parsed(&printed[1])["error"], "the answer could not be completed: the model is broken");
    assert_eq!(
        printed[2],
        "error: the graph ended at infer: the answer could not be completed: the model is broken\n"
    );

    let machine = Machine::new();
    machine.inference.borrow_mut().words =
        vec![b"a\x1b[2Jb\x07\xc3".to_vec(), b"\xa9\xff\nc\xe2\x82".to_vec()];
    let printed = run(&machine, &["llminfer x", "llmstream x", "llmgraph x --chunk 1"]);
    for answer in &printed[..2] {
        assert!(answer.starts_with("a[2Jb\u{e9}\u{fffd}\nc\u{fffd}\n[neural"), "{answer:?}");
    }
    let expected = "[LLM][GRAPH-OUT] chunk: a[2Jb\n[LLM][GRAPH-OUT] chunk: \u{e9}\u{fffd}\\nc\n[LLM][GRAPH-OUT] chunk: \u{fffd}\n";
    assert!(printed[2].starts_with(expected), "{:?}", printed[2]);
}

#[test]
fn loading() {
    let machine = Machine::new();
    let lines = [
        "llmctl load",
        "slm unload",
        "llmctl load other",
        "llmctl load --wcet-cycles 5000",
        "llmctl status",
        "slm unload",
        "llmctl load --wcet-cycles 0",
    ];
    let printed = run(&machine, &lines);
    assert_eq!(printed[0], "error: the model is loaded already; `slm unload` unloads it\n");
    assert_eq!(printed[2], "error: there is no model other; none was uploaded\n");
    assert_eq!(printed[3], "loaded SmolLM2-135M-Instruct in 0 ns; a token is given 5000 cycles\n");
    has_row(&printed[4], "Worst token 5000 cycles");
    assert_eq!(
        printed[6],
        "loaded SmolLM2-135M-Instruct in 0 ns; a token's worst case is what is measured\n"
    );
}

#[test]
fn a_budget_with_its_arithmetic() {
    let machine = Machine::new();
    let printed = run(
        &machine,
        &["llmctl budget", "llminfer x", "llmctl budget", "llmctl budget --max-tokens-per-period 4"],
    );
    assert_eq!(printed[0], "No budget: the model runs like any other thread; no token was made yet.\n");
    assert_eq!(
        printed[2],
        "No budget: the model runs like any other thread; the worst token so far took 100000000 cycles.\n"
    );
    let expected = "\
Budget        4 tokens in every 1.00 s
Worst case    125000000 cycles a token (measured + 25 %), 125.00 ms
Reserved      500.00 ms of every 1.00 s on each of 2 CPUs (50.00 %)
Arithmetic    4 tokens x 125000000 cycles / 1000000000 Hz = 500000000 ns of 1000000000 ns
";
    assert_eq!(printed[3], expected);
    let lines = [
        "llmctl budget --max-tokens-per-period 8",
        "llmctl budget --json",
        "llmctl budget --wcet-cycles 1000 --period-ns 2000 --max-tokens-per-period 3",
    ];
    let printed = run(&machine, &lines);
    assert_eq!(printed[0], "error: the CPUs have 900000000 ns left, not 1000000000\n");
    let expected = json!({"model": "SmolLM2-135M-Instruct", "budget": {"tokens": 4, "period_ns": 1_000_000_000, "wcet_cycles": 125_000_000,
        "wcet_measured": true, "token_ns": 125_000_000, "reserved_ns": 500_000_000, "reserved_ppm": 500_000, "cpus": 2,
        "cycles_per_second": 1_000_000_000}});
    assert_eq!(parsed(&printed[1]), expected);
    assert_eq!(
        printed[2],
        "error: 3 tokens of 1000 cycles are 3000 ns at 1000000000 cycles a second, longer than the period of 2000 ns; ask for fewer tokens or a longer period\n"
    );
    let printed = run(
        &machine,
        &["llmctl budget --wcet-cycles 50000000", "llmstats", "llmctl budget --off", "llmstats --json"],
    );
    assert!(printed[0].contains("50000000 cycles a token (given), 50.00 ms"), "{}", printed[0]);
    has_row(&printed[1], "det_admission_accepted 2");
    has_row(&printed[1], "det_admission_rejected 1");
    has_row(&printed[1], "det_admission_reserved_ppm 200000");
    assert!(printed[2].starts_with("No budget"), "{}", printed[2]);
    assert_eq!(parsed(&printed[3])["det_admission_reserved_ppm"], 0);
}

#[test]
fn a_stream_under_a_budget() {
    let machine = Machine::new();
    let lines = [
        "llmctl budget --wcet-cycles 1 --period-ns 400000000 --max-tokens-per-period 2",
        "llmctl pace burst",
        "llmctl pace --json",
        "llmstream x",
        "llmctl status",
        "llmctl status --json",
        "llmstats --json",
    ];
    let printed = run(&machine, &lines);
    assert_eq!(
        printed[1],
        "burst: the tokens of a period come as soon as the CPU allows, then none until the next one\n"
    );
    assert_eq!(printed[2], "{\"spread\":\"burst\"}\n");
    assert!(printed[3].starts_with(ANSWER), "{}", printed[3]);
    assert!(
        printed[4].contains("Spread        burst") && printed[4].contains("Periods       "),
        "{}",
        printed[4]
    );
    let status = parsed(&printed[5]);
    assert_eq!(
        (&status["spread"], &status["budget"]["tokens"], &status["pace"]["misses"]),
        (&json!("burst"), &json!(2), &json!(0))
    );
    let stats = parsed(&printed[6]);
    assert_eq!((&stats["llm_stream_chunks"], &stats["llm_stream_chunk_tokens"]), (&json!(8), &json!(8)));
    assert_eq!(
        (&stats["deterministic_deadline_miss_count"], &stats["first_token"]["count"]),
        (&json!(0), &json!(1))
    );
    assert_eq!((&stats["clients"][0]["tokens"], &stats["completed"]), (&json!(8), &json!(1)));
}

#[test]
fn the_audit_keeps_to_its_schema_and_has_no_prompt() {
    let machine = Machine::new();
    let lines = [
        "llminfer \"a secret prompt\"",
        "llmctl budget --wcet-cycles 1000 --max-tokens-per-period 9",
        "llmstream 'another secret' --max-tokens 2",
        "llmgraph 'third secret'",
        "slm unload",
        "llminfer secret",
        "llmctl load",
        "llmjson",
        "llmctl audit",
        "llmctl audit --json --last 2",
    ];
    let printed = run(&machine, &lines);
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/schemas/llmjson.schema.json")).expect("JSON");
    let (all, last) = (parsed(&printed[7]), parsed(&printed[9]));
    for document in [&all, &last] {
        schema_check::check(document, &schema).expect("it keeps to the schema");
    }
    assert!(!printed[7].contains("secret") && !printed[8].contains("secret"));
    let expected = json!({"number": 2, "ts_ns": 101_000_000_000u64, "client": 0, "op": 4, "op_name": "stream", "status": 1,
        "prompt_len": 14, "tokens": 2, "wcet_cycles": 1000, "period_ns": 1_000_000_000, "reason": ""});
    assert_eq!(all["entries"][1], expected);
    assert_eq!(all["entries"].as_array().map(Vec::len), Some(5));
    assert_eq!(
        (&all["written"], &last["entries"][0]["op_name"], last["entries"].as_array().map(Vec::len)),
        (&json!(5), &json!("infer"), Some(2))
    );
    has_row(
        &printed[8],
        "NUMBER TIME [s] CLIENT OPERATION STATUS PROMPT [B] TOKENS WCET [cycles] PERIOD WHY",
    );
    has_row(&printed[8], "2 101.000000 console stream 001 ok 14 2 1000 1.00 s");
    has_row(&printed[8], "4 101.800000 console infer 010 reject 6 0 1000 1.00 s no model");

    // Every operation that there is has its name and number in the schema.
    let properties = &schema["properties"]["entries"]["items"]["properties"];
    let names: Vec<&str> = Operation::ALL.iter().map(|op| op.name()).collect();
    let codes: Vec<u8> = Operation::ALL.iter().map(|op| *op as u8).collect();
    assert_eq!((&properties["op_name"]["enum"], &properties["op"]["enum"]), (&json!(names), &json!(codes)));
    let mut wrong = all.clone();
    wrong["entries"][0]["prompt"] = json!("a secret prompt");
    assert!(schema_check::check(&wrong, &schema).is_err());
}

#[test]
fn the_audit_is_exported() {
    let machine = Machine::new();
    let printed = run(&machine, &["llmctl audit", "llminfer x", "llmctl audit --export"]);
    assert_eq!(printed[0], "Nothing was asked of the service yet.\n");
    let exported = machine.inference.borrow().exported[0].clone();
    assert_eq!(parsed(&exported)["entries"][0]["op_name"], "infer");
    let expected = format!(
        "disk /audit/audit-1.json: {} bytes\nhost region: not written: it holds 16 bytes\n",
        exported.len()
    );
    assert_eq!(printed[2], expected);
    machine.inference.borrow_mut().disk = false;
    let printed = run(&machine, &["llmctl audit --export", "llmctl audit --export --last 3"]);
    assert_eq!(
        printed[0],
        "error: the audit was written nowhere: disk /audit/audit-1.json: not written: there is no disk; host region: not written: it holds 16 bytes\n"
    );
    assert_eq!(printed[1], "error: `--export` writes all of it; leave the other options out\n");
}

#[test]
fn a_graph_and_its_picture() {
    let machine = Machine::new();
    let printed = run(
        &machine,
        &[
            "graphctl show",
            "llmgraph 'go on' --chunk 2 --capacity 4",
            "graphctl show",
            "graphctl show --json",
        ],
    );
    let drawn = "\
The standard graph; none has run yet:

┌──────────┐        ┌───────┐        ┌────────────┐        ┌──────┐
│ tokenise │─ 0/8 ─→│ infer │─ 0/8 ─→│ detokenise │┈ 0/8 ┈→│ sink │
└──────────┘        └───────┘        └────────────┘        └──────┘
";
    assert!(printed[0].starts_with(drawn), "{}", printed[0]);
    let expected = "\
[LLM][GRAPH-OUT] chunk: A page
[LLM][GRAPH-OUT] chunk:  is a
[LLM][GRAPH-OUT] chunk:  piece of
[LLM][GRAPH-OUT] chunk:  memory.
[graph | 8 tokens | 10.0 tokens/s | 4 chunks out, 0 dropped]
";
    assert_eq!(printed[1], expected);
    assert!(
        printed[2].starts_with("The graph that ran last:\n")
            && printed[2].contains("│ infer │─ 1/4 ─→│ detokenise │"),
        "{}",
        printed[2]
    );
    let value = parsed(&printed[3]);
    assert_eq!((&value["ran"], &value["operators"][1]["made"]), (&json!(true), &json!(4)));
    let channel = json!({"capacity": 4, "high_water": 1, "waiting": 0, "passed": 4, "dropped": 0, "when_full": "drops"});
    assert_eq!(value["channels"][2], channel);
    assert_eq!(machine.inference.borrow().jobs[0].form, Form::Tokens(vec![2, 2]));
}

#[test]
fn a_slow_reader_s_drops_are_counted() {
    let machine = Machine::new();
    let printed =
        run(&machine, &["llmgraph x --chunk 1 --capacity 2 --sink-delay-ms 500 --json", "llmstats --json"]);
    let value = parsed(&printed[0]);
    let dropped = value["channels"][2]["dropped"].as_u64().expect("a number");
    let taken = value["operators"][3]["taken"].as_u64().expect("a number");
    assert!(dropped > 0 && dropped + taken == 8, "{value}");
    assert_eq!((&value["end"], &value["tokens"]), (&json!("finished"), &json!(8)));
    assert_eq!(parsed(&printed[1])["llm_graph_chunk_drop"], dropped);
}

/// A terminal at which Ctrl-C is pressed when it is asked for the n-th time.
struct Impatient {
    asked: u32,
    patience: u32,
    printed: String,
}

impl std::fmt::Write for Impatient {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.printed.push_str(text);
        Ok(())
    }
}

impl shell::Console for Impatient {
    fn read_byte(&mut self) -> u8 {
        shell::CTRL_C
    }
    fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> {
        None
    }
    fn interrupted(&mut self) -> bool {
        self.asked += 1;
        self.asked >= self.patience
    }
    fn clear_interrupt(&mut self) {}
}

#[test]
fn ctrl_c_in_the_middle() {
    for (words, patience, first) in [
        (["llmgraph", "x", "--chunk", "1"], 12, "[LLM][GRAPH-OUT] chunk: A\n"),
        (["llmstream", "x", "--chunk", "1"], 6, "A page"),
    ] {
        let machine = Machine::new();
        let mut console = Impatient { asked: 0, patience, printed: String::new() };
        let history = shell::reader::History::new(0);
        let end = shell::commands::execute(&words.map(String::from), &machine, &mut console, &history);
        assert_eq!(end, Err(shell::commands::CommandError::Interrupted));
        let printed = console.printed;
        assert!(printed.starts_with(first) && printed.contains("| cancelled]\n"), "{printed}");
        assert!(!printed.contains("memory"), "{printed}");
        let status = shell::Inference::inference_status(&machine);
        assert_eq!(
            (status.requests.len(), status.stats.cancelled),
            (0, 1),
            "it is over, and nothing of it is left"
        );
    }
    let machine = Machine::new();
    let printed = session(&machine, b"llmgraph x; echo not\r\x03llmctl status\r");
    assert!(printed.contains("[graph | 0 chunks out, 0 dropped]\ninterrupted\n"), "{printed}");
    assert!(!printed.contains("\nnot\n"), "{printed}");
    let printed = run(&machine, &["slm unload", "llmgraph x"]);
    assert!(
        printed[1].starts_with("error: the graph ended at tokenise: the neural model is not loaded"),
        "{}",
        printed[1]
    );
}

#[test]
fn keys() {
    let machine = Machine::new();
    let printed = run(
        &machine,
        &["ctlkey", "ctladmin", "ctlsubmit", "ctlembed submit", "ctlembed admin", "ctlembed admin"],
    );
    assert!(printed[0].starts_with("admin   03000000000000aa  allows everything"), "{}", printed[0]);
    assert!(
        printed[0].contains("submit  02000000000000bb  allows asking")
            && printed[0].contains("Both are secret."),
        "{}",
        printed[0]
    );
    assert!(printed[1].starts_with("03000000000000ab  allows everything"), "{}", printed[1]);
    assert!(printed[2].starts_with("02000000000000bc  allows asking"), "{}", printed[2]);
    assert!(
        printed[3].starts_with("02000000000010bc  ") && printed[4].starts_with("03000000000020ab  "),
        "{printed:?}"
    );
    assert_eq!(
        printed[5],
        "error: 2 tokens of this kind are embedded, as many as may be; rotate the kind, which ends them all\n"
    );
    machine.inference.borrow_mut().random = false;
    assert!(run(&machine, &["ctlkey"])[0].starts_with("error: this machine has no source of random numbers"));
    for command in ["ctlkey", "ctladmin", "ctlsubmit", "ctlembed admin"] {
        let said = output(&format!("{command} --json"));
        assert!(said.starts_with("error: ") && said.contains("has no option `--json`"), "{said}");
    }
}

#[test]
fn what_was_wrong_is_said_in_a_line() {
    for (wrong, why) in [
        ("llminfer", "`llminfer` needs more"),
        ("llminfer ' '", "the prompt is empty; write what the model is to answer"),
        ("llminfer x --max-tokens 0", "`--max-tokens` is a whole number from 1 to 100000, not `0`"),
        ("llminfer x --priority urgent", "`--priority` is one of low, normal, high, not `urgent`"),
        (
            "llminfer x --deadline-ms 0",
            "`--deadline-ms` is a number of milliseconds from 1 to 86400000, not `0`",
        ),
        ("llminfer x --temp NaN", "`--temp` is a number from 0 to 10, not `NaN`"),
        ("llminfer x --chunk 2", "`llminfer` has no option `--chunk`"),
        ("llmstream x --chunk 257", "`--chunk` is a whole number from 1 to 256, not `257`"),
        ("llmgraph x --chunk 65", "`--chunk` is a whole number from 1 to 64, not `65`"),
        ("llmgraph x --capacity 0", "`--capacity` is a whole number from 1 to 64, not `0`"),
        ("llmgraph x --sink-delay-ms 60001", "`--sink-delay-ms` is a number of milliseconds from 0 to 60000"),
        ("llmpoll x", "a request is a number such as 3, not `x`; `llmctl status` lists them"),
        ("llmpoll 0", "a request is a number such as 3, not `0`"),
        ("llmpoll 7", "there is no request 7 of yours"),
        ("llmcancel 4294967296", "a request is a number such as 3"),
        ("llmctl pace quick", "`llmctl pace` does not take `quick`; it takes even, burst"),
        (
            "llmctl budget --max-tokens-per-period 0",
            "`--max-tokens-per-period` is a whole number from 1 on, not `0`",
        ),
        ("llmctl budget --off --period-ns 3", "`--off` takes the budget away; leave the other options out"),
        ("llmctl audit --last 0", "`--last` is a whole number from 1 on, not `0`"),
        ("llmctl", "`llmctl` needs a subcommand: load, budget, pace, status, audit"),
        ("ctlembed root", "`ctlembed` does not take `root`; it takes admin, submit"),
        ("graphctl draw", "`graphctl` has no subcommand `draw`"),
    ] {
        let said = output(wrong);
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{wrong}: {said}");
        assert!(said.contains(why), "{wrong}: {said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_words_panic(words in prop::collection::vec(prop::sample::select(vec![
        "llminfer", "llmstream", "llmgraph", "llmpoll", "llmcancel", "llmctl", "budget", "pace", "status", "audit", "load", "graphctl",
        "show", "x", "1", "2", "--json", "--background", "--max-tokens", "--chunk", "--capacity", "--sink-delay-ms", "--period-ns",
        "--wcet-cycles", "18446744073709551615", "--last", "--export", "--raw", ";", "'", "é", "ctlembed", "admin", "llmstats",
    ]), 0..16)) {
        session(&Machine::new(), format!("{}\r", words.join(" ")));
    }
}
