//! Gates: what is looked at before anything is built on a task's result. Each gives a sentence about it, with the measured
//! figures, or the reason why the next task must not begin.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::run_folder::{RunFolder, Split};
use crate::table::{grouped, mib};

/// What a task's result is held to.
#[derive(Debug, Clone, Default)]
pub enum Gate {
    /// Exit status and outputs say it all.
    #[default]
    Nothing,
    /// A corpus with something in it.
    Corpus,
    /// A tokenizer of this size that gives text back.
    Tokenizer {
        /// Tokens.
        vocabulary: u64,
    },
    /// Token ids of all splits, all of them in the vocabulary.
    Tokens {
        /// Tokens.
        vocabulary: u64,
        /// Fewer in the training stream are not enough for one sequence.
        context: u64,
    },
    /// A loss curve in this folder whose validation loss fell.
    Curve {
        /// The folder of the run or of a candidate.
        folder: PathBuf,
    },
    /// Files that must not be empty.
    Files(Vec<PathBuf>),
    /// A report of `auton eval` with a perplexity below that of guessing.
    Evaluation {
        /// Tokens to guess among.
        vocabulary: u64,
    },
    /// The wanted model runs in the kernel.
    Integration,
    /// Never passed.
    #[cfg(test)]
    Refuse(&'static str),
}

impl Gate {
    /// A sentence about what was made, or why it is not enough.
    pub fn check(&self, run: &RunFolder) -> Result<String> {
        match self {
            Gate::Nothing => Ok("ended well".to_owned()),
            Gate::Corpus => corpus(run),
            Gate::Tokenizer { vocabulary } => tokenizer(run, *vocabulary),
            Gate::Tokens { vocabulary, context } => tokens(run, *vocabulary, *context),
            Gate::Curve { folder } => curve(folder),
            Gate::Files(files) => sizes(files),
            Gate::Evaluation { vocabulary } => evaluation(run, *vocabulary),
            Gate::Integration => integration(run),
            #[cfg(test)]
            Gate::Refuse(why) => anyhow::bail!("{why}"),
        }
    }
}

/// Less text than this teaches nothing.
const LEAST_CORPUS: u64 = 100_000;

fn corpus(run: &RunFolder) -> Result<String> {
    let folder = run.join("corpus");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let (mut bytes, mut sources) = (0, 0);
    for entry in entries {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "jsonl") {
            bytes += entry.metadata()?.len();
            sources += 1;
        }
    }
    ensure!(bytes >= LEAST_CORPUS, "the corpus has {bytes} bytes, which is less than {LEAST_CORPUS}");
    Ok(format!("{} of documents from {sources} sources", mib(bytes)))
}

fn tokenizer(run: &RunFolder, vocabulary: u64) -> Result<String> {
    let path = run.tokenizer();
    let failed = |error| anyhow::anyhow!("{}: {error}", path.display());
    let tokenizer = Tokenizer::from_file(&path).map_err(failed)?;
    let found = tokenizer.get_vocab_size(true) as u64;
    ensure!(found == vocabulary, "the tokenizer has {found} tokens, but the configuration {vocabulary}");
    let text = "NAME\n  ls - list directory contents, 8086:10d3 (naïve\u{1f427})";
    let ids = tokenizer.encode(text, false).map_err(failed)?;
    let back = tokenizer.decode(ids.get_ids(), false).map_err(failed)?;
    ensure!(back == text, "the tokenizer gives {back:?} back for {text:?}");
    Ok(format!(
        "{} tokens, {:.2} bytes a token of a sample",
        grouped(found),
        text.len() as f64 / ids.len() as f64
    ))
}

