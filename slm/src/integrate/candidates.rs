//! What can be integrated: the wanted model, and what is rolled back to, in order.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::model::fetch::sha256_of;
use xtask::model::integrated::Integrated;
use xtask::workspace::Workspace;

use crate::run_folder::RunFolder;

/// Why a candidate is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It was asked for.
    Wanted,
    /// It counted before.
    Previous,
    /// It is smaller.
    Smaller,
    /// It is the same model in other numbers.
    OtherQuantisation,
    /// It needs no model.
    RuleEngine,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Stage; 5] =
        [Stage::Wanted, Stage::Previous, Stage::Smaller, Stage::OtherQuantisation, Stage::RuleEngine];

    /// Its name in sentences and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Wanted => "wanted model",
            Stage::Previous => "previous model",
            Stage::Smaller => "smaller model",
            Stage::OtherQuantisation => "other quantisation",
            Stage::RuleEngine => "rule engine",
        }
    }
}

/// Something to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Why.
    pub stage: Stage,
    /// The GGUF; `None`: the rule engine.
    pub file: Option<PathBuf>,
}

impl Candidate {
    /// What it is, in a sentence.
    pub fn shown(&self) -> String {
        self.file.as_ref().map_or("no model".to_owned(), |file| file.display().to_string())
    }
}

/// The wanted model (`model`, or the smallest GGUF of the run) and all that may take its place.
pub fn find(run: &RunFolder, model: Option<&Path>, store: &Integrated) -> Result<Vec<Candidate>> {
    let of_run = ggufs(&run.join("gguf"));
    let wanted = match model {
        Some(file) => file.to_path_buf(),
        None => of_run.first().cloned().with_context(|| {
            format!("{} holds no GGUF file; `auton quantize` makes one", run.join("gguf").display())
        })?,
    };
    let previous = store.current()?.map(|place| place.join("model.gguf"));
    let smaller = smaller_than(&wanted, &others(run));
    // The smallest first: size may be what was wrong.
    let beside = wanted.parent().map(ggufs).unwrap_or_default();
    let quantised = beside.into_iter().filter(|file| *file != wanted);

    let model = |stage| move |file| Candidate { stage, file: Some(file) };
    let mut list = vec![model(Stage::Wanted)(wanted.clone())];
    // The same file again would only fail again.
    list.extend(previous.filter(|file| !same(file, &wanted)).map(model(Stage::Previous)));
    list.extend(smaller.map(model(Stage::Smaller)));
    list.extend(quantised.map(model(Stage::OtherQuantisation)));
    list.push(Candidate { stage: Stage::RuleEngine, file: None });
    Ok(list)
}

fn same(a: &Path, b: &Path) -> bool {
    match (sha256_of(a), sha256_of(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// The GGUF files of a folder, the smallest first. Nothing where there is no such folder.
fn ggufs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect();
    files.sort_by_key(|file| (bytes(file), file.clone()));
    files
}

fn bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Models of other runs, and those that belong to the project.
fn others(run: &RunFolder) -> Vec<PathBuf> {
    let runs = run.path().parent().map(folders).unwrap_or_default();
    let own = runs.into_iter().filter(|folder| folder != run.path()).map(|folder| folder.join("gguf"));
    let project = folders(&Workspace::find().root.join("slm/models"));
    own.chain(project).flat_map(|folder| ggufs(&folder)).collect()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The largest of `models` that is smaller than `wanted`.
fn smaller_than(wanted: &Path, models: &[PathBuf]) -> Option<PathBuf> {
    let bound = bytes(wanted);
    models.iter().filter(|file| bytes(file) < bound).max_by_key(|file| bytes(file)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_come_in_the_order_of_the_rollback() {
        let folder = tempfile::tempdir().unwrap();
        let file = |place: &str, bytes: usize| {
            let path = folder.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, vec![0; bytes]).unwrap();
            path
        };
        let (small, large) = (file("mine/gguf/m.Q4_0.gguf", 40), file("mine/gguf/m.Q8_0.gguf", 80));
        let (other, _) = (file("other/gguf/o.gguf", 30), file("third/gguf/o.gguf", 20));
        let store = Integrated::at(&folder.path().join("store")).unwrap();
        let run = RunFolder::new(folder.path().join("mine"));
        let found = |model: Option<&Path>| {
            find(&run, model, &store).unwrap().into_iter().map(|c| (c.stage, c.file)).collect::<Vec<_>>()
        };
        let expected = [
            (Stage::Wanted, Some(small.clone())),
            (Stage::Smaller, Some(other.clone())),
            (Stage::OtherQuantisation, Some(large.clone())),
            (Stage::RuleEngine, None),
        ];
        assert_eq!(found(None), expected);
        file("store/ab/model.gguf", 1);
        store.set_current(Some(&folder.path().join("store/ab"))).unwrap();
        let previous = (Stage::Previous, Some(folder.path().join("store/ab/model.gguf")));
        assert_eq!(found(Some(&large))[1], previous);
        let empty = RunFolder::new(folder.path().join("empty"));
        assert!(find(&empty, None, &store).unwrap_err().to_string().contains("holds no GGUF"));
    }
}
