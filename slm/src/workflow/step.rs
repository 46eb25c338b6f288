//! `auton step`: the tasks of a workflow that are no step of their own on the command line: the choice among candidates, the
//! kernel, the review.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::guest::Guest;
use xtask::kernel_image::{self, Variant};
use xtask::qemu::Machine;

use super::conduct::Conductor;
use super::gate::validation_losses;
use super::graph::State;
use super::plan::candidate;
use super::show;
use super::state::Workflow;
use crate::run_folder::RunFolder;

/// Which task.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum StepArgs {
    /// Choose the best candidate and train it to the end.
    Training {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
        /// Shape and settings.
        #[arg(long)]
        config: PathBuf,
        /// Updates of the weights in all.
        #[arg(long)]
        steps: u64,
        /// The candidates' learning rates.
        #[arg(long, required = true)]
        rate: Vec<f64>,
    },
    /// Build the kernel.
    Kernel {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
    },
    /// Boot the kernel and try it.
    KernelTest {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
    },
    /// Write down what the workflow did and found.
    Review {
        /// The run's folder.
        #[arg(long)]
        run: PathBuf,
    },
}

/// Does it.
pub fn step(args: &StepArgs) -> Result<()> {
    match args {
        StepArgs::Training { run, config, steps, rate } => {
            training(&RunFolder::new(run), config, *steps, rate)
        }
        StepArgs::Kernel { .. } => kernel(),
        StepArgs::KernelTest { .. } => kernel_test(),
        StepArgs::Review { run } => review(&RunFolder::new(run)),
    }
}

/// The candidate with the lowest validation loss at its end goes on from where it is.
fn training(run: &RunFolder, config: &Path, steps: u64, rates: &[f64]) -> Result<()> {
    let mut best: Option<(f64, f64)> = None;
    for rate in rates {
        let losses = validation_losses(&candidate(run, *rate))?;
        let (step, loss) = *losses.last().with_context(|| format!("candidate {rate} was never validated"))?;
        println!("learning rate {rate}: validation loss {loss:.4} after step {step}");
        if best.is_none_or(|(_, least)| loss < least) {
            best = Some((*rate, loss));
        }
    }
    let (rate, _) = best.context("there is no candidate")?;
    println!("the candidate with learning rate {rate} goes on");
    let train = run.join("train");
    if !train.join("checkpoint.safetensors").exists() {
        copy(&candidate(run, rate).join("train"), &train)?;
    }
    crate::train::train(&crate::train::Args {
        run: run.path().to_path_buf(),
        data: None,
        config: config.to_path_buf(),
        steps: Some(steps),
        rate: Some(rate),
        seed: None,
        until: None,
        fresh: false,
        change_settings: false,
    })
}

/// Copies a folder, which appears whole.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    super::conduct::remove(&part)?;
    copy_into(from, &part)
        .with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    super::conduct::remove(to)?;
    std::fs::rename(&part, to).with_context(|| format!("{} cannot be written", to.display()))
}

fn copy_into(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_into(&entry.path(), &target)?,
            false => std::fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

fn kernel() -> Result<()> {
    println!("{}", kernel_image::build(&Variant::without_model())?.display());
    Ok(())
}

/// Commands of the shell, and what their output must contain.
const CHECKS: [(&str, &str); 4] = [
    ("selftest heap", "passed"),
    ("selftest wx", "passed"),
    ("lspci", "8086:10d3"),
    ("slm query \"PCI device 8086:10d3 is\"", "82574L"),
];

fn kernel_test() -> Result<()> {
    let kernel = kernel_image::build(&Variant::without_model())?;
    let mut guest = Guest::start_alone(&Machine::boot_kernel(&kernel))?;
    guest.wait_for_prompt(Duration::from_secs(180))?;
    println!("prompt after {:.1} s", guest.age().as_secs_f64());
    for (command, wanted) in CHECKS {
        let output = guest.command(command, Duration::from_secs(300))?;
        ensure!(output.contains(wanted), "`{command}` did not print {wanted:?}, but:\n{output}");
        println!("{command}: {wanted}");
    }
    guest.type_line("poweroff")?;
    let exit = guest.wait_for_exit(Duration::from_secs(60))?;
    ensure!(exit.powered_off(), "{exit}");
    Ok(())
}

/// `review.md`: the goal, the plan, what each task found and took, what became of the endpoint's plans.
fn review(run: &RunFolder) -> Result<()> {
    let file = Conductor::state_file(run);
    let workflow = Workflow::read(&file)?.with_context(|| format!("{} is not there", file.display()))?;
    let others = workflow.tasks.iter().filter(|record| record.name != "review");
    let open: Vec<&str> =
        others.filter(|record| record.state != State::Done).map(|record| record.name.as_str()).collect();
    ensure!(open.is_empty(), "not done yet: {}", open.join(", "));
    crate::whole_file::write(&run.join("review.md"), written(&workflow).as_bytes())
}

fn written(workflow: &Workflow) -> String {
    let mut text = format!(
        "# {}\n\nMode {}. Every figure is from `workflow.json` beside this file.\n\n",
        workflow.goal, workflow.mode
    );
    for sentence in &workflow.plan {
        let _ = writeln!(text, "- {sentence}");
    }
    let _ = write!(text, "\n```text\n{}```\n", show::table(workflow));
    let sum = |of: fn(&super::state::Usage) -> f64| {
        workflow.tasks.iter().map(|record| of(&record.usage)).sum::<f64>()
    };
    let _ = writeln!(
        text,
        "\nIn all {:.0} s of tasks, some of them at a time; {:.0} s of processors.",
        sum(|usage| usage.wall_s),
        sum(|usage| usage.cpu_s)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::task::Task;

    #[test]
    fn a_review_waits_for_all_and_says_all() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        let tasks = ["training", "review"].map(|name| Task { name: name.into(), ..Task::default() });
        let mut workflow = Workflow::new("a model", "slm-training", vec!["by rules".into()], &tasks, None);
        let file = Conductor::state_file(&run);
        workflow.write(&file).unwrap();
        assert!(review(&run).unwrap_err().to_string().contains("not done yet: training"));
        workflow.tasks[0].state = State::Done;
        workflow.tasks[0].note = "loss 7 to 5".into();
        workflow.write(&file).unwrap();
        review(&run).unwrap();
        let text = std::fs::read_to_string(run.join("review.md")).unwrap();
        for part in ["# a model", "- by rules", "loss 7 to 5"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_copy_appears_whole() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        std::fs::create_dir_all(from.join("deeper")).unwrap();
        std::fs::write(from.join("deeper/a"), "1").unwrap();
        let to = folder.path().join("to");
        copy(&from, &to).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("deeper/a")).unwrap(), "1");
        assert!(copy(&folder.path().join("none"), &to).is_err());
        assert!(to.exists());
    }
}
