//! `auton train`: fits the weights to the training stream, on the CPU.
//!
//! A run is a function of its configuration, its data and its seed: the order of the data and of all sums is fixed, so
//! a run that was stopped anywhere and resumed has the loss curve of one that was not.

pub mod attention;
pub mod batches;
pub mod checkpoint;
pub mod lanes;
pub mod model;
pub mod optimizer;
pub mod parameters;
pub mod precision;
pub mod schedule;
pub mod settings;
pub mod vector;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use xtask::model::fetch::sha256_of;

use self::batches::Batches;
use self::checkpoint::Position;
use self::lanes::Lanes;
use self::optimizer::{Optimizer, Rates};
use self::parameters::Parameters;
use self::settings::Settings;
use crate::configuration::Configuration;
use crate::curve::{self, Row};
use crate::run_folder::{RunFolder, Split};
use crate::table::grouped;
use crate::whole_file;

/// Options of `auton train`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The run's folder.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// Where the data are, if they are another run's.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Shape and settings.
    #[arg(long, default_value = "slm/configs/tiny_10M.toml")]
    pub config: PathBuf,
    /// Updates of the weights, instead of the configuration's.
    #[arg(long)]
    pub steps: Option<u64>,
    /// Greatest learning rate, instead of the configuration's.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seed, instead of the configuration's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Stop after this many updates; a later call goes on.
    #[arg(long)]
    pub until: Option<u64>,
    /// Begin again, whatever there is.
    #[arg(long)]
    pub fresh: bool,
    /// Go on from the checkpoint with settings that are not those it was made with.
    #[arg(long, conflicts_with = "fresh")]
    pub change_settings: bool,
}

/// Set by Ctrl-C: the update at hand is finished, then the run is saved.
static STOP: AtomicBool = AtomicBool::new(false);

/// Trains until the settings' last update, `--until` or Ctrl-C.
pub fn train(args: &Args) -> Result<()> {
    let mut configuration = Configuration::read(&args.config)?;
    let settings = &mut configuration.training;
    settings.steps = args.steps.unwrap_or(settings.steps);
    settings.rate = args.rate.unwrap_or(settings.rate);
    settings.seed = args.seed.unwrap_or(settings.seed);
    settings.check()?;
    let run = RunFolder::new(&args.run);
    let data = args.data.as_ref().map_or_else(|| run.clone(), RunFolder::new);
    // Only the first of a process's calls can set it: tests make several.
    let _ = ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed));

    let mut training = Training::begin(&configuration, &run, &data, args)?;
    let last = args.until.unwrap_or(u64::MAX).min(configuration.training.steps);
    training.go_on(last)?;
    training.save()?;
    if STOP.load(Ordering::Relaxed) && training.position.step < last {
        bail!("stopped after update {}; the same command goes on from there", training.position.step);
    }
    Ok(())
}

/// A run, between two updates.
struct Training {
    run: RunFolder,
    batches: Batches,
    valid: Batches,
    lanes: Lanes,
    parameters: Parameters,
    optimizer: Optimizer,
    position: Position,
    progress: ProgressBar,
}

