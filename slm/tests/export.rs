//! What `auton export gguf` writes, read by the kernel's engine, by llama.cpp, and compared with the tokenizer that it came
//! from.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Fixture, llama_cpp, prose};
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, KvFormat, LoadOptions, Origin};
use llm::gguf::{GgmlType, Gguf};
use llm::pool::Pool;
use llm::sample::Sampling;
use llm::template::Template;
use llm::threads::Threads;
use llm::tokenizer::{Special, Tokenizer};

fn auton(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_auton")).args(arguments).output().unwrap()
}

fn export(run: &Path, kind: &str) -> PathBuf {
    let output = auton(&["export", "gguf", "--run", run.to_str().unwrap(), "--type", kind]);
    assert!(output.status.success(), "{output:?}");
    run.join(format!("gguf/fixture.{}.gguf", kind.to_uppercase()))
}

/// Greedy tokens behind a prompt, by the kernel's engine with float keys and values.
fn greedy(file: &[u8], prompt: &str, count: usize) -> Vec<u32> {
    let (threads, clock, mut memory) = (Threads::new(1), StdClock::new(), vec![0; 64 << 20]);
    let options = LoadOptions { kv: KvFormat::Float, ..LoadOptions::default() };
    let gguf = Gguf::parse(file).unwrap();
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options).unwrap();
    let mut tokens = Vec::new();
    engine.tokenizer().encode(prompt, Special::None, &mut tokens);
    let mut out = Vec::new();
    let mut keep = |piece: llm::engine::Piece<'_>| {
        if piece.origin == Origin::Model {
            out.push(piece.token);
        }
        Flow::Continue
    };
    engine.generate(&tokens, &[], &Sampling::greedy(), count, &mut keep).unwrap();
    out
}

#[test]
fn the_file_says_what_it_is_and_is_valid() {
    let fixture = Fixture::new();
    for kind in ["f32", "f16", "q8_0", "q4_0", "q4_k"] {
        let file = export(fixture.path(), kind);
        let bytes = fs::read(&file).unwrap();
        assert_eq!(fs::read(export(fixture.path(), kind)).unwrap(), bytes, "{kind}: same model, other bytes");
        let gguf = Gguf::parse(&bytes).unwrap();
        let text = |key: &str| gguf.get(key).and_then(|value| value.as_str()).unwrap_or("missing");
        assert_eq!((text("general.architecture"), text("general.name")), ("llama", "fixture"));
        assert_eq!((text("general.license"), text("auton.rounding")), ("MIT OR Apache-2.0", "plain"));
        assert_eq!(gguf.get("auton.seed").unwrap().as_u64(), Some(11));
        let matrix = gguf.tensor("blk.1.ffn_down.weight").unwrap();
        assert_eq!(matrix.kind.name().to_lowercase(), kind);
        let embedding = gguf.tensor("token_embd.weight").unwrap();
        let expected = if kind.starts_with("q4") { GgmlType::Q8_0 } else { matrix.kind };
        assert_eq!(embedding.kind, expected);

        let output = auton(&["validate", file.to_str().unwrap(), "--prompt", "The kernel is"]);
        assert!(output.status.success(), "{kind}: {output:?}");
        let shape = auton(&["arch", "check", file.to_str().unwrap()]);
        assert!(shape.status.success(), "{kind}: {shape:?}");
    }
}

#[test]
fn conversations_in_the_data_are_told_by_a_chat_template() {
    let fixture = Fixture::new();
    let template = || {
        let bytes = fs::read(export(fixture.path(), "q8_0")).unwrap();
        Template::from_gguf(&Gguf::parse(&bytes).unwrap())
    };
    assert_eq!(template(), Template::Plain);
    let data = r#"{"seed": 11, "sources": {"train": {"chat": {"tokens": 5}}}}"#;
    fs::write(fixture.run.join("data/data.json"), data).unwrap();
    assert_eq!(template(), Template::ChatMl { system: None });
}

