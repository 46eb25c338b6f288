//! `auton eval` on a run made in a moment: a model of random weights is bad at everything, and its report must say so, the
//! same each time.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::{Fixture, prose};
use indicatif::ProgressBar;
use slm::eval::held_out::Data;
use slm::eval::perplexity::by_model;
use slm::eval::subject::Subject;
use slm::run_folder::Split;

fn auton(fixture: &Fixture, arguments: &[&str]) -> Output {
    let run = fixture.path().to_str().unwrap();
    let (step, rest) = arguments.split_at(arguments.iter().take_while(|a| !a.starts_with("--")).count());
    Command::new(env!("CARGO_BIN_EXE_auton")).args(step).args(["--run", run]).args(rest).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A fixture with a test split, devices and an exported model.
fn run() -> Fixture {
    let fixture = Fixture::new();
    let prose = prose();
    let long: String = prose.chars().rev().take(3000).collect();
    let documents = [
        ("man", "long", long.as_str()),
        (
            "commands",
            "lspci",
            "Question: Which command lists the PCI devices?\nAnswer: Run `lspci` to list them.\n",
        ),
        ("man", "short", "NAME\n  frob - frobnicate a <|im_end|> file\n"),
        ("man", "again", "NAME\n  frob - frobnicate a <|im_end|> file\n"),
    ];
    let mut plain = fixture.tokenizer.clone();
    plain.set_encode_special_tokens(true);
    let (mut lines, mut tokens) = (String::new(), Vec::new());
    for (source, name, text) in documents {
        lines += &serde_json::json!({ "source": source, "name": name, "text": text }).to_string();
        lines.push('\n');
        let ids = plain.encode(text, false).unwrap().get_ids().to_vec();
        tokens.extend(ids.into_iter().chain([0]).flat_map(|id| (id as u16).to_le_bytes()));
    }
    fs::write(fixture.run.documents(Split::Test), lines).unwrap();
    fs::write(fixture.run.tokens(Split::Test), tokens).unwrap();
    let device = |id: &str| {
        let answer = format!("PCI device {id} is the Maker {id} Bridge.");
        serde_json::json!({ "id": id, "vendor": "Maker", "device": format!("{id} Bridge"), "answer": answer })
    };
    let devices = serde_json::json!({
        "record_prompt": "{id} {vendor} {device}\nPCI device {id} is",
        "well_known": (0..30).map(|n| device(&format!("10{n:02}:0001"))).collect::<Vec<_>>(),
        "held_out": (0..30).map(|n| device(&format!("20{n:02}:0001"))).collect::<Vec<_>>(),
    });
    fs::write(fixture.run.join("data/devices.json"), devices.to_string()).unwrap();
    let exported = auton(&fixture, &["export", "gguf", "--type", "q8_0"]);
    assert!(exported.status.success(), "{}", said(&exported));
    fixture
}

/// The report without what may differ from one time to the next.
fn report(fixture: &Fixture) -> serde_json::Value {
    let text = fs::read_to_string(fixture.run.join("eval/report.json")).unwrap();
    let mut report: serde_json::Value = serde_json::from_str(&text).unwrap();
    report["machine"] = serde_json::Value::Null;
    report["baseline"]["seconds"] = serde_json::Value::Null;
    report["models"][0]["seconds"] = serde_json::Value::Null;
    report
}

#[test]
fn a_random_model_is_measured_and_held_to_the_gates() {
    let fixture = run();
    let output = auton(&fixture, &["eval", "--quick", "--threads", "1"]);
    assert!(output.status.success(), "{}", said(&output));
    let first = report(&fixture);
    let schema = include_str!("../../docs/schemas/eval-report.schema.json");
    let written = fs::read_to_string(fixture.run.join("eval/report.json")).unwrap();
    let (written, schema) = (serde_json::from_str(&written).unwrap(), serde_json::from_str(schema).unwrap());
    xtask::schema_check::check(&written, &schema).unwrap();
    let all = first["models"][0]["perplexity"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((all["source"].as_str(), all["documents"].as_u64()), (Some("all"), Some(3)));
    assert!(all["perplexity"].as_f64().unwrap() > 50.0, "{all}");
    assert!(all["ratio"].as_f64().unwrap() < 3.0, "{all}");
    assert_eq!(first["data"]["repeated"], 1);
    let markdown = fs::read_to_string(fixture.run.join("eval/report.md")).unwrap();
    assert!(markdown.contains("## fixture.Q8_0.gguf") && markdown.contains("**failed**"), "{markdown}");

    // The same figures by other threads; with --gate, the exit status says that they are not enough.
    let output = auton(&fixture, &["eval", "--quick", "--threads", "2", "--gate"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("FAILED  device: 0.000, at least 0.500"), "{}", said(&output));
    assert_eq!(report(&fixture), first);

    let gates = fixture.run.join("gates.toml");
    fs::write(&gates, "vendor = 0.0\n").unwrap();
    let output = auton(&fixture, &["eval", "--quick", "--gate", "--gates", gates.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn surprise_is_what_the_engine_says_of_every_token() {
    let fixture = run();
    let subject = Subject::open(&fixture.run.join("gguf/fixture.Q8_0.gguf"), 1).unwrap();
    let data = Data::read(&fixture.run).unwrap();
    let long = &data.test[..1];
    assert!(long[0].tokens.len() > 3 * 256, "{}", long[0].tokens.len());
    let found = by_model(long, &subject).unwrap()[0];
    let tokens: Vec<u32> =
        [0].into_iter().chain(long[0].tokens.iter().map(|&t| u32::from(t))).chain([0]).collect();
    assert_eq!(found.tokens, tokens.len() - 1);
    // The first window predicts tokens 1 to 256; each that follows begins 128 later and predicts 128 more.
    let starts: Vec<usize> =
        (0..).map(|n| n * 128).take_while(|from| from + 128 < tokens.len() - 1).collect();
    let score = |engine: &mut llm::engine::Engine<'_>, from: &usize| {
        let counted = if *from == 0 { 0 } else { from + 128 };
        // A score's last token counts towards the context, which a window's does not: it comes from the logits before it.
        let last = (from + 256).min(tokens.len() - 1);
        let logits = engine.logits(&tokens[*from..last])?;
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let surprise = sum.ln() - f64::from(logits[tokens[last] as usize]);
        Ok(surprise - engine.score(&tokens[*from..=counted], &tokens[counted + 1..last])?.sum)
    };
    let sums: Vec<f64> = subject.each(&starts, &ProgressBar::hidden(), score).unwrap();
    let wanted: f64 = sums.iter().sum();
    assert!((found.nats / wanted - 1.0).abs() < 1e-5, "{} {wanted}", found.nats);
}

#[test]
fn what_cannot_be_evaluated_is_said_in_a_sentence() {
    let fixture = run();
    let refused = |arguments: &[&str]| {
        let output = auton(&fixture, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        said(&output)
    };
    assert!(refused(&["eval", "--model", "/no/such.gguf"]).contains("cannot read /no/such.gguf"));
    assert!(refused(&["eval", "--threads", "0"]).contains("at least 1"));
    // Another run's tokens.
    let other = fixture.run.tokens(Split::Test);
    let mut bytes = fs::read(&other).unwrap();
    bytes[0] ^= 1;
    fs::write(&other, bytes).unwrap();
    assert!(refused(&["eval", "--quick"]).contains("does not give the tokens of data/test.bin"));
    fs::remove_dir_all(fixture.run.join("gguf")).unwrap();
    assert!(refused(&["eval"]).contains("auton export gguf"));
    assert!(!fixture.run.join("eval").exists());
}
