//! What `auton export onnx` writes: a sound graph, and onnxruntime's logits where that is installed.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::Fixture;
use prost::Message;
use slm::export::onnx::check;
use slm::export::onnx::messages::ModelProto;
use slm::run_folder::RunFolder;
use slm::trained::{self, Trained};

fn export(fixture: &Fixture) -> PathBuf {
    let run = fixture.path().to_str().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_auton")).args(["export", "onnx", "--run", run]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fixture.run.join("model.onnx")
}

#[test]
fn every_value_is_made_once_and_before_it_is_used() {
    let fixture = Fixture::new();
    let file = ModelProto::decode(&fs::read(export(&fixture)).unwrap()[..]).unwrap();
    assert_eq!(file.opset_import[0].version, Some(17));
    let graph = file.graph.unwrap();
    let mut known = BTreeSet::new();
    let given = graph.input.iter().map(|input| input.name.clone());
    for name in given.chain(graph.initializer.iter().map(|constant| constant.name.clone())) {
        assert!(known.insert(name.clone().unwrap()), "{name:?} twice");
    }
    for constant in &graph.initializer {
        let size = if constant.data_type == Some(7) { 8 } else { 4 };
        let elements: i64 = constant.dims.iter().product();
        assert_eq!(constant.raw_data.as_ref().unwrap().len() as i64, size * elements, "{:?}", constant.name);
    }
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input), "{:?} uses {input} before it is there", node.name);
        }
        for output in &node.output {
            assert!(known.insert(output.clone()), "{output} twice");
        }
    }
    assert!(known.contains("logits"));
    let model = Trained::read(&RunFolder::new(fixture.path())).unwrap();
    let weights = |constant: &&_| {
        let constant: &slm::export::onnx::messages::TensorProto = constant;
        model.tensors.contains_key(constant.name.as_deref().unwrap().trim_end_matches(".T"))
    };
    let held: i64 = graph.initializer.iter().filter(weights).map(|c| c.dims.iter().product::<i64>()).sum();
    assert_eq!(held as u64, model.shape.parameters(), "the head is tied: no weight is there twice");
}

#[test]
fn onnxruntime_gives_the_same_logits() {
    // The check makes this by itself; a test downloads nothing.
    let cache =
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/auton/onnx-venv/packages");
    if !cache.is_file() {
        eprintln!("skipped: no onnxruntime (`auton export onnx --check` installs it)");
        return;
    }
    for config in
        [common::SHAPE.to_owned(), format!("{}tied_embeddings = false\nrope_base = 5e4\n", common::SHAPE)]
    {
        let fixture = Fixture::of(&config);
        let file = export(&fixture);
        let mut model = Trained::read(&RunFolder::new(fixture.path())).unwrap();
        let largest = check::check(&file, &model).unwrap();
        assert!(largest < 1e-3, "{largest}");
        // It would see a difference.
        let name = trained::in_block(1, "self_attn.k_proj");
        model.tensors.get_mut(&name).unwrap().values.swap(0, 1);
        let error = check::check(&file, &model).unwrap_err().to_string();
        assert!(error.contains("logits differ by"), "{error}");
    }
}