#[test]
fn a_run_that_is_not_trained_is_refused_in_one_sentence() {
    let fixture = Fixture::new();
    let refusal = |expected: &str| {
        let output = auton(&["export", "gguf", "--run", fixture.path().to_str().unwrap(), "--type", "q4_k"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.trim_end().lines().count() == 1, "{output:?}");
        assert!(error.contains(expected), "{error}");
        assert!(!fixture.run.join("gguf").exists(), "something was written");
    };
    let tokenizer = fs::read(fixture.run.tokenizer()).unwrap();
    fs::remove_file(fixture.run.tokenizer()).unwrap();
    refusal("`auton tokenizer train` writes it");
    fs::write(fixture.run.tokenizer(), tokenizer).unwrap();
    let weights = fs::read(fixture.run.weights()).unwrap();
    fs::write(fixture.run.weights(), &weights[..weights.len() / 2]).unwrap();
    refusal("no whole safetensors file");
    fs::remove_file(fixture.run.weights()).unwrap();
    refusal("`auton train` writes it");
}

#[test]
fn widths_that_k_quants_cannot_cut_are_named() {
    let fixture = Fixture::of(&common::SHAPE.replace("ffn = 512", "ffn = 96"));
    let output = auton(&["export", "gguf", "--run", fixture.path().to_str().unwrap(), "--type", "q4_k"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("mlp.down_proj.weight' has rows of 96") && error.contains("q4_0"), "{error}");
}

#[test]
fn llama_cpp_and_the_kernel_s_engine_say_the_same() {
    let Some(program) = llama_cpp("llama-completion") else { return };
    let fixture = Fixture::new();
    let file = export(fixture.path(), "f32");
    let bytes = fs::read(&file).unwrap();
    for prompt in ["The kernel", "Memory is freed when", "0x1f 2026", "é ünïcode →"] {
        let mut text = Vec::new();
        with_tokenizer(&bytes, |tokenizer| {
            greedy(&bytes, prompt, 48).iter().for_each(|&id| tokenizer.decode(id, &mut text));
        });
        // It prints by C's rules: a zero byte is not there.
        let ours = String::from_utf8_lossy(&text).replace('\0', "");
        let mut whole = false;
        // Some of its runs end before all they have to say is written: what they say is compared, and one must say all.
        for _ in 0..10 {
            let theirs = llama_cpp_greedy(&program, &file, prompt, 48);
            assert!(ours.trim_end_matches('\n').starts_with(&theirs), "{prompt:?}: {ours:?} {theirs:?}");
            whole |= !theirs.is_empty() && ours.trim_end_matches('\n') == theirs;
            if whole {
                break;
            }
        }
        assert!(whole, "{prompt:?}: llama.cpp never finished");
    }
}

/// llama.cpp's greedy continuation, without the line breaks at its end.
fn llama_cpp_greedy(program: &Path, file: &Path, prompt: &str, count: usize) -> String {
    let output = Command::new(program)
        .arg("-m")
        .arg(file)
        .args(["-p", prompt, "-n", &count.to_string(), "--temp", "0", "-no-cnv", "--no-warmup"])
        .args(["-t", "1", "-fa", "off", "-ctk", "f32", "-ctv", "f32"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    // It says the prompt first, and ends with line breaks and a remark.
    let answer = said.trim_start().strip_prefix(prompt).unwrap_or_default();
    let answer = answer.trim_end_matches('\n').trim_end_matches(" [end of text]");
    answer.trim_end_matches('\n').to_owned()
}

#[test]
fn llama_cpp_quantises_to_the_same_bytes() {
    let Some(program) = llama_cpp("llama-quantize") else { return };
    let fixture = Fixture::new();
    let full = export(fixture.path(), "f32");
    for kind in ["q8_0", "q4_0", "q4_k"] {
        let theirs = fixture.path().join("theirs.gguf");
        let name = if kind == "q4_k" { "q4_k_s" } else { kind };
        let output = Command::new(&program)
            .args(["--pure", "--token-embedding-type", "q8_0"])
            .args([&full, &theirs])
            .args([name, "1"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (ours, theirs) = (fs::read(export(fixture.path(), kind)).unwrap(), fs::read(theirs).unwrap());
        let (ours, theirs) = (Gguf::parse(&ours).unwrap(), Gguf::parse(&theirs).unwrap());
        for tensor in ours.tensors() {
            let other = theirs.tensor(tensor.name).unwrap();
            assert_eq!(tensor.kind, other.kind, "{}", tensor.name);
            let size = tensor.kind.type_size();
            let blocks = tensor.data.chunks(size).zip(other.data.chunks(size));
            let different = blocks.filter(|(a, b)| a != b).count();
            assert_eq!(different, 0, "{}, {kind}: of {} blocks", tensor.name, tensor.data.len() / size);
        }
    }
}

/// Gives `work` the kernel's tokenizer of a file.
fn with_tokenizer<T>(file: &[u8], work: impl FnOnce(&Tokenizer<'_>) -> T) -> T {
    let mut memory = vec![0; 4 << 20];
    let gguf = Gguf::parse(file).unwrap();
    work(&Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)).unwrap())
}

#[test]
fn the_kernel_s_tokenizer_gives_the_ids_of_the_tokenizers_crate() {
    let fixture = Fixture::new();
    let file = fs::read(export(fixture.path(), "q8_0")).unwrap();
    with_tokenizer(&file, |ours| {
        let check = |text: &str, special: Special| {
            let mut found = Vec::new();
            ours.encode(text, special, &mut found);
            let mut reference = fixture.tokenizer.clone();
            reference.set_encode_special_tokens(special == Special::None);
            let expected = reference.encode(text, false).unwrap();
            assert_eq!(found, expected.get_ids(), "{text:?}");
            let mut back = Vec::new();
            found.iter().for_each(|&id| ours.decode(id, &mut back));
            if special == Special::None {
                assert_eq!(back, text.as_bytes());
            }
        };
        prose().lines().for_each(|line| check(line, Special::None));
        check(&prose(), Special::None);
        check("<|im_start|>user\nls<|im_end|>\n<|endoftext|>x", Special::Parse);
        check("<|im_start|>user\nls<|im_end|>\n<|endoftext|>x", Special::None);
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        // Any text; and text of what pre-tokenizers differ in: digits, spaces, line ends, apostrophes, other scripts.
        let wild = "[ \\t\\r\\n\u{a0}\u{3000}0-9a-zA-Z'\u{b2}\u{bd}\u{664}\u{4e2d}\u{e9}e\u{301}\u{1f600},.;_-]{0,40}";
        runner
            .run(&(".{0,60}", wild), |(any, wild)| {
                check(&any, Special::None);
                check(&wild, Special::None);
                Ok(())
            })
            .unwrap();
    });
}
