//! `cargo xtask tutorial`: follows `docs/train-your-first-slm.md` word by word, so that what it says stays true.
//!
//! The commands are the blocks marked `sh`; they run in order, in one folder, each in a shell of its own that stops at its
//! first failure. A block marked `text` right behind one says what its output looks like, `…` standing for anything: its lines
//! must come in this order.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The tutorial, relative to the root.
pub const TUTORIAL: &str = "docs/train-your-first-slm.md";

/// A block of commands, and lines that their output must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What a reader types.
    pub commands: String,
    /// Patterns of output lines, in their order.
    pub shown: Vec<String>,
}

/// Runs every command of the tutorial.
pub fn follow() -> Result<()> {
    let workspace = Workspace::find();
    let path = workspace.root.join(TUTORIAL);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let began = Instant::now();
    let blocks = blocks(&text)?;
    ensure!(!blocks.is_empty(), "{} has no commands", path.display());
    for block in blocks {
        for line in block.commands.lines() {
            println!("$ {line}");
        }
        let started = Instant::now();
        let output = run(&workspace, &block.commands)?;
        if let Some(missing) = missing(&block.shown, &output) {
            bail!(
                "the tutorial shows the line {missing:?}, which did not come (in this order) from:\n{}",
                block.commands
            );
        }
        println!("({:.1} s)\n", started.elapsed().as_secs_f64());
    }
    println!("The tutorial holds ({:.0} s).", began.elapsed().as_secs_f64());
    Ok(())
}

/// Runs commands in the root; their output is printed as it comes, and given back.
fn run(workspace: &Workspace, commands: &str) -> Result<String> {
    let mut shell = Command::new("bash");
    // Whatever fails, in a pipe too, ends it; the output comes on one stream, as on a terminal.
    shell.args(["-c", &format!("exec 2>&1\nset -euo pipefail\n{commands}")]);
    shell.current_dir(&workspace.root).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = shell.spawn().context("bash cannot be started")?;
    let output = child.stdout.take().context("bash has no output")?;
    let mut all = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("the output cannot be read")?).into_owned();
        println!("{line}");
        all += &line;
        all.push('\n');
    }
    let status = child.wait().context("bash is lost")?;
    ensure!(status.success(), "these commands of the tutorial failed ({status}):\n{commands}");
    Ok(all)
}

/// The first pattern that no line matches, behind the line that matched the one before.
fn missing<'a>(patterns: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    patterns.iter().map(String::as_str).find(|pattern| !lines.any(|line| matches(pattern, line)))
}

/// Whether a line is what a pattern says; `…` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.trim_end().strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The tutorial's commands.
pub fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let mut inside = Vec::new();
        loop {
            match lines.next() {
                Some("```") => break,
                Some(line) => inside.push(line.trim_end().to_owned()),
                None => bail!("a block of {TUTORIAL} has no end"),
            }
        }
        match (language, blocks.last_mut()) {
            ("sh", _) => blocks.push(Block { commands: inside.join("\n"), shown: Vec::new() }),
            ("text", Some(Block { shown, .. })) => {
                shown.extend(inside.into_iter().filter(|line| !line.trim_matches([' ', '…']).is_empty()));
            }
            _ => {}
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_commands_and_what_they_show() {
        let text = "# T\n```sh\none\ntwo\n```\nshows\n```text\na … b\n…\nc\n```\n```toml\nx = 1\n```\n```sh\nthree\n```\n";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].commands.as_str(), found[0].shown.len()), ("one\ntwo", 2));
        assert!(blocks("```sh\none").is_err());
    }

    #[test]
    fn lines_match_with_gaps() {
        assert!(matches("loaded in … ms", "loaded in 12 ms"));
        assert!(matches("…done…", "task done in 1 s"));
        assert!(matches("same", "same  "));
        assert!(!matches("loaded in … ms", "loaded in 12 s"));
        assert!(!matches("same", "same again"));
        let patterns = ["a…".to_owned(), "b".to_owned()];
        assert_eq!(missing(&patterns, "x\nab\nb\n"), None);
        assert_eq!(missing(&patterns, "b\nab\n"), Some("b"));
    }

    #[test]
    fn a_failing_command_is_told() {
        let workspace = Workspace::find();
        assert_eq!(run(&workspace, "echo a; echo b >&2").unwrap(), "a\nb\n");
        assert!(run(&workspace, "false | true").unwrap_err().to_string().contains("false | true"));
    }

    #[test]
    fn the_tutorial_has_the_projects_two_commands() {
        let text = std::fs::read_to_string(Workspace::find().root.join(TUTORIAL)).unwrap();
        let commands: Vec<String> = blocks(&text).unwrap().into_iter().map(|block| block.commands).collect();
        for mode in ["slm-training", "dual"] {
            let command = format!("cargo run -p slm -- run --mode {mode} \"train a smoke model\"");
            assert!(commands.iter().any(|block| block.contains(&command)), "{command}");
        }
    }
}
