//! `auton export onnx`: `model.onnx`, the trained model as a graph of standard operators with its weights inside, in 32-bit
//! floats, for onnxruntime and its like.

pub mod builder;
pub mod check;
pub mod graph;
pub mod messages;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use prost::Message;

use crate::run_folder::RunFolder;
use crate::table::mib;
use crate::trained::Trained;
use crate::whole_file;
use messages::{ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// Version of the format: the first that goes with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Version of the standard operators.
const OPSET: i64 = 17;
/// Protocol buffers end at 2 GiB.
const LARGEST: usize = i32::MAX as usize;

/// Options of `export onnx`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The run's folder.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// The licence to record, an SPDX expression.
    #[arg(long, default_value = env!("CARGO_PKG_LICENSE"))]
    pub license: String,
    /// Have onnxruntime (from PyPI, kept in ~/.cache/auton/onnx-venv) run it, and compare the logits.
    #[arg(long)]
    pub check: bool,
}

/// `auton export onnx`.
pub fn onnx(args: &Args) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let model = Trained::read(&run)?;
    let place = run.join("model.onnx");
    let bytes = encode(&model, &args.license)?;
    whole_file::write(&place, &bytes)?;
    println!("{}: opset {OPSET}, {}", place.display(), mib(bytes.len() as u64));
    if args.check {
        let largest = check::check(&place, &model)?;
        println!("onnxruntime gives the same logits: the largest difference is {largest:.2e}");
    }
    Ok(())
}

/// The file's bytes.
pub fn encode(model: &Trained, license: &str) -> Result<Vec<u8>> {
    let fact =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let file = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("auton".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(graph::graph(model)?),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: vec![
            fact("name", &model.shape.name),
            fact("license", license),
            fact("weights_sha256", &model.sha256),
        ],
    };
    let size = file.encoded_len();
    ensure!(
        size <= LARGEST,
        "the model takes {}, but an ONNX file ends at 2 GiB: export GGUF",
        mib(size as u64)
    );
    Ok(file.encode_to_vec())
}
