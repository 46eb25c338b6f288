//! Disk images: an ext4 file system in a file, made by mke2fs and looked into by its companions.

use crate::packages::{self, Need};
use crate::workspace::run;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// The tools for ext4, where Debian has them: not in every user's `PATH`.
const E2FSPROGS: Need = Need {
    purpose: "to make and check disks",
    programs: &[],
    files: &["/usr/sbin/mke2fs", "/usr/sbin/e2fsck", "/usr/sbin/debugfs"],
    packages: &["e2fsprogs"],
};

/// Makes an empty disk of `size` (such as `64M`) at `path`, where nothing may be yet.
pub fn make(path: &Path, size: &str) -> Result<()> {
    packages::ensure(&E2FSPROGS)?;
    if path.exists() {
        bail!("{} exists already; remove it first, or choose another path", path.display());
    }
    let number = size.trim_end_matches(['K', 'M', 'G']);
    if number.len() + 1 < size.len() || number.parse::<u32>().is_err() {
        bail!("{size:?} is not a size; write it like 64M");
    }
    // Blocks of 4 KiB whatever the size, and no worry about a journal on a small disk.
    run(Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-b", "4096", "-J", "size=4", "-L", "auton"])
        .arg(path)
        .arg(size))
}

/// Adds the disk at `path` to QEMU's command line.
pub fn add_to(qemu: &mut Command, path: &Path) {
    // A comma in an option is written twice.
    let path = path.display().to_string().replace(',', ",,");
    qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={path}"));
    qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
}

/// Looks for errors in the file system of a disk that no machine uses, after replaying its journal as a mount would.
pub fn check(path: &Path) -> Result<()> {
    packages::ensure(&E2FSPROGS)?;
    run(Command::new("/usr/sbin/e2fsck").args(["-p", "-E", "journal_only"]).arg(path))?;
    run(Command::new("/usr/sbin/e2fsck").args(["-f", "-n"]).arg(path))
}

/// The bytes of a file on the disk.
pub fn read(path: &Path, file: &str) -> Result<Vec<u8>> {
    packages::ensure(&E2FSPROGS)?;
    let output = Command::new("/usr/sbin/debugfs").args(["-R", &format!("cat {file}")]).arg(path).output();
    let output = output.context("debugfs cannot be started")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || complaint.contains("not found") {
        bail!("{file} cannot be read from {}: {}", path.display(), complaint.trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_made_once_and_is_sound() {
        let path = std::env::temp_dir().join(format!("auton-disk-{}", std::process::id()));
        assert!(make(&path, "lots").unwrap_err().to_string().contains("not a size"));
        assert!(make(&path, "64MB").is_err());
        make(&path, "16M").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 16 << 20);
        assert!(make(&path, "16M").unwrap_err().to_string().contains("exists already"));
        check(&path).unwrap();
        assert!(read(&path, "/nothing").is_err());
        std::fs::remove_file(path).unwrap();
    }
}
