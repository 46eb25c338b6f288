//! `auton integrate` for real: kernels are built and booted, failures are put in, and each stage of the rollback is reached.

mod common;
#[path = "../../xtask/src/schema_check.rs"]
mod schema_check;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Fixture;
use slm::integrate::candidates::{Candidate, Stage};
use slm::integrate::host::{Answer, continue_greedily};
use slm::integrate::report::{Phase, Report};
use slm::integrate::trial::{Machine, Trial};
use slm::integrate::{PROMPTS, integrate_with};
use xtask::model::integrated::Integrated;

/// A model that runs, with random weights.
fn model(fixture: &Fixture) -> PathBuf {
    let run = fixture.path().to_str().unwrap();
    let export = ["export", "gguf", "--run", run, "--type", "q8_0"];
    let output = Command::new(env!("CARGO_BIN_EXE_auton")).args(export).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fixture.path().join("gguf/fixture.Q8_0.gguf")
}

fn candidate(stage: Stage, file: &Path) -> Candidate {
    Candidate { stage, file: Some(file.to_path_buf()) }
}

fn machine() -> Machine {
    Machine { memory: "512M".into(), cpus: 2 }
}

fn prompts() -> Vec<String> {
    PROMPTS.map(str::to_owned).to_vec()
}

/// What each attempt failed at.
fn phases(report: &Report) -> Vec<Option<Phase>> {
    report.attempts.iter().map(|attempt| attempt.failure.as_ref().map(|failure| failure.phase)).collect()
}

#[test]
fn a_corrupt_a_too_large_and_a_wrong_model_are_rolled_back_in_order() {
    let fixture = Fixture::new();
    let good = model(&fixture);
    let bytes = std::fs::read(&good).unwrap();
    let file = |name: &str| fixture.path().join(name);
    let corrupt = file("corrupt.gguf");
    std::fs::write(&corrupt, &bytes[..bytes.len() / 2]).unwrap();
    let large = file("large.gguf");
    std::fs::File::create(&large).unwrap().set_len(300 << 20).unwrap();
    let wrong = file("wrong.gguf");
    std::fs::copy(&good, &wrong).unwrap();

    let store = Integrated::at(&file("store")).unwrap();
    let mut calls = 0;
    let mut test = |candidate: &Candidate| {
        calls += 1;
        // For the third model the host's last answer ends in another token than the kernel's.
        let lie = candidate.stage == Stage::Smaller;
        let host = move |file: &[u8], asked: &[(&str, usize)]| {
            let mut answers = continue_greedily(file, asked)?;
            if let (true, Some(Answer { text, .. })) = (lie, answers.last_mut()) {
                text.push('!');
            }
            Ok(answers)
        };
        Trial { store: &store, machine: machine(), prompts: prompts(), host: &host }.run(candidate)
    };
    let list = vec![
        candidate(Stage::Wanted, &corrupt),
        candidate(Stage::Previous, &large),
        candidate(Stage::Smaller, &wrong),
        candidate(Stage::OtherQuantisation, &good),
        Candidate { stage: Stage::RuleEngine, file: None },
    ];
    let report = integrate_with(list, &store, &mut test).unwrap();
    assert_eq!(
        phases(&report),
        [Some(Phase::Read), Some(Phase::Size), Some(Phase::Tokens), None],
        "{report}"
    );
    assert_eq!(report.rolled_back_to(), Some(Stage::OtherQuantisation));
    let passed = report.attempts.last().unwrap();
    assert_eq!(store.current().unwrap(), passed.place);
    assert!(passed.load_ms.is_some() && passed.prompts.len() == PROMPTS.len(), "{report}");
    let text = include_str!("../../docs/schemas/integration-test-report.schema.json");
    assert_eq!(schema_check::check(&report.json(), &serde_json::from_str(text).unwrap()), Ok(()));
    let verdict = report.verdict().unwrap_err().to_string();
    assert!(
        verdict.contains("corrupt.gguf") && verdict.contains("rolled back to other quantisation"),
        "{verdict}"
    );
}

#[test]
fn where_no_model_holds_the_rule_engine_answers() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.gguf");
    std::fs::write(&junk, b"GGUF and nothing more").unwrap();
    let store = Integrated::at(&folder.path().join("store")).unwrap();
    let mut trial = Trial { store: &store, machine: machine(), prompts: prompts(), host: &continue_greedily };
    let list = vec![candidate(Stage::Wanted, &junk), Candidate { stage: Stage::RuleEngine, file: None }];
    let report = integrate_with(list, &store, &mut |candidate| trial.run(candidate)).unwrap();
    assert_eq!(phases(&report), [Some(Phase::Read), None], "{report}");
    assert_eq!(report.rolled_back_to(), Some(Stage::RuleEngine));
    assert_eq!(store.current().unwrap(), None);
}
