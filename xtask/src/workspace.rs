//! Where things lie, and how cargo and other programs are called.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folders of this checkout.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The repository's root.
    pub root: PathBuf,
    /// Cargo's target folder: `CARGO_TARGET_DIR` where it is set, else `target/`.
    pub target: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub fn find() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().unwrap_or(here).to_path_buf();
        let target = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"]
            .iter()
            .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { root, target }
    }

    /// `target/auton`: kernels, images and locks. Created if absent.
    pub fn auton_dir(&self) -> Result<PathBuf> {
        created(self.target.join("auton"))
    }

    /// `target/models`: the model files that kernels are built with. Created if absent.
    pub fn models_dir(&self) -> Result<PathBuf> {
        created(self.target.join("models"))
    }

    /// A cargo call that does not inherit what an enclosing `cargo run` or `cargo test` has set for *this* program.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(set_by_cargo_for_a_program) {
                command.env_remove(name);
            }
        }
        // A kernel is never built with a model that a caller's environment happens to name.
        command.env_remove("AUTON_MODEL_FILE").env_remove("AUTON_MODEL_MANIFEST");
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .stdin(Stdio::null());
        command
    }
}

/// `$XDG_CACHE_HOME/auton` or `~/.cache/auton`: what outlives a checkout. Created if absent; `None` where there is
/// no home or it cannot be written.
pub fn user_cache_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| Path::new(dir).is_absolute())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    created(base.join("auton")).ok()
}

/// Runs `command` to its end; an error says which program failed and how.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{name} cannot be started"))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        bail!("`{name} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// The path of `program` in `PATH`, if it is there.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Creates `dir` with its parents and gives it back.
pub fn created(dir: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be created", dir.display()))?;
    Ok(dir)
}

/// Whether cargo sets `name` for the program that it runs, describing that program's own package.
fn set_by_cargo_for_a_program(name: &str) -> bool {
    const PREFIXES: [&str; 6] =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_CFG_", "CARGO_FEATURE_"];
    matches!(name, "CARGO" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR" | "RUST_RECURSION_COUNT")
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(Workspace::find().root.join("rust-toolchain.toml").is_file());
    }

    #[test]
    fn what_describes_xtask_does_not_reach_the_kernels_build() {
        assert!(set_by_cargo_for_a_program("CARGO_PKG_NAME"));
        assert!(set_by_cargo_for_a_program("CARGO_MANIFEST_DIR"));
        assert!(!set_by_cargo_for_a_program("CARGO_HOME"));
        assert!(!set_by_cargo_for_a_program("CARGO_NET_OFFLINE"));
        let cargo = Workspace::find().cargo(&["--version"]);
        assert!(cargo.get_envs().any(|(name, value)| name == "CARGO_PKG_NAME" && value.is_none()));
    }

    #[test]
    fn a_failing_program_is_named() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.contains("`false `"), "{error}");
    }
}
