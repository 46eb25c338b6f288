//! The peer: llama.cpp's own programs, built from the source that the Python package carries.
//!
//! They are built in the user's cache folder, outside the repository, with explicit instruction-set flags: what
//! `GGML_NATIVE` chooses crashes on some machines with AMX.

mod batches;
mod perplexity;
mod quantise;
mod source;
mod speed;

pub use perplexity::Estimate;
pub use source::vocabularies;

use crate::machine_report::cpu_flags;
use crate::model::fetch::write_atomically;
use crate::workspace::{find_program, run, user_cache_dir};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Version of the `llama-cpp-python` sdist.
pub const VERSION: &str = "0.3.36";

/// The programs that are built.
const PROGRAMS: [&str; 4] = ["llama-batched-bench", "llama-bench", "llama-perplexity", "llama-quantize"];

/// llama.cpp, built.
#[derive(Debug, Clone)]
pub struct LlamaCpp {
    folder: PathBuf,
}

impl LlamaCpp {
    /// Builds the programs the first time (some minutes).
    pub fn build() -> Result<Self> {
        let cache =
            user_cache_dir().context("llama.cpp is built in ~/.cache/auton, and that cannot be written")?;
        let home = source::home()?;
        let (built, stamp) = (Self { folder: home.join("build/bin") }, home.join("flags"));
        let flags = flags_for(&cpu_flags());
        let same_flags = std::fs::read_to_string(&stamp).is_ok_and(|built| built == flags.join(" "));
        if same_flags && PROGRAMS.iter().all(|name| built.folder.join(name).is_file()) {
            return Ok(built);
        }
        let source = source::fetch(&home)?;
        let cmake = cmake(&cache)?;
        let build = home.join("build");
        eprintln!("building llama.cpp in {} (once)", build.display());
        let progress = |command: &mut Command| run(command.stdin(Stdio::null()).stdout(std::io::stderr()));
        progress(Command::new(&cmake).arg("-S").arg(source).arg("-B").arg(&build).args(&flags))?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from).to_string();
        progress(
            Command::new(&cmake)
                .arg("--build")
                .arg(&build)
                .arg("--target")
                .args(PROGRAMS)
                .args(["--parallel", &cpus]),
        )?;
        write_atomically(&stamp, flags.join(" ").as_bytes())?;
        Ok(built)
    }

    /// What a report calls it.
    pub fn name(&self) -> String {
        format!("llama.cpp of llama-cpp-python {VERSION}")
    }

    /// The instruction sets that it was built with.
    pub fn instructions(&self) -> Vec<String> {
        let flags = flags_for(&cpu_flags());
        let on = flags.iter().filter_map(|flag| flag.strip_prefix("-DGGML_")?.strip_suffix("=ON"));
        on.map(str::to_owned).collect()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.stdin(Stdio::null());
        command
    }
}

/// CMake's options for a CPU with `cpu_flags`.
fn flags_for(cpu_flags: &[String]) -> Vec<String> {
    let fixed = [
        "CMAKE_BUILD_TYPE=Release",
        "BUILD_SHARED_LIBS=OFF",
        "GGML_NATIVE=OFF",
        "GGML_AMX_TILE=OFF",
        "GGML_AMX_INT8=OFF",
        "GGML_AMX_BF16=OFF",
        "GGML_CCACHE=OFF",
        "LLAMA_OPENSSL=OFF",
        "LLAMA_BUILD_TESTS=OFF",
        "LLAMA_BUILD_EXAMPLES=OFF",
        "LLAMA_BUILD_SERVER=OFF",
        "LLAMA_BUILD_APP=OFF",
    ];
    let chosen = [
        ("GGML_SSE42", "sse4_2"),
        ("GGML_AVX", "avx"),
        ("GGML_AVX2", "avx2"),
        ("GGML_BMI2", "bmi2"),
        ("GGML_FMA", "fma"),
        ("GGML_F16C", "f16c"),
        ("GGML_AVX512", "avx512bw"),
        ("GGML_AVX512_VNNI", "avx512_vnni"),
        ("GGML_AVX512_VBMI", "avx512vbmi"),
    ]
    .map(|(option, flag)| {
        let value = if cpu_flags.iter().any(|have| have == flag) { "ON" } else { "OFF" };
        format!("{option}={value}")
    });
    fixed.into_iter().map(str::to_owned).chain(chosen).map(|option| format!("-D{option}")).collect()
}

/// CMake from `PATH`, else from PyPI into the cache folder.
fn cmake(cache: &Path) -> Result<PathBuf> {
    if let Some(installed) = find_program("cmake") {
        return Ok(installed);
    }
    let folder = cache.join("cmake");
    let program = folder.join("cmake/data/bin/cmake");
    if !program.is_file() {
        source::pip(&["install", "--no-deps", "--quiet", "cmake"], "--target", &folder)?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_cpu_has_is_turned_on() {
        let flags = flags_for(&["avx".to_owned(), "avx2".to_owned()]);
        assert!(flags.contains(&"-DGGML_AVX2=ON".to_owned()));
        assert!(flags.contains(&"-DGGML_AVX512=OFF".to_owned()));
        assert!(flags.contains(&"-DGGML_NATIVE=OFF".to_owned()));
    }
}
