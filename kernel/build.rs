//! Link arguments of the kernel image, and the embedding of the model.
//!
//! `AUTON_MODEL_FILE` names the GGUF to embed and `AUTON_MODEL_MANIFEST` its `model_manifest.json`; both are
//! set by `cargo xtask`. Without them the kernel is built without a model.

use std::{env, fs, path::PathBuf};

fn main() {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let script = here.join("kernel.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--gc-sections",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());

    let mut asm = String::new();
    asm += &embed("AUTON_MODEL_FILE", ".slm_model", "slm_model");
    asm += &embed("AUTON_MODEL_MANIFEST", ".slm_manifest", "slm_manifest");
    let out = PathBuf::from(env::var("OUT_DIR").expect("set by cargo")).join("model.s");
    fs::write(&out, asm).expect("OUT_DIR is writable");
    println!("cargo:rustc-env=AUTON_MODEL_ASM={}", out.display());
}

/// Assembly that puts the file named by `variable` (or nothing) into `section`, between `<symbol>_start` and
/// `<symbol>_end`, with the absolute symbol `<symbol>_size`.
fn embed(variable: &str, section: &str, symbol: &str) -> String {
    println!("cargo:rerun-if-env-changed={variable}");
    let incbin = match env::var(variable) {
        Ok(path) if !path.is_empty() => {
            println!("cargo:rerun-if-changed={path}");
            format!(".incbin \"{path}\"\n")
        }
        _ => String::new(),
    };
    format!(
        ".section {section},\"a\",@progbits\n.balign 64\n\
         .globl {symbol}_start\n.globl {symbol}_end\n.globl {symbol}_size\n\
         {symbol}_start:\n{incbin}{symbol}_end:\n\
         .set {symbol}_size, {symbol}_end - {symbol}_start\n.text\n"
    )
}
