//! A file that the guest sees as memory (`ivshmem-plain`), and the document that it exported there ([`control::export`]).

use anyhow::{Context, Result};
use control::export::{self, ExportError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of the file, a power of two.
const SIZE: u64 = 1 << 20;
/// Copies that are made until one is whole.
const TRIES: u32 = 50;

/// Adds the region at `path` to QEMU's command line. The file is made if there is none; what it holds stays.
pub fn add_to(qemu: &mut Command, path: &Path) {
    // A comma in an option is written twice.
    let path = path.display().to_string().replace(',', ",,");
    qemu.arg("-object").arg(format!("memory-backend-file,id=export,share=on,mem-path={path},size={SIZE}"));
    qemu.args(["-device", "ivshmem-plain,memdev=export"]);
}

/// The document that lies in the region now. The guest may be writing another one meanwhile.
pub fn read(path: &PathBuf) -> Result<Vec<u8>> {
    for _ in 1..TRIES {
        match document(path) {
            Err(error) if is_passing(&error) => std::thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
    document(path)
}

fn document(path: &PathBuf) -> Result<Vec<u8>> {
    let copy = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    export::read(&copy).map(<[u8]>::to_vec).with_context(|| path.display().to_string())
}

fn is_passing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ExportError::Unfinished | ExportError::Damaged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_from_a_file() {
        let path = std::env::temp_dir().join(format!("auton-region-{}", std::process::id()));
        assert!(read(&path).unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(&path, [0; 100]).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("nothing was exported"));
        let mut region = export::header(2, b"{}").to_vec();
        region.extend_from_slice(b"{} and the rest of the region");
        std::fs::write(&path, region).unwrap();
        assert_eq!(read(&path).unwrap(), b"{}");
        std::fs::remove_file(path).unwrap();
    }
}