impl Training {
    fn begin(configuration: &Configuration, run: &RunFolder, data: &RunFolder, args: &Args) -> Result<Self> {
        let (shape, settings) = (&configuration.shape, &configuration.training);
        let length = shape.context as usize;
        let open = |split| Batches::read(&data.tokens(split), length, shape.vocabulary, settings.seed);
        let (batches, valid) = (open(Split::Train)?, open(Split::Valid)?);
        let digest = sha256_of(&data.tokens(Split::Train))?;

        let path = checkpoint(run);
        let (position, parameters, optimizer) = if path.exists() && !args.fresh {
            let (mut position, parameters, optimizer) = checkpoint::load(&path)?;
            ensure!(
                position.shape == *shape && position.data == digest,
                "{} is of another shape or other data (begin again with --fresh)",
                path.display()
            );
            ensure!(
                position.settings == *settings || args.change_settings,
                "{} was made with other settings: give those, or go on with --change-settings, or begin again with \
                 --fresh\n{}",
                path.display(),
                differences(&position.settings, settings)?
            );
            position.settings = settings.clone();
            (position, parameters, optimizer)
        } else {
            let parameters = Parameters::random(shape, settings.seed)?;
            let optimizer = Optimizer::new(&parameters);
            let (shape, settings) = (shape.clone(), settings.clone());
            let position =
                Position { shape, settings, data: digest, step: 0, seconds: 0.0, rows: Vec::new() };
            (position, parameters, optimizer)
        };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise} (eta {eta}) {msg}")?;
        let progress = ProgressBar::new(settings.steps).with_style(style).with_position(position.step);
        let lanes = Lanes::new(shape, settings)?;
        Ok(Training { run: run.clone(), batches, valid, lanes, parameters, optimizer, position, progress })
    }

    /// Updates the weights until `last` updates are done.
    fn go_on(&mut self, last: u64) -> Result<()> {
        let settings = self.position.settings.clone();
        let tokens_per_update = settings.batch as u64 * self.position.shape.context;
        let before = self.position.seconds;
        let began = Instant::now();
        let first = self.position.step;
        while self.position.step < last && !STOP.load(Ordering::Relaxed) {
            let step = self.position.step;
            let batch = self.batches.shuffled(step * settings.batch as u64, settings.batch);
            let (loss, gradient) = self.lanes.gradient(&self.parameters, &batch)?;
            ensure!(
                loss.is_finite(),
                "the loss is no longer a number after update {step}: begin again with a lower rate"
            );
            let rate = schedule::rate(&settings, step);
            let [decay, clip] = [settings.decay as f32, settings.clip as f32];
            let rates = Rates { rate: rate as f32, decay, clip, precision: settings.precision };
            self.optimizer.update(&mut self.parameters, gradient, rates)?;
            self.position.step += 1;
            self.position.seconds = before + began.elapsed().as_secs_f64();
            let done = self.position.step;
            self.position.rows.push(Row {
                step: done,
                tokens: done * tokens_per_update,
                seconds: self.position.seconds,
                learning_rate: rate,
                train_loss: loss,
                valid_loss: None,
            });
            let speed = ((done - first) * tokens_per_update) as f64 / began.elapsed().as_secs_f64();
            self.show(loss, speed);
            if done.is_multiple_of(settings.validate_every) || done == settings.steps {
                self.validate(speed)?;
            }
            if done.is_multiple_of(settings.checkpoint_every) {
                self.save()?;
            }
        }
        Ok(())
    }

    /// Moves the progress bar, with a sketch of the curve.
    fn show(&self, loss: f64, speed: f64) {
        let losses: Vec<f64> = self.position.rows.iter().map(|r| r.train_loss).collect();
        let sketch = curve::sparkline(&losses, 24);
        self.progress.set_position(self.position.step);
        self.progress.set_message(format!("{sketch} loss {loss:.3}, {} tokens/s", grouped(speed as u64)));
    }

    /// Looks at the validation split, and notes its loss in the last row.
    fn validate(&mut self, speed: f64) -> Result<()> {
        let batch = self.valid.spread(self.position.settings.validation);
        let valid = self.lanes.loss(&self.parameters, &batch)?;
        let Some(row) = self.position.rows.last_mut() else { return Ok(()) };
        row.valid_loss = Some(valid);
        let line = format!(
            "update {}/{}: loss {:.3}, validation {valid:.3} (perplexity {:.1}), {} tokens/s",
            row.step,
            self.position.settings.steps,
            row.train_loss,
            valid.exp(),
            grouped(speed as u64)
        );
        if self.progress.is_hidden() {
            eprintln!("{line}")
        } else {
            self.progress.println(line)
        }
        Ok(())
    }

    /// Writes the checkpoint, the weights and the loss curve.
    fn save(&self) -> Result<()> {
        checkpoint::write(&checkpoint(&self.run), &self.position, &self.parameters, &self.optimizer)?;
        whole_file::write(&self.run.weights(), &self.parameters.to_safetensors()?)?;
        whole_file::write(&self.run.config(), toml::to_string(&self.position.shape)?.as_bytes())?;
        whole_file::write(&self.run.join("train/loss.csv"), curve::to_csv(&self.position.rows).as_bytes())?;
        if self.position.rows.is_empty() {
            return Ok(());
        }
        curve::write(&self.run, &self.position.shape.name)
    }
}

fn checkpoint(run: &RunFolder) -> PathBuf {
    run.join("train/checkpoint.safetensors")
}

/// The settings that differ, one a line.
fn differences(old: &Settings, new: &Settings) -> Result<String> {
    let [old, new] = [toml::Table::try_from(old)?, toml::Table::try_from(new)?];
    let changed = old.iter().filter(|(key, value)| new.get(*key) != Some(value));
    let lines = changed.map(|(key, value)| {
        format!("  {key}: {value} there, {} here", new.get(key).map_or_else(String::new, ToString::to_string))
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
