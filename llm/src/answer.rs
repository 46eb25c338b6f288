//! From a question to what a backend is given: the one place that decides what is looked up and what is generated.
//!
//! A small model cannot name devices, and cannot even copy a record out of its own prompt. So a fact is never left
//! to it: where the rules know an answer, its record is the *forced* beginning of the model's answer, and the model
//! continues from there, with a sentence of its own. The name is right by construction. Where the rules know nothing
//! the model is on its own, and where there is no model the rules' answer is the answer.
//!
//! ```
//! use llm::answer::plan;
//! let plan = plan("PCI device 8086:10d3 is", &[]);
//! assert!(plan.forced().starts_with("PCI device 8086:10d3 is the Intel Corporation 82574L"));
//! assert_eq!(plan.rules(&[]).text, plan.forced());
//! ```

use crate::rules::{self, Answer, CommandHelp, Confidence, Source};
use crate::template::{Part, Template};
use crate::tokenizer::{Special, Tokenizer};
use alloc::string::String;
use alloc::vec::Vec;

/// What is to be done about one question. Made by [`plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    question: String,
    found: Option<Answer>,
}

/// Looks up what the rules know about `question`.
pub fn plan(question: &str, commands: &[CommandHelp<'_>]) -> Plan {
    let question = question.trim();
    Plan { question: question.into(), found: rules::find(question, commands) }
}

impl Plan {
    /// The question, without white space around it.
    pub fn question(&self) -> &str {
        &self.question
    }

    /// The text with which the model's answer must begin; empty where nothing is known.
    pub fn forced(&self) -> &str {
        self.found.as_ref().map_or("", |answer| &answer.text)
    }

    /// True where the forced text is the whole answer, because all that a model could add is invented: the number was
    /// looked up and is not known, or it is about a command of this very shell.
    pub fn is_complete(&self) -> bool {
        self.found.as_ref().is_some_and(|answer| {
            answer.confidence == Confidence::NotFound || answer.source == Source::CommandHelp
        })
    }

    /// Where the forced text comes from; [`Source::Nothing`] where there is none.
    pub fn source(&self) -> Source {
        self.found.as_ref().map_or(Source::Nothing, |answer| answer.source)
    }

    /// The rules' answer, without which they have none.
    pub fn found(&self) -> Option<&Answer> {
        self.found.as_ref()
    }

    /// The whole answer without a model: the rules' answer, or what they can be asked.
    pub fn rules(&self, commands: &[CommandHelp<'_>]) -> Answer {
        self.found.clone().unwrap_or_else(|| rules::answer(&self.question, commands))
    }

    /// The prompt, in the parts that the model's template gives it.
    pub fn prompt(&self, template: &Template) -> Vec<Part> {
        template.ask(&self.question)
    }

    /// Tokens of the prompt, for [`Engine::generate`](../engine/struct.Engine.html#method.generate).
    pub fn prompt_tokens(&self, tokenizer: &Tokenizer<'_>, template: &Template) -> Vec<u32> {
        let parts = self.prompt(template);
        let mut tokens = Vec::new();
        tokenizer.encode_parts(parts.iter().map(|part| (part.text.as_str(), part.special)), &mut tokens);
        tokens
    }

    /// Tokens of the forced beginning; they are text, whatever a database may hold.
    pub fn forced_tokens(&self, tokenizer: &Tokenizer<'_>) -> Vec<u32> {
        let mut tokens = Vec::new();
        tokenizer.encode(self.forced(), Special::None, &mut tokens);
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: CommandHelp<'static> = CommandHelp {
        name: "free",
        usage: "free [--json]",
        summary: "Show memory in use and free.",
        example: "free",
    };

    #[test]
    fn devices_are_grounded_in_their_record() {
        let plan = plan("  PCI device 8086:10d3 is\n", &[]);
        assert_eq!(plan.question(), "PCI device 8086:10d3 is");
        assert_eq!(
            plan.forced(),
            "PCI device 8086:10d3 is the Intel Corporation 82574L Gigabit Network Connection."
        );
        assert_eq!((plan.source(), plan.is_complete()), (Source::PciIds, false));
    }

    #[test]
    fn an_unknown_number_leaves_nothing_to_invent() {
        let plan = plan("PCI device 8086:fffe is", &[]);
        assert!(plan.is_complete() && plan.forced().ends_with("is Intel Corporation."), "{}", plan.forced());
    }

    #[test]
    fn how_to_is_grounded_in_the_help() {
        let plan = plan("how do I see free memory?", &[FREE]);
        assert_eq!(plan.forced(), "Run `free` to show memory in use and free. Usage: free [--json].");
        assert!(plan.is_complete());
        assert_eq!(plan.rules(&[FREE]).text, plan.forced());
    }

    #[test]
    fn other_questions_are_the_model_s() {
        let plan = plan("What is virtual memory?", &[FREE]);
        assert_eq!((plan.forced(), plan.source(), plan.found()), ("", Source::Nothing, None));
        assert!(plan.rules(&[FREE]).text.starts_with("The rule engine only knows"));
    }
}
