//! The models that `auton integrate` has put into the kernel's build: `target/models/integrated`, a folder for each, and
//! the name of the one that counts.
//!
//! Nothing is ever half there: a folder appears whole by a rename, and so does the name.

use super::fetch::write_atomically;
use super::folder;
use super::manifest::Manifest;
use crate::file_lock::FileLock;
use crate::workspace::{Workspace, created};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The file with the name of the model that counts.
const CURRENT: &str = "current";

/// The folder of integrated models.
#[derive(Debug, Clone)]
pub struct Integrated(PathBuf);

impl Integrated {
    /// This checkout's.
    pub fn find() -> Result<Self> {
        Self::at(&Workspace::find().models_dir()?.join("integrated"))
    }

    /// Those in `folder`, which is created if absent.
    pub fn at(folder: &Path) -> Result<Self> {
        created(folder.to_path_buf()).map(Self)
    }

    /// Copies a GGUF here, with a manifest made from its metadata; the folder of the two. It does not count yet.
    pub fn add(&self, file: &Path) -> Result<PathBuf> {
        let manifest = Manifest::of_file(file)?;
        let place = self.0.join(&manifest.sha256[..16]);
        if folder::read(&place).is_ok() {
            return Ok(place);
        }
        let part = self.0.join(format!("{}.{}.part", &manifest.sha256[..16], std::process::id()));
        let _ = std::fs::remove_dir_all(&part);
        let copy = || -> Result<()> {
            created(part.clone())?;
            let target = part.join("model.gguf");
            std::fs::copy(file, &target)
                .with_context(|| format!("{} cannot be written", target.display()))?;
            manifest.write(&part.join(folder::MANIFEST))?;
            // The copy, not only the original, is what the manifest tells of.
            folder::read(&part)?;
            let _ = std::fs::remove_dir_all(&place);
            std::fs::rename(&part, &place).with_context(|| format!("{} cannot be written", place.display()))
        };
        let result = copy();
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&part);
        }
        result.map(|()| place)
    }

    /// The folder of the model that counts; `None` where there is none, or its folder is gone.
    pub fn current(&self) -> Result<Option<PathBuf>> {
        let Ok(name) = std::fs::read_to_string(self.0.join(CURRENT)) else { return Ok(None) };
        let name = name.trim();
        // The name of a folder here, not a path to anywhere.
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let place = self.0.join(name);
        Ok((plain && place.is_dir()).then_some(place))
    }

    /// Removes the copies that do not count, which are many megabytes each.
    pub fn forget_others(&self) -> Result<()> {
        let current = self.current()?;
        for entry in
            std::fs::read_dir(&self.0).with_context(|| format!("{} cannot be read", self.0.display()))?
        {
            let place = entry?.path();
            if place.is_dir() && Some(&place) != current.as_ref() {
                std::fs::remove_dir_all(&place)
                    .with_context(|| format!("{} cannot be removed", place.display()))?;
            }
        }
        Ok(())
    }

    /// Held while models are tried, so that nobody else removes them meanwhile.
    pub fn lock(&self) -> Result<FileLock> {
        FileLock::acquire(&self.0.join("lock"), "integrating a model")
    }

    /// From now on the model in `place`, which [`Integrated::add`] gave, counts; `None`: no model does.
    pub fn set_current(&self, place: Option<&Path>) -> Result<()> {
        let name = place.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        write_atomically(&self.0.join(CURRENT), format!("{name}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::folder::tests::write_model;

    #[test]
    fn a_model_is_copied_whole_and_counts_when_it_is_said() {
        let dir =
            created(std::env::temp_dir().join(format!("auton-integrated-{}", std::process::id()))).unwrap();
        let store = Integrated::at(&dir.join("store")).unwrap();
        let file = write_model(&dir);
        assert!(store.current().unwrap().is_none());
        let place = store.add(&file).unwrap();
        assert!(store.current().unwrap().is_none());
        store.set_current(Some(&place)).unwrap();
        assert_eq!(store.current().unwrap().unwrap(), place);
        assert_eq!(store.add(&file).unwrap(), place);
        // What is no model leaves nothing behind.
        std::fs::write(&file, b"no model").unwrap();
        assert!(store.add(&file).is_err());
        assert_eq!(std::fs::read_dir(dir.join("store")).unwrap().count(), 2);
        assert_eq!(store.current().unwrap().unwrap(), place);
        let other = dir.join("store/0123456789abcdef");
        std::fs::create_dir(&other).unwrap();
        store.forget_others().unwrap();
        assert!(!other.exists() && place.exists());
        store.set_current(None).unwrap();
        assert!(store.current().unwrap().is_none());
        std::fs::write(dir.join("store").join(CURRENT), "../..").unwrap();
        assert!(store.current().unwrap().is_none());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
