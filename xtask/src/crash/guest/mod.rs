//! Leg (c): the booted kernel under `memctl stress <family> --seed S`. Each run has a boot of its own, and is recorded sample by
//! sample, so that the predictor and its rivals are judged by the same code as on the other legs. Each seed runs once
//! with the guard off and once with it on: the same workload, for everything in it is drawn from the seed.

mod agreement;
mod boot;
mod recording;
mod table;

pub use recording::Recording;

use super::run::Run;
use crate::file_lock::FileLock;
use crate::kernel_image::{self, Variant};
use crate::qemu::Machine;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use boot::Task;
use clap::ValueEnum;
use recording::FAMILIES;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const MEMORY: &str = "256M";
/// Seconds of a workload. Of a run without an OOM the last 20 are not judged: they are there for its alarms to come true.
const SECONDS: u64 = 60;

/// With which setting of the guard each seed runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guard {
    /// `crashctl auto off`.
    Off,
    /// `crashctl auto on`.
    On,
    /// One run of each.
    Both,
}

/// How leg (c) is to be done.
#[derive(Debug, Clone)]
pub struct GuestOptions {
    /// Seeds of each family, and the first of them.
    pub runs: u64,
    /// See `runs`.
    pub first_seed: u64,
    /// The families by their names in `memctl stress`; all where none is named.
    pub families: Vec<String>,
    /// Machines at a time.
    pub jobs: usize,
    /// With which setting of the guard.
    pub guard: Guard,
    /// Where to keep the recordings.
    pub save: Option<PathBuf>,
    /// Recordings to judge instead of booting.
    pub load: Option<PathBuf>,
}

/// The runs with the guard off that were saved in a folder, as the fit sees them.
pub fn load(folder: &Path) -> Result<Vec<Run>> {
    Ok(recording::load(folder)?.iter().filter(|r| !r.guarded).map(Recording::run).collect())
}

/// Runs leg (c) and prints it.
pub fn eval(options: &GuestOptions, each_run: bool) -> Result<()> {
    let recordings = match &options.load {
        Some(folder) => recording::load(folder)?,
        None => {
            println!(
                "{MEMORY}, accelerator {}, {} at a time, a boot for each run of at most {SECONDS} s",
                crate::qemu::accelerator(),
                options.jobs
            );
            record(options)?
        }
    };
    table::print(&recordings, each_run);
    Ok(())
}

/// Records all runs; what is not recorded is said and left out.
fn record(options: &GuestOptions) -> Result<Vec<Recording>> {
    let kernel = kernel_image::build(&Variant::without_model())?;
    let machine = Machine { memory: MEMORY.to_owned(), ..Machine::boot_kernel(&kernel) };
    if let Some(folder) = &options.save {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    // The end-to-end tests' guests would slow these down, and these those.
    let lock = Workspace::find().auton_dir()?.join("guest.lock");
    let _turn = FileLock::acquire(&lock, "running another guest")?;
    let arms: &[bool] = match options.guard {
        Guard::Off => &[false],
        Guard::On => &[true],
        Guard::Both => &[false, true],
    };
    let mut tasks = VecDeque::new();
    let unknown = options.families.iter().find(|name| FAMILIES.iter().all(|(family, _)| family != name));
    if let Some(unknown) = unknown {
        bail!("`memctl stress` has no family `{unknown}`; it lists them");
    }
    let asked =
        |family: &str| options.families.is_empty() || options.families.iter().any(|name| name == family);
    for seed in (options.first_seed..).take(usize::try_from(options.runs).unwrap_or(usize::MAX)) {
        for (family, _) in FAMILIES.iter().filter(|(family, _)| asked(family)) {
            tasks.extend(arms.iter().map(|&guarded| Task { family, seed, guarded, seconds: SECONDS }));
        }
    }
    let (tasks, done) = (Mutex::new(tasks), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some(task) = next() {
                    let recording = one(&machine, &task, options.save.as_deref());
                    done.lock().unwrap_or_else(PoisonError::into_inner).extend(recording);
                }
            });
        }
    });
    let mut recordings: Vec<Recording> = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = |r: &Recording| FAMILIES.iter().position(|(name, _)| *name == r.family);
    recordings.sort_by_key(|r| (place(r), r.seed, r.guarded));
    Ok(recordings)
}

/// Records one run, a second time if the first fails; checks the kernel's own score where nobody acted.
fn one(machine: &Machine, task: &Task, save: Option<&Path>) -> Option<Recording> {
    let arm = if task.guarded { "on" } else { "off" };
    let name = format!("{} {} guard {arm}", task.family, task.seed);
    let recorded = boot::record(machine, task).or_else(|error| {
        eprintln!("{name}: again, for {error:#}");
        boot::record(machine, task)
    });
    let mut recorded = match recorded {
        Ok(recorded) => recorded,
        Err(error) => {
            println!("{name}: not recorded: {error:#}");
            return None;
        }
    };
    if !task.guarded {
        let differences = agreement::differences(&recorded);
        if !differences.is_empty() {
            println!("{name}: the kernel's predictor differs from the host's: {}", differences.join("; "));
        }
        recorded.recording.facts.insert("differences".to_owned(), differences.len() as f64);
    }
    let recording = recorded.recording;
    let outcome = match recording.run().ooms.first() {
        Some(oom) => format!("out of memory after {:.1} s", (oom - recording.start_ns) as f64 / 1e9),
        None => format!("ended by {}", recording.end),
    };
    eprintln!("{name}: {outcome}, {} samples", recording.samples.len());
    if let Some(folder) = save {
        let path = folder.join(recording.file_name());
        if let Err(error) = std::fs::write(&path, recording.to_csv()) {
            println!("{} cannot be written: {error}", path.display());
        }
    }
    Some(recording)
}
