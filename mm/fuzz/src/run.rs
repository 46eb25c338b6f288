//! The loop: pick, change, execute, keep what is new; and the account at the end.

use crate::coverage::{self, Seen};
use crate::operations::execute;
use crate::random::Random;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

const MAX_INPUT: usize = 480;
const MAX_CORPUS: usize = 20_000;

/// Executes `runs` inputs and prints what was found. Fails if anything was.
pub fn run(runs: u64, seed: u64) -> ExitCode {
    let mut random = Random::new(seed);
    let (mut seen, mut corpus) = (Seen::default(), Vec::<Vec<u8>>::new());
    let mut findings = BTreeSet::new();
    let (started, mut reported, mut operations) = (Instant::now(), Instant::now(), 0);
    for count in 1..=runs {
        let input = next(&corpus, &mut random);
        coverage::reset();
        match catch_unwind(|| execute(&input)) {
            Ok(executed) => operations += executed,
            Err(_) => note(&mut findings, &input),
        }
        if seen.take() && corpus.len() < MAX_CORPUS {
            corpus.push(input);
        }
        if reported.elapsed().as_secs() >= 30 || count == runs {
            reported = Instant::now();
            let seconds = started.elapsed().as_secs_f64();
            println!(
                "{count} executions, {operations} operations in {seconds:.0} s ({:.0}/s), {} of {} edges, {} inputs kept, {} findings",
                count as f64 / seconds.max(1e-9),
                seen.edges,
                coverage::edges(),
                corpus.len(),
                findings.len()
            );
        }
    }
    findings.iter().for_each(|finding| println!("FOUND panic: {finding}"));
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the inputs in `files` once each: a finding is looked at again.
pub fn replay(files: &[String]) -> ExitCode {
    for file in files {
        match std::fs::read(file) {
            Ok(input) => println!("{file}: {} operations", execute(&input)),
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// A new input: mostly a kept one changed, now and then one made from scratch.
fn next(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    if corpus.is_empty() || random.one_in(8) {
        return (0..random.below(MAX_INPUT)).map(|_| random.next() as u8).collect();
    }
    // Half of the choices are among the newest: what was just reached is explored further.
    let newest = corpus.len().saturating_sub(if random.one_in(2) { 64 } else { usize::MAX });
    let mut input = corpus[newest + random.below(corpus.len() - newest)].clone();
    for _ in 0..1 + random.below(6) {
        let (len, at) = (input.len(), random.below(input.len()));
        match random.below(6) {
            0 if len > 0 => input[at] = random.next() as u8,
            1 if len > 0 => input[at] ^= 1 << random.below(8),
            2 => input.truncate(at),
            3 => {
                let end = (at + 1 + random.below(12)).min(len);
                input.drain(at.min(end)..end);
            }
            4 => {
                // A piece of another input, or of this one again.
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let piece = other[from..(from + 1 + random.below(96)).min(other.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => input.insert(at, random.next() as u8),
        }
    }
    input.truncate(MAX_INPUT);
    input
}

/// Saves the input of a finding, named by its content.
fn note(findings: &mut BTreeSet<String>, input: &[u8]) {
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let path = std::env::temp_dir().join(format!("mm-fuzz-{hash:016x}.bin"));
    if findings.len() < 100 && std::fs::write(&path, input).is_ok() {
        findings.insert(path.display().to_string());
    }
}
