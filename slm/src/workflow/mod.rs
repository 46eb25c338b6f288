//! `auton run`: all steps of a goal, as a task graph that survives being cut off.
//!
//! Principles
//! 1. A task is a few calls of this same program: each step stands for itself, has its own log, and can be run by hand.
//! 2. What may run when is decided by a pure module ([`graph`]); the rest ([`conduct`]) starts processes and writes down.
//! 3. Nothing is built on a result that its gate ([`gate`]) has not let pass.
//! 4. The state ([`state`]) is on the disk after every change. A task is not repeated while its calls, inputs and outputs
//!    are what they were when it was done.
//! 5. Plans are made by rules ([`recipe`]). A model that is asked for one ([`endpoint`]) has the same options, bounds
//!    and gates, and a bound for what it may cost.

pub mod conduct;
pub mod endpoint;
pub mod gate;
pub mod graph;
pub mod hashes;
pub mod options;
pub mod plan;
pub mod process;
pub mod recipe;
pub mod settings;
pub mod show;
pub mod spending;
pub mod state;
pub mod step;
pub mod task;

use std::fs::{File, TryLockError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use xtask::workspace::Workspace;

use crate::run_folder::RunFolder;
use conduct::Conductor;
use graph::State;
use plan::Mode;
use process::Running;
use recipe::Recipe;
use settings::Settings;
use state::{Record, Workflow};

/// What to do, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The goal, such as "train a smoke model"; its words choose the configuration.
    #[arg(required_unless_present_any = ["resume", "status"])]
    goal: Option<String>,
    /// Which part of the work.
    #[arg(long, value_enum, default_value = "slm-training")]
    mode: Mode,
    /// The run's folder; target/slm/ and the configuration's name (`kernel` for kernel-build) unless given.
    #[arg(long)]
    run: Option<PathBuf>,
    /// A configuration's name in slm/configs, or a file.
    #[arg(long)]
    config: Option<String>,
    /// Take up the run in --run where it was cut off, with its goal.
    #[arg(long, requires = "run", conflicts_with_all = ["fresh", "goal"])]
    resume: bool,
    /// Do everything anew; without it, what is done and still fits is not repeated.
    #[arg(long)]
    fresh: bool,
    /// Do not ask before starting.
    #[arg(long, short)]
    yes: bool,
    /// Only print how far the run in --run is.
    #[arg(long, requires = "run", conflicts_with_all = ["goal", "resume", "fresh"])]
    status: bool,
    /// Tasks at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Who may be asked for plans.
    #[arg(long, default_value = "auton.toml")]
    settings: PathBuf,
}

