//! `auton eval`: what a trained model is worth, measured on the files that are shipped.
//!
//! The models under test are GGUF files, run by the `llm` crate as the kernel runs them. Beside each figure stands that of a
//! 3-gram over the same tokens, fitted on the same training data:
//! - [`perplexity`] of held-out documents, by source;
//! - [`devices`]: what is known by heart, and what is read off a record in the prompt;
//! - [`commands`]: from a question to a command of the kernel's shell;
//! - [`fluency`]: samples of man pages with figures.
//!
//! All of it is written to `eval/report.md` and `eval/report.json`; [`gates`] say whether the model is good enough. The same
//! files and seed give the same report, times excepted.

pub mod commands;
pub mod devices;
mod draw;
pub mod fluency;
pub mod gates;
pub mod held_out;
mod markdown;
pub mod ngram;
pub mod perplexity;
pub mod report;
pub mod share;
pub mod subject;
pub mod writer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::corpus::bar;
use crate::run_folder::RunFolder;
use crate::whole_file;
use draw::draw;
use gates::Gates;
use held_out::Data;
use ngram::documents;
use ngram::jelinek_mercer::JelinekMercer;
use ngram::kneser_ney::KneserNey;
use perplexity::Surprise;
use report::{Baseline, DataFacts, Machine, Model, Report};
use subject::Subject;
use writer::NgramWriter;

/// What to evaluate, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct EvalArgs {
    /// The folder of the run.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// A model; may be given several times (default: every file in the run's gguf/).
    #[arg(long = "model", value_name = "FILE.gguf")]
    pub models: Vec<PathBuf>,
    /// Decides which devices are asked for, and the samples.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads that share the work (default: all CPUs).
    #[arg(long)]
    pub threads: Option<usize>,
    /// Fewer documents and questions: seconds instead of minutes.
    #[arg(long)]
    pub quick: bool,
    /// Exit with status 1 where a model does not reach the thresholds.
    #[arg(long)]
    pub gate: bool,
    /// The thresholds (default: those of slm/configs/gates.toml).
    #[arg(long, value_name = "FILE.toml")]
    pub gates: Option<PathBuf>,
}

/// How much is asked.
struct Amounts {
    /// Devices of each kind.
    devices: usize,
    /// Every so many-th question about commands.
    command_step: usize,
    samples: usize,
    /// Tokens of the documents that are predicted, about.
    tokens: usize,
}

const WHOLE: Amounts = Amounts { devices: 500, command_step: 1, samples: 25, tokens: usize::MAX };
const QUICK: Amounts = Amounts { devices: 25, command_step: 8, samples: 5, tokens: 8_000 };

/// Evaluates and writes `eval/report.md` and `eval/report.json`.
pub fn eval(args: &EvalArgs) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let gates = args.gates.as_deref().map_or_else(Gates::default_gates, Gates::read)?;
    let files = if args.models.is_empty() { models_of(&run)? } else { args.models.clone() };
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    ensure!(threads > 0, "--threads must be at least 1");
    let report = evaluate(&run, &files, &gates, threads, args)?;

    let json = serde_json::to_string_pretty(&report)? + "\n";
    whole_file::write(&run.join("eval/report.json"), json.as_bytes())?;
    whole_file::write(&run.join("eval/report.md"), markdown::report(&report).as_bytes())?;
    say(&report);
    println!("report: {}", run.join("eval/report.md").display());
    let failed = report.models.iter().flat_map(|model| &model.gates).filter(|gate| !gate.passed).count();
    if args.gate && failed > 0 {
        bail!("{failed} of the gates failed; train longer or on more data, or lower them with --gates");
    }
    Ok(())
}

/// The models of a run, in the order of their names.
fn models_of(run: &RunFolder) -> Result<Vec<PathBuf>> {
    let folder = run.join("gguf");
    let none = || {
        format!("no model in {}; run `auton export gguf` first, or name one with --model", folder.display())
    };
    let entries = std::fs::read_dir(&folder).with_context(none)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>().with_context(none)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    ensure!(!files.is_empty(), none());
    Ok(files)
}

