//! A task of the plan: who does it, by which calls of the tool, from what, to what, and what lets it pass.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::gate::Gate;

/// Who is responsible for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Corpus, tokenizer, splits.
    #[default]
    DataScientist,
    /// The model's shape.
    Architect,
    /// The weights.
    Trainer,
    /// What the weights are worth.
    Evaluator,
    /// The kernel, and the model in it.
    Integrator,
    /// Whether it all holds together.
    Reviewer,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [
        Role::DataScientist,
        Role::Architect,
        Role::Trainer,
        Role::Evaluator,
        Role::Integrator,
        Role::Reviewer,
    ];

    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Role::DataScientist => "data-scientist",
            Role::Architect => "architect",
            Role::Trainer => "trainer",
            Role::Evaluator => "evaluator",
            Role::Integrator => "integrator",
            Role::Reviewer => "reviewer",
        }
    }
}

/// A task. Its log file has its name too.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Who does it.
    pub role: Role,
    /// Names of the tasks that must be done before.
    pub needs: Vec<String>,
    /// Arguments of the tool's calls, one after the other.
    pub calls: Vec<Vec<String>>,
    /// Files and folders that decide about the result.
    pub inputs: Vec<PathBuf>,
    /// Files and folders that it makes. All must be there in the end.
    pub outputs: Vec<PathBuf>,
    /// What an attempt leaves for its continuation. An attempt that is not the continuation of one with the same calls and
    /// inputs begins without it.
    pub leftovers: Vec<PathBuf>,
    /// What lets it pass.
    pub gate: Gate,
    /// Run it even if nothing has changed, for it depends on more than its inputs.
    pub always: bool,
}
