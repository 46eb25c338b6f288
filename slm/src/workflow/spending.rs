//! What asking an endpoint has cost, and the bound that it never passes.

use serde::{Deserialize, Serialize};

/// One question to an endpoint and what became of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Question {
    /// Who asked.
    pub role: super::task::Role,
    /// Tokens of the question, as the endpoint counted them.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Money, in the currency of the prices in `auton.toml`.
    pub money: f64,
    /// Whether its plan was used, or why not.
    pub outcome: String,
    /// The plan that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<serde_json::Value>,
}

/// What was spent in all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// Tokens of questions and answers.
    pub tokens: u64,
    /// Money.
    pub money: f64,
}

impl Spent {
    /// The sum of `questions`.
    pub fn by(questions: &[Question]) -> Spent {
        let add = |sum: Spent, question: &Question| Spent {
            tokens: sum
                .tokens
                .saturating_add(question.prompt_tokens)
                .saturating_add(question.completion_tokens),
            money: sum.money + question.money,
        };
        questions.iter().fold(Spent::default(), add)
    }
}
