//! Which command does what the question asks for: scored word overlap with the help table.

use super::intent::{self, Intent};
use super::words::{self, LOOK};
use super::{Answer, CommandHelp, Confidence, Source};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How much a word counts by where in the help it stands: the best place counts.
const NAME: f32 = 3.0;
const SUMMARY: f32 = 2.0;
const USAGE: f32 = 1.0;
/// Share of the question's weight that a command's words must cover.
const LEAST_COVERAGE: f32 = 0.35;
/// The same for a question that only asks what there is.
const STATE_COVERAGE: f32 = 0.7;

/// Answers with the command that fits, if the question is one of what to type and one fits well enough.
pub(super) fn answer(question: &str, commands: &[CommandHelp<'_>]) -> Option<Answer> {
    if let Some(command) = intent::named(question, commands) {
        return Some(sentence(command));
    }
    let least = match intent::of(question, commands) {
        Intent::HowTo => LEAST_COVERAGE,
        Intent::State => STATE_COVERAGE,
        Intent::Other => return None,
    };
    let content = words::content(question);
    if content.iter().all(|word| word == LOOK) {
        // "Which commands are there?", "help me": nothing is left but the wish for a list.
        let wanted = words::raw(question).iter().any(|word| word == "help" || word == "commands");
        return commands.iter().find(|command| wanted && command.name == "help").map(sentence);
    }
    best(&content, least, commands).map(sentence)
}

/// The words of one command's help, with what each counts: the best place counts.
fn weights(command: &CommandHelp<'_>) -> Vec<(String, f32)> {
    let fields = [(command.name, NAME), (command.summary, SUMMARY), (command.usage, USAGE)];
    let mut weights: Vec<(String, f32)> = Vec::new();
    for (text, weight) in fields {
        // What a sentence begins with is what it is about.
        let weight = (0u8..).map(|at| weight - 0.05 * f32::from(at.min(10)));
        for (word, weight) in words::content(text).into_iter().zip(weight) {
            if !weights.iter().any(|(known, _)| *known == word) {
                weights.push((word, weight));
            }
        }
    }
    weights
}

fn best<'c, 'a>(
    question: &[String],
    least: f32,
    commands: &'c [CommandHelp<'a>],
) -> Option<&'c CommandHelp<'a>> {
    let table: Vec<Vec<(String, f32)>> = commands.iter().map(weights).collect();
    // Rare words tell commands apart; verbs of looking hardly do, however rare.
    let rarity = |word: &String| {
        if word == LOOK {
            return 0.1;
        }
        let holders = table.iter().filter(|words| words.iter().any(|(known, _)| known == word)).count();
        libm::logf(1.0 + commands.len() as f32 / holders.max(1) as f32)
    };
    let total: f32 = question.iter().map(rarity).sum();
    let mut best: Option<(&CommandHelp<'_>, f32)> = None;
    for (command, words) in commands.iter().zip(&table) {
        let (mut score, mut covered) = (0.0, 0.0);
        for word in question {
            if let Some((_, weight)) = words.iter().find(|(known, _)| known == word) {
                score += rarity(word) * weight;
                covered += rarity(word);
            }
        }
        // More than a verb of looking must fit, and most of what was asked.
        let fits = covered > 0.5 && covered >= least * total;
        if fits && best.is_none_or(|(_, other)| score > other) {
            best = Some((command, score));
        }
    }
    best.map(|(command, _)| command)
}

/// "Run `lspci` to list the PCI devices by name. Usage: …"
fn sentence(command: &CommandHelp<'_>) -> Answer {
    let summary = command.summary.trim().trim_end_matches('.');
    let mut letters = summary.chars();
    let first = letters.next().map(|c| c.to_lowercase().collect::<String>()).unwrap_or_default();
    let record = format!("Run `{}` to {first}{}", command.name, letters.as_str());
    let mut text = format!("{record}.");
    if command.usage != command.name {
        text.push_str(&format!(" Usage: {}.", command.usage));
    }
    if command.example != command.name {
        text.push_str(&format!(" Example: {}", command.example));
    }
    Answer { text, record, source: Source::CommandHelp, confidence: Confidence::Likely }
}
