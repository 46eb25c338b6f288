//! Builds the kernel: one ELF for each variant (features, model), with its symbol table filled in.
//!
//! A variant is built again only when something that it is made of has changed: cargo would rebuild the kernel at
//! every change of variant, and the end-to-end tests alternate between them.

use crate::file_lock::FileLock;
use crate::ksyms;
use crate::model::fetch::{hex, write_atomically};
use crate::model::{Model, ModelChoice};
use crate::workspace::{Workspace, run};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Everything that a kernel is built from, relative to the root.
const INPUTS: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo",
    "kernel",
    "mm",
    "sched",
    "llm",
    "ai_insights",
    "control",
    "shell",
];

/// The kernel's own features.
pub const FEATURES: [&str; 3] = ["ai-ops", "llm", "deterministic"];

/// One way to build the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// `None` = the default features, else exactly these.
    pub features: Option<Vec<&'static str>>,
    /// The model to embed.
    pub model: ModelChoice,
    /// Without optimisation and with debug assertions: cargo's profile `dev`, else `release`.
    pub debug: bool,
}

impl Variant {
    /// Default features and the model that `AUTON_MODEL` asks for: what `cargo run` starts. The project's own small model
    /// where that is the default and it cannot be had.
    pub fn from_environment() -> Result<Self> {
        Ok(Self { features: None, model: ModelChoice::from_environment().or_tiny()?, debug: false })
    }

    /// Default features with the project's own small model.
    pub fn with_tiny_model() -> Self {
        Self { features: None, model: ModelChoice::Tiny, debug: false }
    }

    /// Default features with the default model.
    pub fn with_default_model() -> Self {
        Self { features: None, model: ModelChoice::Default, debug: false }
    }

    /// Default features, no model.
    pub fn without_model() -> Self {
        Self { features: None, model: ModelChoice::None, debug: false }
    }

    /// Default features, no model, not optimised.
    pub fn debug() -> Self {
        Self { debug: true, ..Self::without_model() }
    }

    /// Exactly `features`, no model.
    pub fn with_features(features: &[&'static str]) -> Self {
        Self { features: Some(features.to_vec()), model: ModelChoice::None, debug: false }
    }

    /// A name for files and tables: `auton`, `auton-none`, `auton-debug-none`, `auton-llm+ai-ops-none`, …
    pub fn name(&self) -> String {
        let mut name = "auton".to_owned();
        if self.debug {
            name.push_str("-debug");
        }
        if let Some(features) = &self.features {
            let list = if features.is_empty() { "bare".to_owned() } else { features.join("+") };
            let _ = write!(name, "-{list}");
        }
        match &self.model {
            ModelChoice::Default => {}
            ModelChoice::None => name.push_str("-none"),
            ModelChoice::Tiny => name.push_str("-tiny"),
            ModelChoice::Integrated => name.push_str("-integrated"),
            // One after another is tried: each takes the place of the one before.
            ModelChoice::Folder(_) => name.push_str("-trial"),
            ModelChoice::File(path) => {
                let hash = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
                let _ = write!(name, "-{}", &hash[..8]);
            }
        }
        name
    }

    fn cargo_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["build", "-p", "kernel"].map(str::to_owned).to_vec();
        if !self.debug {
            arguments.push("--release".to_owned());
        }
        if let Some(features) = &self.features {
            arguments.push("--no-default-features".to_owned());
            if !features.is_empty() {
                arguments.extend(["--features".to_owned(), features.join(",")]);
            }
        }
        arguments
    }
}

/// Builds `variant` if need be; the path of the bootable ELF.
pub fn build(variant: &Variant) -> Result<PathBuf> {
    let workspace = Workspace::find();
    let model = variant.model.resolve()?;
    let auton = workspace.auton_dir()?;
    let elf = auton.join(format!("{}.elf", variant.name()));
    let stamp = auton.join(format!("{}.inputs", variant.name()));

    let _turn = FileLock::acquire(&auton.join("build.lock"), "building a kernel")?;
    let inputs = fingerprint(&workspace, variant, model.as_ref())?;
    if elf.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|old| old == inputs) {
        return Ok(elf);
    }
    let arguments = variant.cargo_arguments();
    let mut cargo = workspace.cargo(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(model) = &model {
        cargo.env("AUTON_MODEL_FILE", &model.file).env("AUTON_MODEL_MANIFEST", &model.manifest);
    }
    cargo.stdout(std::io::stderr());
    run(&mut cargo).context("the kernel does not build")?;

    let profile = if variant.debug { "debug" } else { "release" };
    let built = workspace.target.join(profile).join("kernel");
    let mut image = std::fs::read(&built).with_context(|| format!("{} cannot be read", built.display()))?;
    ksyms::fill(&mut image)?;
    write_atomically(&elf, &image)?;
    write_atomically(&stamp, inputs.as_bytes())?;
    Ok(elf)
}

/// A hash over the names, sizes and dates of everything that goes into `variant`.
fn fingerprint(workspace: &Workspace, variant: &Variant, model: Option<&Model>) -> Result<String> {
    let mut text = format!("{:?}\n", variant.cargo_arguments());
    let mut files: Vec<PathBuf> = INPUTS.iter().map(|name| workspace.root.join(name)).collect();
    if let Some(model) = model {
        files.extend([model.file.clone(), model.manifest.clone()]);
    }
    for file in &files {
        describe(file, &mut text)?;
    }
    Ok(hex(&Sha256::digest(text.as_bytes())))
}

/// Adds one line for `path`, or for every file under it.
fn describe(path: &Path, text: &mut String) -> Result<()> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(()); // absent now; its appearance will change the text
    };
    if metadata.is_dir() {
        if path.ends_with("target") {
            return Ok(()); // a build folder, such as a fuzz target's
        }
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path)?.filter_map(|e| Some(e.ok()?.path())).collect();
        entries.sort();
        return entries.iter().try_for_each(|entry| describe(entry, text));
    }
    writeln!(text, "{} {} {:?}", path.display(), metadata.len(), metadata.modified()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_have_names_of_their_own() {
        let file = Variant { model: ModelChoice::File("/a.gguf".into()), ..Variant::without_model() };
        let names = [
            Variant::with_default_model().name(),
            Variant::without_model().name(),
            Variant::with_features(&[]).name(),
            Variant::with_features(&["llm", "ai-ops"]).name(),
            Variant::debug().name(),
            Variant::with_tiny_model().name(),
            file.name(),
        ];
        assert_eq!(names[0], "auton");
        assert_eq!(names[2], "auton-bare-none");
        assert_eq!(names[3], "auton-llm+ai-ops-none");
        assert_eq!(names[4], "auton-debug-none");
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
        }
    }

    #[test]
    fn a_changed_input_changes_the_fingerprint() {
        let dir = std::env::temp_dir().join(format!("auton-inputs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut before = String::new();
        std::fs::write(dir.join("a"), b"1").unwrap();
        describe(&dir, &mut before).unwrap();
        std::fs::write(dir.join("a"), b"12").unwrap();
        let mut after = String::new();
        describe(&dir, &mut after).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_ne!(before, after);
    }
}