fn tokens(run: &RunFolder, vocabulary: u64, context: u64) -> Result<String> {
    let mut counts = Vec::new();
    for split in Split::ALL {
        let path = run.tokens(split);
        let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        ensure!(bytes.len().is_multiple_of(2), "{} ends within a token", path.display());
        let stray = bytes
            .chunks_exact(2)
            .map(|id| u16::from_le_bytes([id[0], id[1]]))
            .find(|id| u64::from(*id) >= vocabulary);
        if let Some(id) = stray {
            anyhow::bail!("{} holds token {id}, but the vocabulary has {vocabulary}", path.display());
        }
        let count = bytes.len() as u64 / 2;
        ensure!(
            count > context,
            "{} has {count} tokens, which is not one sequence of {context}",
            path.display()
        );
        counts.push(format!("{} {}", split.name(), grouped(count)));
    }
    Ok(format!("tokens: {}", counts.join(", ")))
}

/// The validation losses of a learning curve: (step, loss).
pub fn validation_losses(folder: &Path) -> Result<Vec<(u64, f64)>> {
    let path = folder.join("train/loss.csv");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        let found = heading.iter().position(|column| *column == name);
        found.with_context(|| format!("{} has no column {name}", path.display()))
    };
    let (step, loss) = (column("step")?, column("valid_loss")?);
    let rows = lines.filter_map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let loss = cells.get(loss).filter(|cell| !cell.is_empty())?;
        Some((cells[step].parse().ok()?, loss.parse().unwrap_or(f64::NAN)))
    });
    Ok(rows.collect())
}

fn curve(folder: &Path) -> Result<String> {
    let losses = validation_losses(folder)?;
    let (Some((_, first)), Some((step, last))) = (losses.first(), losses.last()) else {
        anyhow::bail!("the learning curve has no validation loss");
    };
    ensure!(
        last.is_finite(),
        "the validation loss is {last} after step {step}; a smaller learning rate may help"
    );
    ensure!(
        losses.len() == 1 || last < first,
        "the validation loss did not fall: {first:.3} in the beginning, {last:.3} after step {step}"
    );
    Ok(format!("validation loss {first:.3} to {last:.3} after step {step}"))
}

