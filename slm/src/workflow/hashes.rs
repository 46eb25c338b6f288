//! SHA-256 of files and folders: how a later run knows that nothing has changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Hashes by path. What is not there has the hash `absent`.
pub type Hashes = BTreeMap<String, String>;

/// The hashes of `paths`; a folder's is that of its files' names and hashes.
pub fn of(paths: &[PathBuf]) -> Result<Hashes> {
    paths.iter().map(|path| Ok((path.display().to_string(), hash(path)?))).collect()
}

fn hash(path: &Path) -> Result<String> {
    let unreadable = || format!("{} cannot be read", path.display());
    let Ok(metadata) = std::fs::metadata(path) else { return Ok("absent".to_owned()) };
    let mut sha = Sha256::new();
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).with_context(unreadable)?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            sha.update(name.as_encoded_bytes());
            sha.update(hash(&path.join(&name))?);
        }
    } else {
        let mut file = File::open(path).with_context(unreadable)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).with_context(unreadable)? {
                0 => break,
                n => sha.update(&buffer[..n]),
            }
        }
    }
    Ok(sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_names_count_dates_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("in");
        std::fs::create_dir(&inside).unwrap();
        let both = [inside.clone(), folder.path().join("missing")];
        std::fs::write(inside.join("a"), "1").unwrap();
        let first = of(&both).unwrap();
        assert_eq!(first[&both[1].display().to_string()], "absent");
        std::fs::write(inside.join("a"), "1").unwrap();
        assert_eq!(of(&both).unwrap(), first);
        std::fs::rename(inside.join("a"), inside.join("b")).unwrap();
        assert_ne!(of(&both).unwrap(), first);
    }
}
