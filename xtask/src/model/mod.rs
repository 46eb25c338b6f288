//! Which model a kernel is built with, and the file and manifest that its build script embeds.

pub mod fetch;
pub mod manifest;

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use manifest::Manifest;
use std::path::{Path, PathBuf};

/// The model that a kernel image carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// The pinned default, downloaded if need be.
    Default,
    /// A GGUF file of the user's.
    File(PathBuf),
    /// No model: the rule engine answers.
    None,
}

/// A model file with the manifest that belongs to it, both as absolute paths.
#[derive(Debug, Clone)]
pub struct Model {
    /// The GGUF.
    pub file: PathBuf,
    /// `model_manifest.json`.
    pub manifest: PathBuf,
}

impl ModelChoice {
    /// What `AUTON_MODEL` asks for: absent or empty = the default, `none` = none, else a path.
    pub fn from_environment() -> Self {
        match std::env::var_os("AUTON_MODEL") {
            None => Self::Default,
            Some(value) if value.is_empty() => Self::Default,
            Some(value) if value == "none" => Self::None,
            Some(path) => Self::File(path.into()),
        }
    }

    /// The files to embed; downloads the default model where it is not there yet.
    pub fn resolve(&self) -> Result<Option<Model>> {
        let models = Workspace::find().models_dir()?;
        match self {
            Self::None => Ok(None),
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

fn no_such_model(path: &Path) -> String {
    format!("AUTON_MODEL={} is not there (give the path of a GGUF file, or `none`)", path.display())
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
    fn none_embeds_nothing() {
        assert!(ModelChoice::None.resolve().unwrap().is_none());
    }
}