fn sizes(files: &[PathBuf]) -> Result<String> {
    let mut said = Vec::new();
    for file in files {
        let bytes =
            std::fs::metadata(file).with_context(|| format!("{} is not there", file.display()))?.len();
        ensure!(bytes > 0, "{} is empty", file.display());
        said.push(format!("{} {}", file.file_name().unwrap_or_default().to_string_lossy(), mib(bytes)));
    }
    Ok(said.join(", "))
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The first model's perplexity of all held-out documents must be below that of guessing among all tokens.
fn evaluation(run: &RunFolder, vocabulary: u64) -> Result<String> {
    let report = json(&run.join("eval/report.json"))?;
    let model = &report["models"][0];
    let rows = model["perplexity"].as_array().context("eval/report.json has no perplexity")?;
    let all = rows.iter().find(|row| row["source"] == "all").context("eval/report.json has no row `all`")?;
    let number = |key: &str| all[key].as_f64().with_context(|| format!("eval/report.json has no {key}"));
    let perplexity = number("perplexity")?;
    ensure!(
        perplexity < vocabulary as f64,
        "the perplexity {perplexity:.1} is no better than guessing among {vocabulary} tokens"
    );
    Ok(format!(
        "held-out perplexity {perplexity:.1}, {:.2} times lower than the better 3-gram's",
        number("ratio")?
    ))
}

fn integration(run: &RunFolder) -> Result<String> {
    let report = json(&run.join("integration_test_report.json"))?;
    let attempt = &report["attempts"][0];
    ensure!(report["passed"] == true, "the wanted model did not pass: {}", attempt["reason"]);
    let asked = attempt["prompts"].as_array().map_or(0, Vec::len);
    let ms = |key: &str| attempt[key].as_f64().map_or("?".to_owned(), |ms| format!("{ms:.0} ms"));
    Ok(format!(
        "the kernel gives the host's tokens ({asked} questions and the golden ones); loaded in {}, ten tokens in {}",
        ms("load_ms"),
        ms("ten_tokens_ms")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunFolder) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path());
        for place in ["corpus", "data", "train"] {
            std::fs::create_dir(run.join(place)).unwrap();
        }
        (folder, run)
    }

    #[test]
    fn tokens_outside_the_vocabulary_are_refused() {
        let (_folder, run) = run();
        let gate = Gate::Tokens { vocabulary: 300, context: 2 };
        let write = |ids: &[u16]| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            Split::ALL.iter().for_each(|split| std::fs::write(run.tokens(*split), &bytes).unwrap());
        };
        write(&[1, 2, 299]);
        assert!(gate.check(&run).unwrap().contains("train 3"));
        write(&[1, 2, 300]);
        assert!(gate.check(&run).unwrap_err().to_string().contains("holds token 300"));
        write(&[1, 2]);
        assert!(gate.check(&run).unwrap_err().to_string().contains("not one sequence"));
        std::fs::write(run.tokens(Split::Train), [1]).unwrap();
        assert!(gate.check(&run).unwrap_err().to_string().contains("ends within a token"));
    }

    #[test]
    fn a_curve_must_fall_and_be_finite() {
        let (folder, run) = run();
        let gate = Gate::Curve { folder: folder.path().to_path_buf() };
        let check = |rows: &str| {
            let text = format!("step,tokens,seconds,learning_rate,train_loss,valid_loss\n{rows}");
            std::fs::write(run.join("train/loss.csv"), text).unwrap();
            gate.check(&run).map_err(|error| error.to_string())
        };
        assert!(
            check("1,9,1,0.1,7.0,6.9\n2,9,1,0.1,6.5,\n3,9,1,0.1,5.0,5.25\n")
                .unwrap()
                .contains("6.900 to 5.250 after step 3")
        );
        assert!(check("1,9,1,0.1,7.0,6.9\n3,9,1,0.1,5.0,7.0\n").unwrap_err().contains("did not fall"));
        assert!(
            check("1,9,1,0.1,7.0,6.9\n3,9,1,0.1,5.0,NaN\n").unwrap_err().contains("smaller learning rate")
        );
        assert!(check("").unwrap_err().contains("no validation loss"));
    }

    #[test]
    fn an_empty_corpus_or_file_is_refused() {
        let (folder, run) = run();
        assert!(Gate::Corpus.check(&run).unwrap_err().to_string().contains("the corpus has 0 bytes"));
        std::fs::write(run.join("corpus/a.jsonl"), vec![b'a'; 200_000]).unwrap();
        assert!(Gate::Corpus.check(&run).unwrap().contains("1 sources"));
        let file = folder.path().join("empty");
        std::fs::write(&file, "").unwrap();
        assert!(Gate::Files(vec![file]).check(&run).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn a_model_must_be_better_than_guessing() {
        let (_folder, run) = run();
        std::fs::create_dir(run.join("eval")).unwrap();
        let check = |perplexity: f64| {
            let row = serde_json::json!({ "source": "all", "perplexity": perplexity, "ratio": 0.5 });
            let report = serde_json::json!({ "models": [{ "perplexity": [{ "source": "man" }, row] }] });
            std::fs::write(run.join("eval/report.json"), report.to_string()).unwrap();
            Gate::Evaluation { vocabulary: 1024 }.check(&run).map_err(|error| error.to_string())
        };
        assert!(check(200.0).unwrap().contains("200.0, 0.50 times"));
        assert!(check(1024.0).unwrap_err().contains("no better than guessing"));
    }

    #[test]
    fn a_rollback_is_no_pass() {
        let (_folder, run) = run();
        let write = |passed: bool| {
            let text = serde_json::json!({ "passed": passed, "attempts": [{ "reason": "other tokens", "load_ms": 3.0, "prompts": [] }] });
            std::fs::write(run.join("integration_test_report.json"), text.to_string()).unwrap();
        };
        write(true);
        assert!(Gate::Integration.check(&run).unwrap().contains("loaded in 3 ms"));
        write(false);
        assert!(Gate::Integration.check(&run).unwrap_err().to_string().contains("other tokens"));
    }
}
