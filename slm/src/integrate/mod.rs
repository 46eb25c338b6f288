//! `auton integrate`: a model into the kernel, and out again if it does not hold there.
//!
//! A model is copied into the kernel's build, the kernel is built with it, boots in QEMU, and must give the host's tokens.
//! Only then it counts (`AUTON_MODEL=integrated cargo run` boots it). Where it fails, the next of these is tried by the
//! same test, until one passes: the model that counted before, a smaller one, other quantisations of the same one, and at
//! last no model, whose place the rule engine takes.

pub mod candidates;
pub mod host;
pub mod report;
pub mod trial;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xtask::model::integrated::Integrated;

use crate::run_folder::RunFolder;
use candidates::{Candidate, Stage};
use report::{Attempt, Report};
use trial::{Machine, Trial};

/// What to integrate, and how to test it.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The run's folder.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// The model; the smallest GGUF of the run unless given.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// A question for the test, beside the usual ones.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Memory of the test's machine.
    #[arg(long, default_value = "1G")]
    pub memory: String,
    /// CPUs of the test's machine.
    #[arg(long, default_value_t = 2)]
    pub cpus: u32,
}

/// What the model is asked to continue beside the questions of `--prompt`.
pub const PROMPTS: [&str; 3] = [
    "PCI device 8086:10d3 is",
    "NAME: ls - list directory contents.",
    "To see how much memory is free, type",
];

/// Integrates; an error where the wanted model is not the one that counts in the end.
pub fn integrate(args: &Args) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let store = Integrated::find()?;
    let _turn = store.lock()?;
    let list = candidates::find(&run, args.model.as_deref(), &store)?;
    let mut prompts: Vec<String> = PROMPTS.map(str::to_owned).to_vec();
    prompts.extend(args.prompt.iter().cloned());
    let machine = Machine { memory: args.memory.clone(), cpus: args.cpus };
    let mut trial =
        Trial { store: &store, machine, prompts: prompts.clone(), host: &host::continue_greedily };
    trial.check_prompts()?;
    let report = integrate_with(list, &store, &mut |candidate| trial.run(candidate))?;
    store.forget_others()?;
    let place = run.join("integration_test_report.json");
    report.write(&place)?;
    print!("{report}");
    println!("{}", place.display());
    report.verdict()
}

/// Tries one candidate after the other until one passes, which counts from then on.
pub fn integrate_with(
    list: Vec<Candidate>,
    store: &Integrated,
    test: &mut dyn FnMut(&Candidate) -> Attempt,
) -> Result<Report> {
    let mut report = Report::new();
    for candidate in list {
        eprintln!("{}: {}", candidate.stage.name(), candidate.shown());
        let attempt = test(&candidate);
        let passed = attempt.failure.is_none();
        if let Some(failure) = &attempt.failure {
            eprintln!("{} failed ({}): {}", candidate.stage.name(), failure.phase.name(), failure.reason);
        }
        let place = attempt.place.clone();
        report.attempts.push(attempt);
        if passed {
            let place = match candidate.stage {
                Stage::RuleEngine => None,
                _ => Some(place.context("a model that passed has no place in the kernel's build")?),
            };
            store.set_current(place.as_deref())?;
            return Ok(report);
        }
    }
    Ok(report)
}

impl Report {
    /// An error in one sentence, unless the wanted model passed.
    pub fn verdict(&self) -> Result<()> {
        let first = self.attempts.first().context("there was nothing to integrate")?;
        let Some(failure) = &first.failure else { return Ok(()) };
        let reason = format!("{} ({}: {})", first.shown, failure.phase.name(), failure.reason);
        match self.attempts.last().filter(|last| last.failure.is_none()) {
            Some(last) => bail!(
                "the model was not integrated: {reason}; rolled back to {}: {}",
                last.stage.name(),
                last.shown
            ),
            None => bail!(
                "the model was not integrated: {reason}; nothing that it could be rolled back to passed either"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{Failure, Phase};

    /// Runs with a test that only `good` stages pass; the stages that were tried, and the verdict.
    fn stages(good: &[Stage]) -> (Vec<Stage>, Option<String>, Option<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Integrated::at(&folder.path().join("store")).unwrap();
        let place = folder.path().join("store/abc");
        std::fs::create_dir(&place).unwrap();
        let list = Stage::ALL
            .map(|stage| Candidate { stage, file: (stage != Stage::RuleEngine).then(|| "m.gguf".into()) });
        let mut test = |candidate: &Candidate| {
            let failure = (!good.contains(&candidate.stage))
                .then(|| Failure { phase: Phase::Tokens, reason: "other tokens".into() });
            let place = candidate.file.is_some().then(|| place.clone());
            Attempt { failure, place, ..Attempt::of(candidate) }
        };
        let report = integrate_with(list.to_vec(), &store, &mut test).unwrap();
        let tried = report.attempts.iter().map(|attempt| attempt.stage).collect();
        let counts = store.current().unwrap().map(|place| place.file_name().unwrap().into());
        (tried, report.verdict().err().map(|error| error.to_string()), counts)
    }

    #[test]
    fn each_stage_is_reached_when_those_before_it_fail() {
        let (tried, verdict, counts) = stages(&Stage::ALL);
        assert_eq!((tried.as_slice(), verdict, counts), (&Stage::ALL[..1], None, Some("abc".into())));
        for (number, stage) in Stage::ALL.iter().enumerate().skip(1) {
            let (tried, verdict, counts) = stages(&[*stage]);
            assert_eq!(tried, &Stage::ALL[..=number]);
            let verdict = verdict.unwrap();
            assert!(verdict.contains(&format!("rolled back to {}", stage.name())), "{verdict}");
            assert!(verdict.contains("other tokens"), "{verdict}");
            assert_eq!(counts.is_some(), *stage != Stage::RuleEngine);
        }
        let (tried, verdict, counts) = stages(&[]);
        assert_eq!((tried.len(), counts), (5, None));
        assert!(verdict.unwrap().contains("nothing that it could be rolled back to"));
    }
}
