//! The task graph of a mode: which tasks there are, what each needs, reads and makes.
//!
//! ```text
//! data → tokenizer → tokens ──┬→ candidate 1 ─┐
//!            └→ architecture ─┼→ candidate 2 ─┼→ training → evaluation → quantisation → export → validation ─┐
//!                             └→ …           ─┘                                                               ├→ integration → review
//! kernel → kernel-test (dual only) ───────────────────────────────────────────────────────────────────────────┘
//! ```

use std::path::{Path, PathBuf};

use super::gate::Gate;
use super::recipe::Recipe;
use super::task::{Role, Task};
use crate::run_folder::{RunFolder, Split};

/// What a run is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Build the kernel and boot it.
    KernelBuild,
    /// A model, from the corpus into the kernel.
    SlmTraining,
    /// Both at once, joined where the model goes into the kernel.
    Dual,
}

impl Mode {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::KernelBuild => "kernel-build",
            Mode::SlmTraining => "slm-training",
            Mode::Dual => "dual",
        }
    }
}

/// The tasks of a mode, in an order in which each comes after what it needs.
pub fn tasks(mode: Mode, run: &RunFolder, recipe: &Recipe) -> Vec<Task> {
    match mode {
        Mode::KernelBuild => kernel(run),
        Mode::SlmTraining => model(run, recipe, &[]),
        Mode::Dual => {
            let mut tasks = kernel(run);
            tasks.extend(model(run, recipe, &["kernel-test"]));
            tasks
        }
    }
}

/// Builds a call: words, and paths and numbers among them.
macro_rules! call {
    ($($word:expr),* $(,)?) => { vec![$($word.to_string()),*] };
}

fn task(name: &str, role: Role, needs: &[&str]) -> Task {
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    Task { name: name.to_owned(), role, needs, ..Task::default() }
}

/// The kernel: built, booted, tried. Cargo knows best whether it has changed.
fn kernel(run: &RunFolder) -> Vec<Task> {
    let step = |name: &str, needs: &[&str]| {
        let calls = vec![call!["step", name, "--run", run.path().display()]];
        Task { calls, always: true, ..task(name, Role::Integrator, needs) }
    };
    vec![step("kernel", &[]), step("kernel-test", &["kernel"])]
}

/// The model, from the corpus to its review. `join`: what the integration waits for beside the model.
fn model(run: &RunFolder, recipe: &Recipe, join: &[&str]) -> Vec<Task> {
    let mut tasks = data(run, recipe);
    tasks.extend(training(run, recipe));
    tasks.extend(shipping(run, recipe, join));
    tasks
}

/// What an earlier task has made of the data: the token ids of all splits.
fn token_files(run: &RunFolder) -> Vec<PathBuf> {
    Split::ALL.map(|split| run.tokens(split)).to_vec()
}

/// From packages to token ids, and the shape that fits them.
fn data(run: &RunFolder, recipe: &Recipe) -> Vec<Task> {
    let (folder, config) = (run.path().display(), recipe.config.display());
    let (vocabulary, context) = (recipe.shape.vocabulary, recipe.shape.context);
    let corpus = vec![run.join("corpus"), run.join("corpus.json")];
    let devices = run.join("data/devices.json");
    let mut fetch = call!["data", "fetch", "--run", folder];
    fetch.extend(recipe.sample_mb.map(|mb| call!["--sample", format!("{mb}MB")]).into_iter().flatten());
    vec![
        Task {
            calls: vec![fetch],
            outputs: [corpus.clone(), vec![devices]].concat(),
            leftovers: corpus,
            gate: Gate::Corpus,
            ..task("data", Role::DataScientist, &[])
        },
        Task {
            calls: vec![call!["tokenizer", "train", "--run", folder, "--kind", "bpe", "--vocab", vocabulary]],
            inputs: vec![run.join("corpus")],
            outputs: vec![run.tokenizer()],
            gate: Gate::Tokenizer { vocabulary },
            ..task("tokenizer", Role::DataScientist, &["data"])
        },
        Task {
            calls: vec![call!["data", "build", "--run", folder], call!["data", "analyze", "--run", folder]],
            inputs: vec![run.join("corpus"), run.tokenizer()],
            outputs: [token_files(run), vec![run.documents(Split::Test)]].concat(),
            gate: Gate::Tokens { vocabulary, context },
            ..task("tokens", Role::DataScientist, &["tokenizer"])
        },
        Task {
            calls: vec![call!["arch", "check", config], call!["arch", "flops", config]],
            inputs: vec![recipe.config.clone(), run.tokenizer()],
            // It must be the one that the data were made with.
            gate: Gate::Tokenizer { vocabulary },
            ..task("architecture", Role::Architect, &["tokenizer"])
        },
    ]
}

