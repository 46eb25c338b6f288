//! `integration_test_report.json`: what was tried, what came of it, on which machine. Its schema is
//! `docs/schemas/integration-test-report.schema.json`.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use xtask::machine_report::{host, virtual_machine};

use super::candidates::{Candidate, Stage};
use crate::table::mib;
use crate::whole_file;

/// How far a test came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the file and running it on the host.
    Read,
    /// Seeing whether it fits the machine.
    Size,
    /// Building the kernel with it.
    Build,
    /// Booting that kernel.
    Boot,
    /// The kernel's loading the model.
    Load,
    /// Its answers.
    Tokens,
}

impl Phase {
    /// Its name in sentences and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Read => "read",
            Phase::Size => "size",
            Phase::Build => "build",
            Phase::Boot => "boot",
            Phase::Load => "load",
            Phase::Tokens => "tokens",
        }
    }
}

/// Why a test was not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where it ended.
    pub phase: Phase,
    /// Why.
    pub reason: String,
}

/// A question that both were asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The question.
    pub prompt: String,
    /// The kernel's answer.
    pub kernel: String,
    /// The host's.
    pub host: String,
    /// Tokens of the kernel's answer.
    pub tokens: usize,
    /// Whether text and number of tokens are the same.
    pub same: bool,
    /// From asking to the last token, in the kernel.
    pub total_ms: f64,
}

/// One test of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Why it was tried.
    pub stage: Stage,
    /// The file, or that there is none.
    pub shown: String,
    /// Its copy in the kernel's build.
    pub place: Option<PathBuf>,
    /// Size of the file.
    pub bytes: u64,
    /// The file's hash.
    pub sha256: Option<String>,
    /// What most of its numbers are.
    pub quantisation: Option<String>,
    /// Why it was not passed.
    pub failure: Option<Failure>,
    /// From QEMU's start to the prompt.
    pub boot_s: Option<f64>,
    /// What the kernel took to load it.
    pub load_ms: Option<f64>,
    /// What ten tokens took, reading the question included.
    pub ten_tokens_ms: Option<f64>,
    /// Its answers.
    pub prompts: Vec<Compared>,
}

impl Attempt {
    /// Of a candidate that nothing is known of yet.
    pub fn of(candidate: &Candidate) -> Self {
        Attempt {
            stage: candidate.stage,
            shown: candidate.shown(),
            place: None,
            bytes: 0,
            sha256: None,
            quantisation: None,
            failure: None,
            boot_s: None,
            load_ms: None,
            ten_tokens_ms: None,
            prompts: Vec::new(),
        }
    }

    fn json(&self) -> Value {
        let failure = self.failure.as_ref();
        json!({
            "stage": self.stage.name(),
            "model": self.shown,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "quantisation": self.quantisation,
            "passed": failure.is_none(),
            "failed_at": failure.map(|failure| failure.phase.name()),
            "reason": failure.map(|failure| &failure.reason),
            "boot_s": self.boot_s,
            "load_ms": self.load_ms,
            "ten_tokens_ms": self.ten_tokens_ms,
            "prompts": self.prompts.iter().map(|asked| json!({
                "prompt": asked.prompt,
                "kernel": asked.kernel,
                "host": asked.host,
                "tokens": asked.tokens,
                "same": asked.same,
                "total_ms": asked.total_ms,
            })).collect::<Vec<_>>(),
        })
    }
}

/// All that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// In order; only the last can have passed.
    pub attempts: Vec<Attempt>,
    host: String,
    virtual_machine: String,
}

impl Report {
    /// Of this machine; nothing was tried yet.
    pub fn new() -> Self {
        Report { attempts: Vec::new(), host: host(), virtual_machine: virtual_machine() }
    }

    /// Whether the wanted model passed.
    pub fn passed(&self) -> bool {
        self.attempts.first().is_some_and(|attempt| attempt.failure.is_none())
    }

    /// What was rolled back to.
    pub fn rolled_back_to(&self) -> Option<Stage> {
        let last = self.attempts.last().filter(|_| !self.passed())?;
        last.failure.is_none().then_some(last.stage)
    }

    /// The document.
    pub fn json(&self) -> Value {
        json!({
            "schema": "auton.integration",
            "version": 1,
            "passed": self.passed(),
            "rolled_back_to": self.rolled_back_to().map(Stage::name),
            "host": self.host,
            "virtual_machine": self.virtual_machine,
            "attempts": self.attempts.iter().map(Attempt::json).collect::<Vec<_>>(),
        })
    }

    /// Writes the document, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            xtask::workspace::created(folder.to_path_buf())?;
        }
        whole_file::write(path, format!("{:#}\n", self.json()).as_bytes())
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for attempt in &self.attempts {
            let verdict = if attempt.failure.is_none() { "passed" } else { "failed" };
            writeln!(f, "{}: {} ({}): {verdict}", attempt.stage.name(), attempt.shown, mib(attempt.bytes))?;
            if let Some(failure) = &attempt.failure {
                writeln!(f, "  {}: {}", failure.phase.name(), failure.reason)?;
            }
            if let (Some(boot), Some(load), Some(ten)) =
                (attempt.boot_s, attempt.load_ms, attempt.ten_tokens_ms)
            {
                writeln!(f, "  prompt after {boot:.1} s, loaded in {load:.0} ms, ten tokens in {ten:.0} ms")?;
            }
            for asked in &attempt.prompts {
                let same = if asked.same { "same as the host" } else { "NOT the host's" };
                writeln!(f, "  {:?} -> {:?} ({} tokens, {same})", asked.prompt, asked.kernel, asked.tokens)?;
            }
        }
        writeln!(f, "on {}, {}", self.host, self.virtual_machine)
    }
}

#[cfg(test)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_keeps_to_its_schema() {
        let text = include_str!("../../../docs/schemas/integration-test-report.schema.json");
        let schema: Value = serde_json::from_str(text).unwrap();
        let candidate = |stage, file: Option<&str>| Candidate { stage, file: file.map(Into::into) };
        let failed = Attempt {
            failure: Some(Failure { phase: Phase::Load, reason: "too large".into() }),
            ..Attempt::of(&candidate(Stage::Wanted, Some("a.gguf")))
        };
        let asked = Compared {
            prompt: "p".into(),
            kernel: "k".into(),
            host: "k".into(),
            tokens: 10,
            same: true,
            total_ms: 1.5,
        };
        let passed = Attempt {
            bytes: 3,
            sha256: Some("ab".into()),
            quantisation: Some("Q4_0".into()),
            boot_s: Some(1.0),
            load_ms: Some(2.0),
            ten_tokens_ms: Some(3.0),
            prompts: vec![asked],
            ..Attempt::of(&candidate(Stage::Previous, Some("b.gguf")))
        };
        let mut report = Report::new();
        report.attempts = vec![failed, passed];
        assert_eq!(report.rolled_back_to(), Some(Stage::Previous));
        assert_eq!(xtask::schema_check::check(&report.json(), &schema), Ok(()));
        assert!(report.to_string().contains("too large"));
        let mut broken = report.json();
        broken["attempts"][0]["failed_at"] = "somewhere".into();
        assert!(xtask::schema_check::check(&broken, &schema).is_err());
    }
}
