//! `export onnx --check`: onnxruntime's logits beside those of our own forward pass.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::forward::Forward;
use crate::trained::Trained;

/// What pip installs: versions that were tried. Neither needs anything else to run a model.
const PACKAGES: [&str; 2] = ["onnxruntime==1.23.2", "numpy==2.3.5"];
/// The largest difference of a logit that is taken for rounding.
const LARGEST: f32 = 1e-3;
/// The program that onnxruntime runs in.
const SCRIPT: &str = include_str!("check_onnx.py");
/// Tokens of a sequence, and sequences, in each comparison; a length above the context is cut to it.
const SIZES: [(usize, usize); 3] = [(1, 1), (37, 2), (usize::MAX, 1)];

/// Compares on token sequences made by a rule; the largest difference of a logit.
pub fn check(file: &Path, model: &Trained) -> Result<f32> {
    let python = python()?;
    let forward = Forward::new(model)?;
    let vocabulary = model.shape.vocabulary;
    let mut largest = 0.0f32;
    for (length, batch) in SIZES {
        let length = length.min(model.shape.context as usize);
        // A full-period generator: ids from all over the vocabulary.
        let next = |id: &u64| Some((id * 6_364_136_223 + 1_442_695_041) % (1 << 31));
        let ids: Vec<u32> = std::iter::successors(Some(1u64), next)
            .skip(1)
            .map(|id| (id % vocabulary) as u32)
            .take(length * batch)
            .collect();
        let theirs = onnxruntime(&python, file, &ids, batch)?;
        let mut ours = Vec::new();
        for sequence in ids.chunks(length) {
            ours.extend(forward.logits(sequence)?.flatten_all()?.to_vec1::<f32>()?);
        }
        ensure!(ours.len() == theirs.len(), "onnxruntime gave {} logits, not {}", theirs.len(), ours.len());
        let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
        // NaN is not below anything.
        largest = off.fold(largest, |most, off| if off <= most { most } else { off });
    }
    if largest <= LARGEST {
        return Ok(largest);
    }
    bail!(
        "{}: onnxruntime's logits differ by {largest:.2e} from the model's, more than {LARGEST:.0e}",
        file.display()
    )
}

/// Logits of `batch` sequences of the same length.
fn onnxruntime(python: &Path, file: &Path, ids: &[u32], batch: usize) -> Result<Vec<f32>> {
    let place = |what: &str| std::env::temp_dir().join(format!("auton-onnx-{}.{what}", std::process::id()));
    let (input, output) = (place("ids"), place("logits"));
    let bytes: Vec<u8> = ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
    let work = || -> Result<Vec<f32>> {
        std::fs::write(&input, bytes).with_context(|| format!("cannot write {}", input.display()))?;
        let batch = batch.to_string();
        let arguments = [
            "-c".as_ref(),
            SCRIPT.as_ref(),
            file.as_os_str(),
            input.as_os_str(),
            batch.as_ref(),
            output.as_os_str(),
        ];
        run(python.as_os_str(), &arguments).context("onnxruntime does not run the model")?;
        let logits = std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
        Ok(logits.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    };
    let result = work();
    let _ = (std::fs::remove_file(&input), std::fs::remove_file(&output));
    result
}

/// The interpreter of a virtual environment with onnxruntime, made the first time.
fn python() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache =
        cache.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set: onnxruntime has no place")?;
    let folder = cache.join("auton/onnx-venv");
    let (python, stamp) = (folder.join("bin/python3"), folder.join("packages"));
    let wanted = PACKAGES.join("\n");
    if python.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    eprintln!("installing {} in {} (once)", PACKAGES.join(" and "), folder.display());
    run("python3".as_ref(), &["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), folder.as_os_str()])
        .context("no virtual environment for onnxruntime: Debian's package python3-venv makes them")?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--no-deps",
    ];
    let arguments: Vec<&OsStr> = pip.iter().chain(&PACKAGES).map(OsStr::new).collect();
    run(python.as_os_str(), &arguments).context("pip cannot install onnxruntime: is PyPI in reach?")?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

/// Runs a program; what it said last is the complaint where it fails.
fn run(program: &OsStr, arguments: &[&OsStr]) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be started", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
        bail!("{} failed ({}): {last}", program.display(), output.status);
    }
    Ok(())
}
