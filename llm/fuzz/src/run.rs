//! The loop: pick, change, execute, keep what is new; and the account at the end.

use crate::coverage::{self, Seen};
use crate::mutate::mutate;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Something that takes foreign bytes.
pub trait Target {
    /// Inputs to begin with.
    fn seeds(&mut self) -> Vec<Vec<u8>>;
    /// Texts that it knows.
    fn words(&self) -> Vec<&'static [u8]>;
    /// A new valid or nearly valid input, where the target can make one.
    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>>;
    /// Runs one input; a panic is a finding. Returns a name for how it ended (the kind of error, or "ok").
    fn execute(&mut self, input: &[u8]) -> String;
}

/// An execution longer than this is a finding: hostile input must not cost time out of proportion. What was slow
/// runs again, and the shortest time counts: the machine may have been busy with something else.
const SLOW: Duration = Duration::from_secs(2);
const AGAIN: usize = 3;
const MAX_CORPUS: usize = 20_000;

/// Executes `runs` inputs and prints what was found. Fails if anything was.
pub fn run(target: &mut dyn Target, runs: u64, seed: u64) -> ExitCode {
    let mut random = Random::new(seed);
    let (mut seen, mut corpus) = (Seen::default(), Vec::<Vec<u8>>::new());
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut findings = BTreeSet::new();
    let seeds = target.seeds();
    let words = target.words();
    let (started, mut reported) = (Instant::now(), Instant::now());

    for count in 0..runs {
        let input = match seeds.get(count as usize) {
            Some(seed) => seed.clone(),
            None => next(target, &corpus, &words, &mut random),
        };
        coverage::reset();
        let (mut outcome, mut took) = attempt(target, &input);
        let new =
            seen.take() || (!coverage::is_on() && outcome.as_ref().is_ok_and(|o| !outcomes.contains_key(o)));
        for _ in 0..AGAIN {
            if took >= SLOW && outcome.is_ok() {
                let again = attempt(target, &input);
                (outcome, took) = (again.0, took.min(again.1));
            }
        }
        match outcome {
            Ok(outcome) if took < SLOW => *outcomes.entry(outcome).or_default() += 1,
            Ok(outcome) => {
                note(&mut findings, &format!("slow ({:.1} s, {outcome})", took.as_secs_f32()), &input)
            }
            Err(_) => note(&mut findings, "panic", &input),
        }
        if new && corpus.len() < MAX_CORPUS {
            corpus.push(input);
        }
        if reported.elapsed() > Duration::from_secs(30) {
            reported = Instant::now();
            eprintln!("{}", line(count + 1, started, &seen, corpus.len(), outcomes.len(), findings.len()));
        }
    }

    for (outcome, count) in &outcomes {
        println!("  {count:>12}  {outcome}");
    }
    println!("{}", line(runs, started, &seen, corpus.len(), outcomes.len(), findings.len()));
    for finding in &findings {
        println!("FOUND {finding}");
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the inputs in `files` once each and prints how they end: a finding is looked at again.
pub fn replay(target: &mut dyn Target, files: &[String]) -> ExitCode {
    for file in files {
        match std::fs::read(file) {
            Ok(input) => {
                let begun = Instant::now();
                let outcome = target.execute(&input);
                let took = begun.elapsed();
                println!("{file}: {outcome} ({} µs)", took.as_micros());
            }
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// How an execution ended, and how long it took.
fn attempt(target: &mut dyn Target, input: &[u8]) -> (std::thread::Result<String>, Duration) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target.execute(input)));
    (outcome, begun.elapsed())
}

/// A new input: mostly a kept one changed, now and then one made from scratch.
fn next(target: &mut dyn Target, corpus: &[Vec<u8>], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let made = if random.one_in(8) { target.generate(random) } else { None };
    let fresh = made.is_some();
    // Half of the choices are among the newest: what was just reached is explored further.
    let newest = corpus.len().saturating_sub(if random.one_in(2) { 64 } else { usize::MAX });
    let kept = || corpus.get(newest..).filter(|kept| !kept.is_empty());
    let mut input =
        made.or_else(|| kept().map(|kept| kept[random.below(kept.len())].clone())).unwrap_or_default();
    if !fresh || random.one_in(2) {
        let other = if corpus.is_empty() { &[][..] } else { &corpus[random.below(corpus.len())] };
        mutate(&mut input, other, words, random);
    }
    input
}

/// Saves the input of a finding, named by its content.
fn note(findings: &mut BTreeSet<String>, what: &str, input: &[u8]) {
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let path = std::env::temp_dir().join(format!("auton-fuzz-{hash:016x}.bin"));
    if findings.len() < 100 && std::fs::write(&path, input).is_ok() {
        findings.insert(format!("{what}: {}", path.display()));
    }
}

fn line(runs: u64, started: Instant, seen: &Seen, corpus: usize, outcomes: usize, findings: usize) -> String {
    let seconds = started.elapsed().as_secs_f64();
    format!(
        "{runs} executions in {seconds:.0} s ({:.0}/s), {} of {} edges, {corpus} inputs kept, {outcomes} outcomes, {findings} findings",
        runs as f64 / seconds.max(1e-9),
        seen.edges,
        coverage::edges(),
    )
}