fn evaluate(
    run: &RunFolder,
    files: &[PathBuf],
    gates: &Gates,
    threads: usize,
    args: &EvalArgs,
) -> Result<Report> {
    let amounts = if args.quick { QUICK } else { WHOLE };
    // The first model is opened before anything that takes long: a wrong path is said at once.
    let first = files.first().context("no model to evaluate")?;
    let tokenizer_of = Subject::open(first, threads)?;
    let mut data = Data::read(run)?;
    let all = data.test.len();
    shorten(&mut data, amounts.tokens, args.seed);
    let questions = devices::Questions::read(run, amounts.devices, args.seed)?;
    let commands = commands::Questions::new(&data.test, amounts.command_step);

    let started = Instant::now();
    let vocabulary = usize::try_from(tokenizer_of.facts().vocabulary)?;
    check_vocabulary(&data, vocabulary, first)?;
    let kneser_ney = KneserNey::fit(documents(&data.train), vocabulary);
    let jelinek_mercer = JelinekMercer::fit(documents(&data.train), documents(&data.valid), vocabulary);
    let by_ngrams = perplexity::by_ngrams(&data.test, [&kneser_ney, &jelinek_mercer]);
    let seconds = started.elapsed().as_secs_f64();
    let words = tokenizer_of.with_tokenizer(|tokenizer| fluency::Vocabulary::of(&data.train, tokenizer))?;
    let ngram = NgramWriter { subject: &tokenizer_of, ngram: &kneser_ney };
    let baseline = Baseline {
        discounts: kneser_ney.discounts(),
        majority_vendor: questions.majority_vendor,
        devices: questions.ask(&ngram)?,
        commands: commands.ask(&ngram)?,
        fluency: fluency::ask(&ngram, &words, amounts.samples, args.seed)?,
        real_pages: fluency::real(&data, &tokenizer_of, &words, amounts.samples)?,
        seconds,
    };

    let one = |file: &PathBuf| -> Result<Model> {
        let started = Instant::now();
        let subject = Subject::open(file, threads)?;
        let by_model: Vec<Surprise> = perplexity::by_model(&data.test, &subject)?;
        let mut model = Model {
            facts: subject.facts().clone(),
            perplexity: perplexity::rows(&data.test, &by_model, &by_ngrams),
            devices: questions.ask(&subject)?,
            commands: commands.ask(&subject)?,
            fluency: fluency::ask(&subject, &words, amounts.samples, args.seed)?,
            gates: Vec::new(),
            seconds: started.elapsed().as_secs_f64(),
        };
        model.gates = gates.judge(&model);
        Ok(model)
    };
    Ok(Report {
        schema: report::SCHEMA.into(),
        version: report::VERSION,
        seed: args.seed,
        quick: args.quick,
        machine: Machine::this(threads),
        data: DataFacts {
            train_tokens: data.train.len() as u64,
            valid_tokens: data.valid.len() as u64,
            test_documents: data.test.len() as u64,
            repeated: data.repeated as u64,
            trained_on: data.trained_on as u64,
            skipped: (all - data.test.len()) as u64,
        },
        baseline,
        models: files.iter().map(one).collect::<Result<_>>()?,
    })
}

/// Keeps documents, drawn by `seed`, until they have `tokens` tokens, long ones only as far as that; in their old order.
fn shorten(data: &mut Data, tokens: usize, seed: u64) {
    if data.test.iter().map(|document| document.tokens.len()).sum::<usize>() <= tokens {
        return;
    }
    let numbers: Vec<usize> = (0..data.test.len()).collect();
    let (mut kept, mut have) = (Vec::new(), 0);
    for number in draw(&numbers, numbers.len(), seed) {
        let length = data.test[number].tokens.len();
        if kept.is_empty() || have + length <= tokens {
            kept.push(number);
            have += length;
        }
    }
    kept.sort_unstable();
    data.test = kept.into_iter().map(|number| data.test[number].clone()).collect();
}

/// The data were made with the model's tokenizer, or at least with one of its size.
fn check_vocabulary(data: &Data, vocabulary: usize, file: &Path) -> Result<()> {
    let tokens = data.train.iter().chain(&data.valid).chain(data.test.iter().flat_map(|d| &d.tokens));
    let highest = tokens.max().copied().unwrap_or(0);
    ensure!(
        usize::from(highest) < vocabulary,
        "the data have a token {highest}, but {} knows {vocabulary}; evaluate the model of this run",
        file.display()
    );
    Ok(())
}

/// The figures that matter most, on standard output.
fn say(report: &Report) {
    for model in &report.models {
        println!("{} ({})", model.facts.file, model.facts.quantisation);
        for row in model.perplexity.iter().filter(|row| ["prose", "all"].contains(&row.source.as_str())) {
            println!(
                "  perplexity, {}: {:.3} ({:.3} bits a byte); 3-gram {:.2} (Kneser-Ney), {:.2} (Jelinek-Mercer): {:.2} times",
                row.source, row.perplexity, row.bits_per_byte, row.kneser_ney, row.jelinek_mercer, row.ratio
            );
        }
        println!("  vendor by heart: {}", model.devices.vendor);
        println!("  device by heart: {}", model.devices.device);
        println!("  with the record: {}", model.devices.record);
        println!("  with the record, new devices: {}", model.devices.record_held_out);
        println!("  commands: {}; worded anew: {}", model.commands.held_out, model.commands.new);
        for gate in &model.gates {
            println!("  {gate}");
        }
    }
}
