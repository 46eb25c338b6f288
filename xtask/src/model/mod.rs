//! Which model a kernel is built with, and the file and manifest that its build script embeds.

pub mod fetch;
pub mod folder;
pub mod integrated;
pub mod manifest;

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use integrated::Integrated;
use manifest::Manifest;
use std::path::{Path, PathBuf};

/// The model that a kernel image carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// The pinned default, downloaded if need be.
    Default,
    /// The project's own small model, which is part of the repository.
    Tiny,
    /// The model that `auton integrate` has put in place.
    Integrated,
    /// A folder that holds a GGUF file and its `model_manifest.json`.
    Folder(PathBuf),
    /// A GGUF file of the user's.
    File(PathBuf),
    /// No model: the rule engine answers.
    None,
}

/// A model file with the manifest that belongs to it, both as absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The GGUF.
    pub file: PathBuf,
    /// `model_manifest.json`.
    pub manifest: PathBuf,
}

impl ModelChoice {
    /// What `AUTON_MODEL` asks for: absent or empty = the default, else `none`, `tiny`, `integrated` or a path.
    pub fn from_environment() -> Self {
        match std::env::var_os("AUTON_MODEL") {
            None => Self::Default,
            Some(value) if value.is_empty() => Self::Default,
            Some(value) if value == "none" => Self::None,
            Some(value) if value == "tiny" => Self::Tiny,
            Some(value) if value == "integrated" => Self::Integrated,
            Some(path) => Self::File(path.into()),
        }
    }

    /// The same choice, but the project's own model where the default was asked for and cannot be had; that is said in
    /// a sentence. The error is the default's where there is no other either.
    pub fn or_tiny(self) -> Result<Self> {
        self.or_tiny_in(&tiny_folder(), &|| fetch::fetch().map(drop))
    }

    /// As [`ModelChoice::or_tiny`], with the folder of the small model and the download given.
    fn or_tiny_in(self, tiny: &Path, fetch: &dyn Fn() -> Result<()>) -> Result<Self> {
        if self != Self::Default {
            return Ok(self);
        }
        let Err(error) = fetch() else { return Ok(self) };
        if folder::read(tiny).is_err() {
            return Err(error);
        }
        eprintln!(
            "{error:#}; the kernel gets the project's own small model instead, as with AUTON_MODEL=tiny"
        );
        Ok(Self::Tiny)
    }

    /// The files to embed; downloads the default model where it is not there yet.
    pub fn resolve(&self) -> Result<Option<Model>> {
        let models = Workspace::find().models_dir()?;
        match self {
            Self::None => Ok(None),
            Self::Tiny => folder::read(&tiny_folder()).map(Some).context("AUTON_MODEL=tiny"),
            Self::Integrated => {
                let current = Integrated::find()?.current()?;
                let nothing = "AUTON_MODEL=integrated: nothing is integrated yet; `cargo run -p slm -- integrate` does it";
                folder::read(&current.context(nothing)?).map(Some)
            }
            Self::Folder(path) => folder::read(path).map(Some),
            Self::Default => {
                let file = fetch::fetch()?;
                let manifest = models.join("model_manifest.json");
                Manifest::of_default(&file)?.write(&manifest)?;
                Ok(Some(Model { file, manifest }))
            }
            Self::File(path) => {
                let file = path.canonicalize().with_context(|| no_such_model(path))?;
                let manifest = Manifest::of_file(&file)?;
                let place = models.join(format!("{}.manifest.json", &manifest.sha256[..16]));
                manifest.write(&place)?;
                Ok(Some(Model { file, manifest: place }))
            }
        }
    }
}

/// Where the project's own small model lies.
pub fn tiny_folder() -> PathBuf {
    Workspace::find().root.join("slm/models/tiny_10M")
}

fn no_such_model(path: &Path) -> String {
    format!(
        "AUTON_MODEL={} is not there (give the path of a GGUF file, or `tiny`, `integrated` or `none`)",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = ModelChoice::File("/no/such.gguf".into()).resolve().unwrap_err();
        assert!(error.to_string().contains("/no/such.gguf"), "{error}");
    }

    #[test]
    fn the_small_model_stands_in_where_the_default_cannot_be_had() {
        let dir = crate::workspace::created(
            std::env::temp_dir().join(format!("auton-or-tiny-{}", std::process::id())),
        )
        .unwrap();
        let offline = || anyhow::bail!("no network");
        let choose = |choice: ModelChoice| choice.or_tiny_in(&dir, &offline);
        // Without a small model the default's own error stands.
        assert_eq!(choose(ModelChoice::Default).unwrap_err().to_string(), "no network");
        folder::tests::write_model(&dir);
        assert_eq!(choose(ModelChoice::Default).unwrap(), ModelChoice::Tiny);
        assert_eq!(choose(ModelChoice::None).unwrap(), ModelChoice::None);
        assert_eq!(ModelChoice::Default.or_tiny_in(&dir, &|| Ok(())).unwrap(), ModelChoice::Default);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn none_embeds_nothing() {
        assert!(ModelChoice::None.resolve().unwrap().is_none());
    }
}
