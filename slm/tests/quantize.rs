//! `auton quantize` on a small run: files that load, numbers that are measured, faults that are told.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::Fixture;
use llm::clock::StdClock;
use llm::engine::{Engine, KvFormat, LoadOptions};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::threads::Threads;
use slm::export::{Source, Type};
use slm::forward::Forward;
use slm::run_folder::{RunFolder, Split};

fn quantize(fixture: &Fixture, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auton"));
    command.args(["quantize", "--run", fixture.path().to_str().unwrap()]).args(more).output().unwrap()
}

fn report(fixture: &Fixture) -> serde_json::Value {
    serde_json::from_slice(&fs::read(fixture.run.join("gguf/quantize.json")).unwrap()).unwrap()
}

/// Logits behind `ids` by the kernel's engine.
fn engine_logits(file: &[u8], ids: &[u32]) -> Vec<f32> {
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0; 64 << 20]);
    let options = LoadOptions { kv: KvFormat::Float, ..LoadOptions::default() };
    let gguf = Gguf::parse(file).unwrap();
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    engine.logits(ids).unwrap().to_vec()
}

#[test]
fn the_forward_pass_agrees_with_the_engine() {
    for config in
        [common::SHAPE.to_owned(), format!("{}tied_embeddings = false\nrope_base = 5e4\n", common::SHAPE)]
    {
        let fixture = Fixture::of(&config);
        let source = Source::read(&RunFolder::new(fixture.path()), "MIT").unwrap();
        let tensors = source.encode_plainly(Type::F32).unwrap();
        let file = source.gguf(Type::F32, "plain", &tensors).unwrap();
        let ids: Vec<u32> = (0..200).map(|i| i * 37 % 590).collect();
        let logits = Forward::new(&source.model).unwrap().logits(&ids).unwrap().to_vec2::<f32>().unwrap();
        for tokens in [1, 2, 77, 200] {
            let (ours, theirs) = (&logits[tokens - 1], engine_logits(&file, &ids[..tokens]));
            let spread = ours.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4 * spread.max(1.0), "{tokens} tokens: {off} of {spread}");
        }
    }
}

#[test]
fn every_type_both_ways_measured() {
    let fixture = Fixture::new();
    let output = quantize(&fixture, &["--calibration", "1024", "--perplexity", "1024"]);
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = report(&fixture);
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 1 + 2 * 3);
    for row in &files[1..] {
        let name = row["file"].as_str().unwrap();
        assert!(table.contains(name), "{table}");
        let bytes = fs::read(fixture.run.join("gguf").join(name)).unwrap();
        assert_eq!(row["bytes"].as_u64(), Some(bytes.len() as u64));
        let perplexity = row["perplexity"].as_f64().unwrap();
        assert!(perplexity.is_finite() && perplexity > 1.0, "{row}");
        let gguf = Gguf::parse(&bytes).unwrap();
        assert_eq!(gguf.get("auton.rounding").unwrap().as_str(), row["method"].as_str());
        let valid = Command::new(env!("CARGO_BIN_EXE_auton"))
            .args(["validate", "--prompt", "The kernel is"])
            .arg(fixture.run.join("gguf").join(name))
            .output()
            .unwrap();
        assert!(valid.status.success(), "{valid:?}");
    }
    assert_eq!(report["gains"].as_array().unwrap().len(), 3);

    // The same again, bit for bit.
    let name = "gguf/fixture.Q4_0-gptq.gguf";
    let before = fs::read(fixture.run.join(name)).unwrap();
    let again = ["--type", "q4_0", "--method", "gptq", "--calibration", "1024", "--perplexity", "0"];
    assert!(quantize(&fixture, &again).status.success());
    assert_eq!(self::report(&fixture)["files"].as_array().unwrap().len(), 2, "not measured: not comparable");
    assert_eq!(fs::read(fixture.run.join(name)).unwrap(), before);
}

#[test]
fn faults_are_told_in_one_sentence_and_leave_nothing() {
    let fixture = Fixture::of(&common::SHAPE.replace("ffn = 512", "ffn = 96"));
    let refusal = |more: &[&str], expected: &str| {
        let output = quantize(&fixture, more);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{output:?}");
        assert!(error.contains(expected) && error.trim_end().lines().count() == 1, "{error}");
        assert!(!fixture.run.join("gguf/quantize.json").exists());
    };
    refusal(&["--type", "q4_k", "--perplexity", "0"], "rows of 96");
    refusal(&["--type", "f16"], "no quantised type");
    let train = fixture.run.tokens(Split::Train);
    let tokens = fs::read(&train).unwrap();
    fs::write(&train, &tokens[..101]).unwrap();
    refusal(&["--type", "q4_0"], "half a token");
    fs::write(&train, &tokens[..100]).unwrap();
    refusal(&["--type", "q4_0"], "needs at least one context of 256");
    fs::write(&train, [0xff; 1024]).unwrap();
    refusal(&["--type", "q4_0"], "token 65535, but the vocabulary has 600");
    fs::remove_file(&train).unwrap();
    refusal(&["--type", "q4_0"], "`auton data build` writes it");
}
