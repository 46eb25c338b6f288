//! A model in a folder of its own: one GGUF file, and the `model_manifest.json` that was written with it.

use super::Model;
use super::fetch::sha256_of;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The manifest's name in such a folder.
pub const MANIFEST: &str = "model_manifest.json";

/// The model in `folder`, whose file must be the one that its manifest tells of.
pub fn read(folder: &Path) -> Result<Model> {
    let absent = || format!("there is no model in {}", folder.display());
    let folder = folder.canonicalize().with_context(absent)?;
    let file = the_gguf(&folder)?.with_context(absent)?;
    let manifest = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("the model's manifest {} cannot be read", manifest.display()))?;
    let told: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", manifest.display()))?;
    let told = told["sha256"].as_str().unwrap_or("none").to_owned();
    let found = sha256_of(&file)?;
    ensure!(
        found == told,
        "{} is not the model that its manifest tells of (SHA-256 {found}, there {told}); make the two anew together",
        file.display()
    );
    Ok(Model { file, manifest })
}

/// The only GGUF file of a folder.
fn the_gguf(folder: &Path) -> Result<Option<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut models = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    match (models.next(), models.next()) {
        (first, None) => Ok(first),
        (Some(_), Some(_)) => bail!("{} holds more than one GGUF file; leave one", folder.display()),
        (None, Some(_)) => Ok(None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::manifest::Manifest;
    use crate::workspace::created;
    use llm::gguf::{GgmlType, write::GgufWriter};

    /// Puts a GGUF (not a model that runs) and its manifest into `folder`.
    pub(crate) fn write_model(folder: &Path) -> PathBuf {
        let mut writer = GgufWriter::new();
        writer.string("general.name", "folder test").tensor("a", GgmlType::F32, &[4], &[0; 16]);
        let file = folder.join("small.gguf");
        std::fs::write(&file, writer.finish()).unwrap();
        Manifest::of_file(&file).unwrap().write(&folder.join(MANIFEST)).unwrap();
        file
    }

    #[test]
    fn a_folder_is_one_model_and_its_manifest() {
        let dir = created(std::env::temp_dir().join(format!("auton-folder-{}", std::process::id()))).unwrap();
        let fault = || format!("{:#}", read(&dir).unwrap_err());
        assert!(fault().contains("there is no model in"), "{}", fault());
        let file = write_model(&dir);
        assert_eq!(read(&dir).unwrap().file, file.canonicalize().unwrap());
        std::fs::copy(&file, dir.join("second.gguf")).unwrap();
        assert!(fault().contains("more than one"), "{}", fault());
        std::fs::remove_file(dir.join("second.gguf")).unwrap();
        std::fs::write(&file, b"GGUF damaged").unwrap();
        assert!(fault().contains("is not the model that its manifest tells of"), "{}", fault());
        std::fs::remove_file(dir.join(MANIFEST)).unwrap();
        assert!(fault().contains("manifest"), "{}", fault());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
