//! llama.cpp's source, which the Python package's sdist carries: the peer is built from it, and its vocabularies are
//! what the tokenizer is tested with.

use super::VERSION;
use crate::file_lock::FileLock;
use crate::model::fetch::write_atomically;
use crate::workspace::{created, run, user_cache_dir};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// SHA-256 of the sdist. pip compares it before it unpacks anything.
const SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";

/// The folder in which llama.cpp is kept and built.
pub(super) fn home() -> Result<PathBuf> {
    let cache =
        user_cache_dir().context("llama.cpp is kept in ~/.cache/auton, and that cannot be written")?;
    created(cache.join(format!("llama.cpp-{VERSION}")))
}

/// The folder of the vocabularies; downloads the source (77 MB) where it is missing.
pub fn vocabularies() -> Result<PathBuf> {
    let folder = fetch(&home()?)?.join("models");
    let count = std::fs::read_dir(&folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?
        .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().ends_with(".gguf.inp")))
        .count();
    if count == 0 {
        bail!("{} has no vocabularies: remove {} and try again", folder.display(), home()?.display());
    }
    eprintln!("{count} vocabularies with expected token numbers");
    Ok(folder)
}

/// The unpacked source in `home`; downloads the sdist where it is missing.
pub(super) fn fetch(home: &Path) -> Result<PathBuf> {
    let _turn = FileLock::acquire(&home.join("source.lock"), "fetching llama.cpp's source")?;
    let name = format!("llama_cpp_python-{VERSION}");
    let source = home.join(&name).join("vendor/llama.cpp");
    // What is here is whole: it was unpacked elsewhere and then moved.
    if source.join("CMakeLists.txt").is_file() {
        return Ok(source);
    }
    let part = created(home.join("source.part"))?;
    let unpack = || {
        let requirement = part.join("requirement.txt");
        write_atomically(&requirement, requirement_line().as_bytes())?;
        eprintln!("downloading llama.cpp's source (77 MB) from PyPI: llama-cpp-python {VERSION}");
        let arguments =
            ["download", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes", "-r"];
        let requirement = requirement.to_string_lossy();
        pip(&[&arguments[..], &[&*requirement]].concat(), "--dest", &part)?;
        let archive = part.join(format!("{name}.tar.gz"));
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&part).stdin(Stdio::null()))?;
        let _ = std::fs::remove_dir_all(home.join(&name));
        std::fs::rename(part.join(&name), home.join(&name)).context("the source cannot be moved into place")
    };
    let result = unpack();
    let _ = std::fs::remove_dir_all(&part);
    result?;
    Ok(source)
}

/// The sdist as a line of pip's requirement files.
fn requirement_line() -> String {
    format!("llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n")
}

/// Runs pip with the given place as the value of its option `place`; its progress goes to standard error.
pub(super) fn pip(arguments: &[&str], place: &str, folder: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip"]).args(arguments).arg(place).arg(folder);
    run(pip.stdin(Stdio::null()).stdout(std::io::stderr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdist_is_pinned() {
        let line = requirement_line();
        let (name, hash) = line.trim().split_once(" --hash=sha256:").unwrap();
        assert_eq!(name, format!("llama-cpp-python=={VERSION}"));
        assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let home =
            created(std::env::temp_dir().join(format!("auton-source-{}", std::process::id()))).unwrap();
        let source = created(home.join(format!("llama_cpp_python-{VERSION}/vendor/llama.cpp"))).unwrap();
        std::fs::write(source.join("CMakeLists.txt"), "").unwrap();
        assert_eq!(fetch(&home).unwrap(), source);
        std::fs::remove_dir_all(home).unwrap();
    }
}
