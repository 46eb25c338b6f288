//! What the integration tests share: where the real model and the real data are.

use std::path::{Path, PathBuf};
use std::process::Command;

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The project's medium model: `AUTON_MODEL_FILE`, else `target/models/` of the workspace, else whatever
/// `cargo run -p xtask -- model fetch` downloads (and prints the path of).
#[allow(dead_code)]
pub fn model_file() -> PathBuf {
    if let Some(path) = std::env::var_os("AUTON_MODEL_FILE") {
        return path.into();
    }
    let path = Path::new(WORKSPACE).join("target/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if path.exists() {
        return path;
    }
    let fetch = ["run", "--quiet", "--release", "-p", "xtask", "--", "model", "fetch"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(fetch).current_dir(WORKSPACE).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "model fetch: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("a path in UTF-8");
    printed.lines().last().expect("model fetch prints the path").trim().into()
}

/// The folder of recorded data, `None` (said on standard error) where it is absent.
#[allow(dead_code)]
pub fn data_dir() -> Option<PathBuf> {
    let default = || PathBuf::from(WORKSPACE).join("../shared/data");
    let path = std::env::var_os("AUTON_DATA").map_or_else(default, PathBuf::from);
    if !path.is_dir() {
        eprintln!("skipped: no AUTON_DATA");
        return None;
    }
    Some(path)
}
