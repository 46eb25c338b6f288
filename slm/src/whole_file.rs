//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes `bytes` to `file`, making its folder where it is missing. Until all of it is on the disk, what was there before
/// stays; a write that fails (a full disk) leaves nothing behind.
pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = beside(file);
    let all = || -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&unfinished, bytes)?;
        fs::File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, file)
    };
    all()
        .inspect_err(|_| drop(fs::remove_file(&unfinished)))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The name under which a file is written until it is whole.
fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".unfinished");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/a.bin");
        write(&file, b"old").unwrap();
        // A folder in the way of the unfinished file fails the write.
        fs::create_dir(beside(&file)).unwrap();
        assert!(write(&file, b"new").unwrap_err().to_string().contains("a.bin"));
        assert_eq!(fs::read(&file).unwrap(), b"old");
        fs::remove_dir(beside(&file)).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