/// Candidates beside each other, and the best of them to its end.
fn training(run: &RunFolder, recipe: &Recipe) -> Vec<Task> {
    let (folder, config) = (run.path().display(), recipe.config.display());
    let (steps, until) = (recipe.steps, recipe.until());
    let inputs = [token_files(run), vec![recipe.config.clone()]].concat();
    let begin = |rate: &f64| {
        let place = candidate(run, *rate);
        let mut call = call!["train", "--run", place.display(), "--data", folder, "--config", config];
        call.extend(call!["--steps", steps, "--rate", rate, "--until", until]);
        Task {
            calls: vec![call],
            inputs: inputs.clone(),
            outputs: vec![checkpoint(&place), place.join("train/loss.csv")],
            leftovers: vec![place.clone()],
            gate: Gate::Curve { folder: place },
            ..task(&format!("candidate-{rate}"), Role::Trainer, &["tokens", "architecture"])
        }
    };
    let mut tasks: Vec<Task> = recipe.learning_rates.iter().map(begin).collect();
    let needs: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    let made: Vec<PathBuf> =
        recipe.learning_rates.iter().map(|rate| checkpoint(&candidate(run, *rate))).collect();
    let mut finish = call!["step", "training", "--run", folder, "--config", config, "--steps", steps];
    finish.extend(recipe.learning_rates.iter().flat_map(|rate| call!["--rate", rate]));
    let best = Task {
        calls: vec![finish],
        inputs: [inputs, made].concat(),
        outputs: vec![run.weights(), run.config(), run.join("train/loss.csv")],
        leftovers: vec![run.join("train"), run.join("model")],
        gate: Gate::Curve { folder: run.path().to_path_buf() },
        ..task("training", Role::Trainer, &needs)
    };
    tasks.push(best);
    tasks
}

