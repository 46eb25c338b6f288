//! The rule engine: answers that need no model.
//!
//! It knows two things: the PCI and USB ID databases ([`crate::knowledge`]), asked in many phrasings, and the
//! commands of the shell, whose help table the caller passes in. To anything else it says that it does not know.
//! It reads words, not meaning: a question is matched by the words it shares with a command's help, after
//! stemming and a small table of synonyms.
//!
//! ```
//! use llm::rules::{self, CommandHelp, Source};
//! let free = CommandHelp { name: "free", usage: "free", summary: "Show memory in use and free.", example: "free" };
//! let answer = rules::answer("who makes PCI vendor 10de?", &[free]);
//! assert_eq!(answer.text, "PCI vendor 10de is NVIDIA Corporation.");
//! assert_eq!(rules::find("how much RAM is left?", &[free]).unwrap().source, Source::CommandHelp);
//! assert!(rules::find("who wrote Hamlet?", &[free]).is_none());
//! ```

mod device_answer;
mod device_question;
mod how_to;
mod intent;
mod words;

#[cfg(test)]
mod tests;

use alloc::string::String;

/// What the help of one command says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandHelp<'a> {
    /// The words that call it, such as `slm query`.
    pub name: &'a str,
    /// One line of usage, beginning with the name.
    pub usage: &'a str,
    /// One sentence in the imperative, with a full stop: "List the PCI devices by name."
    pub summary: &'a str,
    /// A call that works as it stands.
    pub example: &'a str,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The PCI ID database.
    PciIds,
    /// The USB ID database.
    UsbIds,
    /// Both, because the question did not name the bus.
    DeviceIds,
    /// The help of the shell's commands.
    CommandHelp,
    /// Nowhere: the answer says what can be asked.
    Nothing,
}

impl Source {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Source::PciIds => "PCI ID database",
            Source::UsbIds => "USB ID database",
            Source::DeviceIds => "PCI and USB ID databases",
            Source::CommandHelp => "command help",
            Source::Nothing => "none",
        }
    }
}

/// How far an answer can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// The question is none of the kinds that the rules know.
    None,
    /// The question was understood, and the database has no entry for it.
    NotFound,
    /// The words fit.
    Likely,
    /// A record of the database.
    Record,
}

/// An answer of the rule engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The whole answer: sentences.
    pub text: String,
    /// How the answer begins, without a full stop: what a model may continue.
    pub record: String,
    /// Where it comes from.
    pub source: Source,
    /// How far it can be relied on.
    pub confidence: Confidence,
}

/// Answers a question about a device or a command; `None` for any other.
pub fn find(question: &str, commands: &[CommandHelp<'_>]) -> Option<Answer> {
    device_answer::answer(question).or_else(|| how_to::answer(question, commands))
}

/// Answers any question, if only by saying what the rules know.
pub fn answer(question: &str, commands: &[CommandHelp<'_>]) -> Answer {
    find(question, commands).unwrap_or_else(|| {
        let record = "The rule engine only knows PCI and USB devices and the commands of this shell; \
                      ask for example \"what is PCI device 8086:10d3?\" or \"how do I see free memory?\"";
        Answer {
            text: alloc::format!("{record}."),
            record: record.into(),
            source: Source::Nothing,
            confidence: Confidence::None,
        }
    })
}