/// Runs.
pub fn run(args: &Args) -> Result<()> {
    let configs = Workspace::find().root.join("slm/configs");
    let named = args.run.as_deref().map(std::path::absolute).transpose()?.map(RunFolder::new);
    if let (true, Some(run)) = (args.status, &named) {
        let workflow = earlier(run)?.with_context(|| no_run(run))?;
        print!("{}\n{}", workflow.plan.join("\n") + "\n", show::table(&workflow));
        return Ok(());
    }
    let resumed = match (&named, args.resume) {
        (Some(run), true) => Some(earlier(run)?.with_context(|| no_run(run))?),
        _ => None,
    };
    let (goal, mode, config) = match &resumed {
        Some(workflow) => {
            let mode = <Mode as clap::ValueEnum>::from_str(&workflow.mode, false);
            (
                workflow.goal.clone(),
                mode.map_err(|error| anyhow::anyhow!(error))?,
                Some(workflow.config.clone()),
            )
        }
        None => (args.goal.clone().unwrap_or_default(), args.mode, args.config.clone()),
    };
    let (recipe, why) = Recipe::for_goal(&goal, config.as_deref(), &configs)?;
    let run = match named {
        Some(run) => run,
        None => {
            let name = if mode == Mode::KernelBuild { "kernel" } else { &recipe.shape.name };
            RunFolder::new(std::path::absolute(Path::new("target/slm").join(name))?)
        }
    };
    std::fs::create_dir_all(run.path())
        .with_context(|| format!("{} cannot be created", run.path().display()))?;
    let _alone = alone(&run)?;

    let earlier = match args.fresh {
        // What was spent stays spent.
        true => earlier(&run).ok().flatten().map(Workflow::only_questions),
        false => earlier(&run)?,
    };
    let (recipe, mut said, questions) =
        planned(&Settings::read(&args.settings)?, &goal, mode, recipe, earlier.as_ref());
    let tasks = plan::tasks(mode, &run, &recipe);
    if args.fresh {
        for path in tasks.iter().flat_map(|task| task.outputs.iter().chain(&task.leftovers)) {
            conduct::remove(path)?;
        }
    }
    if mode != Mode::KernelBuild {
        said.insert(
            0,
            if resumed.is_some() {
                format!("the configuration is {}, as before", recipe.shape.name)
            } else {
                why
            },
        );
    }
    let mut workflow = Workflow::new(&goal, mode.name(), said, &tasks, earlier.as_ref());
    workflow.config = recipe.config.display().to_string();
    workflow.questions = questions;
    println!("{goal}, in {}", run.path().display());
    workflow.plan.iter().for_each(|sentence| println!("- {sentence}"));
    if !args.yes && !agreed()? {
        bail!("nothing was started");
    }

    let running = Arc::new(Running::default());
    let reached = Arc::clone(&running);
    ctrlc::set_handler(move || reached.interrupt()).context("Ctrl-C cannot be caught")?;
    let program = std::env::current_exe().context("this program has no path")?;
    let conductor =
        Conductor { program: &program, run: &run, tasks: &tasks, jobs: args.jobs, running: &running };
    let mut show = show::usual(&workflow);
    let result = conductor.conduct(&mut workflow, show.as_mut());
    drop(show);
    print!("\n{}", show::table(&workflow));
    result?;
    let again = format!("`auton run --resume --run {}` goes on", run.path().display());
    ensure!(!running.interrupted(), "interrupted; {again}");
    let open: Vec<&Record> = workflow.tasks.iter().filter(|record| record.state != State::Done).collect();
    let causes: Vec<String> = open
        .iter()
        .filter(|record| record.state != State::Blocked)
        .map(|record| format!("{} ({})", record.name, record.state.name()))
        .collect();
    let behind = open.len() - causes.len();
    ensure!(
        open.is_empty(),
        "not done: {}, and {behind} tasks that depend on it; when the cause is mended, {again}",
        causes.join(", ")
    );
    Ok(())
}

/// The recipe as roles with an endpoint change it; plans that were made for the same goal before are used again. With the
/// recipe in sentences, and all questions so far.
fn planned(
    settings: &Settings,
    goal: &str,
    mode: Mode,
    recipe: Recipe,
    earlier: Option<&Workflow>,
) -> (Recipe, Vec<String>, Vec<spending::Question>) {
    let mut questions = earlier.map(|workflow| workflow.questions.clone()).unwrap_or_default();
    let mut said = Vec::new();
    let mut recipe = recipe;
    if mode != Mode::KernelBuild {
        let same = earlier.filter(|workflow| workflow.goal == goal && !workflow.questions.is_empty());
        match (&settings.endpoint, same) {
            (_, Some(workflow)) => {
                for question in &workflow.questions {
                    let Some(plan) = &question.plan else { continue };
                    if let Ok(planned) = options::apply(question.role, plan, &recipe) {
                        recipe = planned;
                        said.push(format!("planned by the {}, as before", question.role.name()));
                    }
                }
            }
            (Some(endpoint), None) => {
                let before = questions.len();
                recipe = endpoint::plan(endpoint, goal, recipe, &mut questions);
                let new = questions[before..].iter();
                said.extend(new.map(|question| format!("{}: {}", question.role.name(), question.outcome)));
            }
            (None, None) => {}
        }
        said.extend(recipe.said());
    }
    (recipe, said, questions)
}

fn earlier(run: &RunFolder) -> Result<Option<Workflow>> {
    Workflow::read(&Conductor::state_file(run))
}

fn no_run(run: &RunFolder) -> String {
    format!("there is no run in {}", run.path().display())
}

/// Held while a run works in its folder.
fn alone(run: &RunFolder) -> Result<File> {
    let path = run.join("workflow.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `auton run` works in {}; wait for it, or give another --run", run.path().display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

/// Asks on a terminal; elsewhere nobody is there to answer.
fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("Start? [Y/n] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("the terminal is gone")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}