/// From weights to an answer in the kernel.
fn shipping(run: &RunFolder, recipe: &Recipe, join: &[&str]) -> Vec<Task> {
    let folder = run.path().display();
    let file = |kind: &str, method: &str| {
        let method = if method == "plain" { String::new() } else { format!("-{method}") };
        run.join(format!("gguf/{}.{}{method}.gguf", recipe.shape.name, kind.to_uppercase()))
    };
    let exact = file("f32", "plain");
    let quantised: Vec<PathBuf> = recipe.types.iter().map(|kind| file(kind, &recipe.method)).collect();
    let first = quantised.first().unwrap_or(&exact).clone();
    let shipped = [vec![exact.clone()], quantised.clone()].concat();
    let model = vec![run.weights(), run.config(), run.tokenizer()];
    let held_out = vec![run.tokens(Split::Test), run.documents(Split::Test), run.join("data/devices.json")];

    let mut eval = call!["eval", "--run", folder, "--model", exact.display()];
    // What is only to go through every step need not be good enough to ship.
    eval.push(if recipe.quick { "--quick" } else { "--gate" }.to_owned());
    let types = recipe.types.join(",");
    let mut quantise = call!["quantize", "--run", folder, "--type", types, "--method", recipe.method];
    if recipe.quick {
        quantise.extend(call!["--calibration", 4096, "--perplexity", 8192]);
    }
    let mut onnx = call!["export", "onnx", "--run", folder];
    onnx.extend(recipe.check_onnx.then(|| "--check".to_owned()));
    let join = [&["validation"], join].concat();
    vec![
        Task {
            calls: vec![call!["export", "gguf", "--run", folder, "--type", "f32"], eval],
            inputs: [model.clone(), held_out].concat(),
            outputs: vec![exact, run.join("eval/report.json"), run.join("eval/report.md")],
            gate: Gate::Evaluation { vocabulary: recipe.shape.vocabulary },
            ..task("evaluation", Role::Evaluator, &["training"])
        },
        Task {
            calls: vec![quantise],
            inputs: [model.clone(), vec![run.tokens(Split::Train), run.tokens(Split::Valid)]].concat(),
            outputs: quantised.clone(),
            gate: Gate::Files(quantised),
            ..task("quantisation", Role::Architect, &["evaluation"])
        },
        Task {
            calls: vec![onnx],
            inputs: model,
            outputs: vec![run.join("model.onnx")],
            gate: Gate::Files(vec![run.join("model.onnx")]),
            ..task("export", Role::Integrator, &["quantisation"])
        },
        Task {
            calls: shipped.iter().map(|file| call!["validate", file.display()]).collect(),
            inputs: shipped.clone(),
            gate: Gate::Files(shipped),
            ..task("validation", Role::Evaluator, &["export"])
        },
        Task {
            calls: vec![call!["integrate", "--run", folder, "--model", first.display()]],
            inputs: vec![first],
            outputs: vec![run.join("integration_test_report.json")],
            gate: Gate::Integration,
            ..task("integration", Role::Integrator, &join)
        },
        Task {
            calls: vec![call!["step", "review", "--run", folder]],
            outputs: vec![run.join("review.md")],
            gate: Gate::Files(vec![run.join("review.md")]),
            // What it looks at is the state of all the others.
            always: true,
            ..task("review", Role::Reviewer, &["integration"])
        },
    ]
}

fn checkpoint(folder: &Path) -> PathBuf {
    folder.join("train/checkpoint.safetensors")
}

/// The folder of the candidate with this learning rate.
pub fn candidate(run: &RunFolder, rate: f64) -> PathBuf {
    run.join(format!("candidates/rate-{rate}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::graph::Graph;

    fn recipe() -> Recipe {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        Recipe::for_goal("smoke", None, &configs).unwrap().0
    }

    #[test]
    fn every_modes_plan_is_a_graph() {
        let run = RunFolder::new("/run");
        for (mode, count) in [(Mode::KernelBuild, 2), (Mode::SlmTraining, 13), (Mode::Dual, 15)] {
            let tasks = tasks(mode, &run, &recipe());
            assert_eq!(tasks.len(), count, "{}", mode.name());
            let named: Vec<_> = tasks.iter().map(|task| (&task.name, task.needs.clone())).collect();
            assert_eq!(Graph::new(&named).unwrap().order(), (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn dual_joins_at_the_integration() {
        let tasks = tasks(Mode::Dual, &RunFolder::new("/run"), &recipe());
        let waiting: Vec<_> =
            tasks.iter().filter(|task| task.needs.iter().any(|need| need == "kernel-test")).collect();
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].name, "integration");
        assert!(waiting[0].needs.iter().any(|need| need == "validation"));
    }

    #[test]
    fn what_a_task_reads_is_made_before_it() {
        let tasks = tasks(Mode::SlmTraining, &RunFolder::new("/run"), &recipe());
        let mut made: Vec<PathBuf> = vec![recipe().config];
        for task in &tasks {
            for input in &task.inputs {
                assert!(
                    made.iter().any(|path| input.starts_with(path)),
                    "{} reads {}",
                    task.name,
                    input.display()
                );
            }
            made.extend(task.outputs.iter().cloned());
        }
    }
}
