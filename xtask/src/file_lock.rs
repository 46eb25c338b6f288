//! A lock between processes, held on a file: who downloads, who builds, who has the CPUs for a guest.

use anyhow::{Context, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Held until dropped. Two holders in one process exclude each other too.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock at `path`; where it must wait, says on standard error for what (`purpose`).
    pub fn acquire(path: &Path, purpose: &str) -> Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("the lock file {} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("waiting for another process: {purpose}");
                file.lock().with_context(|| format!("the lock {} cannot be taken", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("the lock {} cannot be taken", path.display()));
            }
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn holders_exclude_each_other() {
        let path = std::env::temp_dir().join(format!("auton-lock-test-{}", std::process::id()));
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = FileLock::acquire(&path, "test").unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        std::fs::remove_file(path).unwrap();
    }
}
