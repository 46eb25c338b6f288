//! The command benchmark: a question in words, and the command of this kernel's shell that answers it.
//!
//! Two sets, neither worded as anything in the training data:
//! - *held out*: questions of the test split. Their command is in the training data, in other wordings.
//! - *new*: every command of the shell, asked for in forms ([`NEW`]) that no document of the corpus uses.
//!
//! Right is the command's name, exactly, in the first quotation of the answer.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use shell::commands::{COMMANDS, Command};

use super::devices::Miss;
use super::held_out::HeldOut;
use super::share::Share;
use super::writer::{Ask, Writer};

/// Most tokens up to the end of the quoted command.
const TOKENS: usize = 32;
/// Wrong answers that the report shows.
const SHOWN: usize = 20;
/// Forms of the second set; `{}` is what the command does, in its own words.
const NEW: [&str; 2] = [
    "Question: Tell me how one can {}.\nAnswer:",
    "Question: Please name the command that lets me {}.\nAnswer:",
];

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    prompt: String,
    command: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Questions of the test split.
    pub held_out: Share,
    /// Every command in new wordings.
    pub new: Share,
    /// The first wrong answers.
    pub misses: Vec<Miss>,
}

/// Both sets, each question once.
pub struct Questions {
    held_out: Vec<Question>,
    new: Vec<Question>,
}

impl Questions {
    /// Those of `documents`, and every `step`-th of those about the shell's commands.
    pub fn new(documents: &[HeldOut], step: usize) -> Self {
        let commands = documents.iter().filter(|document| document.source == "commands");
        let held_out: BTreeSet<Question> = commands.filter_map(|document| question(&document.text)).collect();
        let forms = |command: &'static Command| {
            NEW.map(|form| Question {
                prompt: form.replace("{}", &purpose(command)),
                command: command.name.to_owned(),
            })
        };
        let new = COMMANDS.iter().flat_map(forms).step_by(step.max(1)).collect();
        Questions { held_out: held_out.into_iter().collect(), new }
    }

    /// Asks `writer` everything.
    pub fn ask(&self, writer: &dyn Writer) -> Result<Found> {
        let (held_out, mut misses) = asked(&self.held_out, writer)?;
        let (new, more) = asked(&self.new, writer)?;
        misses.extend(more);
        misses.truncate(SHOWN);
        Ok(Found { held_out, new, misses })
    }
}

fn asked(questions: &[Question], writer: &dyn Writer) -> Result<(Share, Vec<Miss>)> {
    let asks: Vec<Ask> = questions.iter().map(|question| Ask::line(&*question.prompt, TOKENS)).collect();
    let answers = writer.write(&asks, "commands")?;
    let (mut right, mut misses) = (0, Vec::new());
    for (question, answer) in questions.iter().zip(answers) {
        if quoted(&question.prompt, &answer.text) == Some(question.command.as_str()) {
            right += 1;
        } else {
            let (prompt, wanted) = (question.prompt.clone(), question.command.clone());
            misses.push(Miss { prompt, wanted, got: answer.text });
        }
    }
    Ok((Share::new(right, questions.len()), misses))
}

/// The first quotation of an answer, or what ends one that the prompt began.
fn quoted<'a>(prompt: &str, answer: &'a str) -> Option<&'a str> {
    let inside = if prompt.ends_with('`') { answer } else { answer.split_once('`')?.1 };
    inside.split_once('`').map(|(quoted, _)| quoted)
}

/// A question of a document: "question, end of line, answer" with or without `Question:` and `Answer:`, or "To …, type `…`".
/// Questions that name their command ask nothing.
fn question(text: &str) -> Option<Question> {
    let (prompt, answer) = match text.split_once(", type `") {
        Some((purpose, answer)) if purpose.starts_with("To ") => {
            (format!("{purpose}, type `"), answer.split_once('`')?.0)
        }
        _ => {
            let (asked, answer) = text.split_once('\n')?;
            let label = if answer.starts_with("Answer:") { "Answer:" } else { "" };
            let answer = answer[label.len()..].trim_start().strip_prefix("Run `")?;
            (format!("{asked}\n{label}"), answer.split_once('`')?.0)
        }
    };
    let named = prompt.contains(&format!("`{answer}`"));
    (!named).then(|| Question { prompt, command: answer.to_owned() })
}

/// "list the PCI devices by name": the first thing that the command's summary says.
fn purpose(command: &Command) -> String {
    let first =
        [". ", ": ", "; "].iter().fold(command.summary, |text, end| text.split(end).next().unwrap_or(text));
    let first = first.trim().trim_end_matches('.');
    let mut letters = first.chars();
    letters.next().map(|letter| letter.to_lowercase().collect::<String>()).unwrap_or_default()
        + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::super::writer::Written;
    use super::*;

    fn document(text: &str) -> HeldOut {
        HeldOut { source: "commands".into(), name: String::new(), text: text.into(), tokens: Vec::new() }
    }

    #[test]
    fn questions_are_read_from_documents() {
        let found = |text| question(text).map(|q| (q.prompt, q.command));
        let wanted = |prompt: &str, command: &str| Some((prompt.to_owned(), command.to_owned()));
        assert_eq!(
            found("Question: How?\nAnswer: Run `lspci` to list.\n"),
            wanted("Question: How?\nAnswer:", "lspci")
        );
        assert_eq!(found("How?\nRun `llmctl load` to load."), wanted("How?\n", "llmctl load"));
        assert_eq!(found("To list, type `lspci -v`.\n"), wanted("To list, type `", "lspci -v"));
        assert_eq!(found("What does `lspci` do?\nRun `lspci` to list."), None);
        assert_eq!(found("The command `lspci`: lists. Usage: lspci\n"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn every_command_is_asked_for_and_judged() {
        struct Always;
        impl Writer for Always {
            fn write(&self, asks: &[Ask], _: &'static str) -> Result<Vec<Written>> {
                let text = "Run `help` to list the commands, or explain one.";
                Ok(asks.iter().map(|_| Written { text: text.into(), ended: true }).collect())
            }
        }
        let same = [document("How?\nRun `help` to."), document("How?\nRun `help` to."), document("x")];
        let found = Questions::new(&same, 1).ask(&Always).unwrap();
        assert_eq!((found.held_out.right, found.held_out.asked), (1, 1));
        assert_eq!((found.new.right, found.new.asked as usize), (2, 2 * COMMANDS.len()));
        assert_eq!(found.misses.len(), SHOWN);
        assert_eq!(quoted("type `", "lspci -v`."), Some("lspci -v"));
        assert_eq!(quoted("x", "no `end"), None);
    }

    #[test]
    fn purposes_go_into_a_question() {
        for command in COMMANDS {
            let purpose = purpose(command);
            assert!(!purpose.is_empty() && !purpose.ends_with('.'), "{}: {purpose}", command.name);
        }
    }
}
