//! The program as its user runs it: on the shipped configurations, on broken files, and, where it is present
//! (`AUTON_MODEL_FILE`, or what `cargo run` has fetched), on the real model.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use llm::gguf::write::GgufWriter;
use llm::gguf::{GgmlType, Gguf};

fn auton(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_auton")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one sentence of a failed run.
fn refusal(output: &Output) -> String {
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.starts_with("error: "), "{output:?}");
    assert_eq!(error.trim_end().lines().count(), 1, "more than one sentence: {error}");
    error
}

fn p(text: &str) -> &Path {
    Path::new(text)
}

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name)
}

fn real_model() -> Option<PathBuf> {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let file = std::env::var_os("AUTON_MODEL_FILE").map_or_else(|| PathBuf::from(fetched), PathBuf::from);
    if !file.is_file() {
        eprintln!("skipped: no model file (set AUTON_MODEL_FILE)");
        return None;
    }
    Some(file)
}

#[test]
fn shipped_configurations_are_sound() {
    for name in ["tiny_10M.toml", "small_50M.toml", "medium_150M.toml", "smollm2_135M.toml"] {
        for step in ["check", "flops"] {
            let output = auton(&[p("arch"), p(step), &config(name)]);
            assert!(output.status.success(), "{output:?}");
        }
    }
    let flops = text(&auton(&[p("arch"), p("flops"), &config("smollm2_135M.toml")]).stdout);
    assert!(flops.contains("134,515,008 parameters"), "{flops}");
    assert!(flops.contains("does not divide by 256"), "K-quants do not fit this width: {flops}");
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let good = std::fs::read_to_string(config("small_50M.toml")).unwrap();
    std::fs::write(&file, good.replace("\nheads = 8\n", "\nheads = 7\n")).unwrap();
    let error = refusal(&auton(&[p("arch"), p("check"), &file]));
    assert!(error.contains("width 512 does not divide into 7 heads"), "{error}");
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert!(refusal(&auton(&[p("arch"), p("check"), &file])).contains("neither GGUF nor text"));
    assert!(refusal(&auton(&[p("arch"), p("check"), p("/nowhere.toml")])).contains("cannot read"));
}

/// A file with one quantised tensor, whose first scale is `scale`.
fn one_tensor(scale: u16) -> Vec<u8> {
    let mut block = scale.to_le_bytes().to_vec();
    block.extend((0..32).map(|i| i as u8));
    let mut writer = GgufWriter::new();
    writer.string("general.architecture", "llama");
    writer.strings("some.texts", ["a", "longer", ""]);
    writer.u32("general.file_type", 7);
    writer.u32("general.quantization_version", 2);
    writer.tensor("only.weight", GgmlType::Q8_0, &[32], &block);
    writer.finish()
}

#[test]
fn validate_names_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.gguf");
    let fault = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        refusal(&auton(&[p("validate"), &file]))
    };
    assert!(fault(b"").contains("x.gguf"));
    assert!(fault(b"GGUX garbage").contains("x.gguf"));
    // Half-float infinity as a scale makes every value infinite, or undefined where the code is 0.
    let error = fault(&one_tensor(0x7c00));
    assert!(error.contains("only.weight") && error.contains("scales are damaged"), "{error}");
    // Sound numbers, but not a model.
    let error = fault(&one_tensor(0x3c00));
    assert!(!error.contains("damaged"), "{error}");
    let whole = one_tensor(0x3c00);
    fault(&whole[..whole.len() - 8]);
}

#[test]
fn dequantize_keeps_all_but_the_type() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("q.gguf"), folder.path().join("f.gguf"));
    std::fs::write(&file, one_tensor(0x3800)).unwrap();
    let output = auton(&[p("dequantize"), &file, &out]);
    assert!(output.status.success(), "{output:?}");

    let bytes = std::fs::read(&out).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let tensor = gguf.tensor("only.weight").unwrap();
    assert_eq!((tensor.kind, tensor.dims), (GgmlType::F32, [32, 1, 1, 1]));
    let values = tensor.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    assert!(values.eq((0..32).map(|i| i as f32 / 2.0)), "the scale 0x3800 is one half");
    assert_eq!(gguf.get("general.file_type").unwrap().as_u64(), Some(0));
    assert!(gguf.get("general.quantization_version").is_none());
    let texts = gguf.get("some.texts").unwrap().as_array().unwrap();
    assert!(texts.strings().unwrap().eq([&b"a"[..], b"longer", b""]));

    // A fault leaves no output behind.
    std::fs::write(&file, one_tensor(0x7c00)).unwrap();
    std::fs::remove_file(&out).unwrap();
    refusal(&auton(&[p("dequantize"), &file, &out]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_real_model_is_valid_and_has_the_shape_of_its_configuration() {
    let Some(file) = real_model() else { return };
    let of_file = text(&auton(&[p("arch"), p("check"), &file]).stdout);
    assert!(of_file.contains("134,515,008"), "{of_file}");
    let costs = |file: &Path| {
        let lines = text(&auton(&[p("arch"), p("flops"), file]).stdout);
        lines.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(costs(&file), costs(&config("smollm2_135M.toml")));

    let output = auton(&[p("validate"), &file]);
    let report = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(report.contains("every value is finite") && report.ends_with("valid\n"), "{report}");

    // A NaN scale, patched into the middle of the largest tensor, is found and named.
    let mut bytes = std::fs::read(&file).unwrap();
    let (name, at) = {
        let gguf = Gguf::parse(&bytes).unwrap();
        let tensor =
            gguf.tensors().filter(|t| t.kind == GgmlType::Q4_1).max_by_key(|t| t.data.len()).unwrap();
        let block = tensor.data.len() / 20 / 2 * 20;
        (tensor.name.to_owned(), tensor.data.as_ptr() as usize - bytes.as_ptr() as usize + block)
    };
    bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.gguf");
    std::fs::write(&broken, &bytes).unwrap();
    assert!(refusal(&auton(&[p("validate"), &broken])).contains(&name));
}
