//! Completion of commands, subcommands, options and their values, from the table.

use super::{COMMANDS, Command, Operand};
use crate::args::HELP;
use crate::parse::{Word, scan};
use crate::reader::{Completer, Completion};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Completes from the table.
pub struct CommandCompleter {
    /// Names of the machine's self tests.
    pub self_tests: Vec<&'static str>,
}

impl Completer for CommandCompleter {
    fn complete(&self, before: &str) -> Completion {
        let scan = scan(before);
        let mut words = scan.commands.into_iter().next_back().unwrap_or_default();
        let mut current = Word { start: before.len(), end: before.len(), ..Word::default() };
        if !before.ends_with(|c: char| c.is_whitespace() || c == ';') {
            current = words.pop().unwrap_or(current);
        }
        // Inside quotes anything may stand; what was quoted is not taken apart either.
        if scan.open.is_some() || before.get(current.start..) != Some(&current.text) {
            return Completion::default();
        }
        let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let mut candidates = self.ways(&words, &current.text);
        candidates.retain(|candidate| candidate.starts_with(&current.text));
        candidates.sort();
        candidates.dedup();
        Completion { start: current.start, candidates }
    }
}

impl CommandCompleter {
    fn ways(&self, words: &[&str], current: &str) -> Vec<String> {
        let Some((command, rest)) = resolve(words) else { return next_words(words) };
        if command.verbatim || rest.contains(&"--") {
            return Vec::new();
        }
        let option = |word: &str| {
            let name = word.strip_prefix("--")?;
            command.options.iter().find(|o| o.name == name && o.value.is_some())
        };
        if let Some(option) = rest.last().and_then(|word| option(word)) {
            return option.choices().map(String::from).collect();
        }
        if let Some(option) = current.split_once('=').and_then(|(word, _)| option(word)) {
            return option.choices().map(|choice| format!("--{}={choice}", option.name)).collect();
        }
        if current.starts_with('-') {
            return command.options.iter().chain([&HELP]).map(|o| format!("--{}", o.name)).collect();
        }
        match command.operand {
            Operand::Free => Vec::new(),
            Operand::Command => next_words(rest),
            Operand::SelfTest if rest.is_empty() => {
                self.self_tests.iter().copied().chain(["all"]).map(String::from).collect()
            }
            Operand::OneOf(words) if rest.is_empty() => words.iter().copied().map(String::from).collect(),
            Operand::SelfTest | Operand::OneOf(_) => Vec::new(),
        }
    }
}

/// The command that complete words name.
fn resolve<'a>(words: &'a [&'a str]) -> Option<(&'static Command, &'a [&'a str])> {
    let named = |n: usize| {
        let (name, rest) = words.split_at_checked(n)?;
        let command = COMMANDS.iter().find(|c| c.name.split(' ').eq(name.iter().copied()))?;
        Some((command, rest))
    };
    named(2).or_else(|| named(1))
}

/// Words of command names that may follow these.
fn next_words(words: &[&str]) -> Vec<String> {
    let next = |command: &'static Command| {
        let mut name = command.name.split(' ');
        words.iter().all(|word| name.next() == Some(word)).then(|| name.next())?
    };
    COMMANDS.iter().filter_map(next).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(before: &str) -> Vec<String> {
        CommandCompleter { self_tests: Vec::from(["fpu", "guard"]) }.complete(before).candidates
    }

    #[test]
    fn every_kind_of_word() {
        assert_eq!(complete("ls"), ["lscpu", "lspci"]);
        assert_eq!(complete("ps; sl"), ["slm"]);
        assert_eq!(complete("slm "), ["load", "query", "status", "unload"]);
        assert_eq!(complete("slm query --t"), ["--temp", "--top-k", "--top-p"]);
        assert_eq!(complete("slm query --backend "), ["auto", "neural", "rules"]);
        assert_eq!(complete("slm query --backend=r"), ["--backend=rules"]);
        assert_eq!(complete("slm query x --seed 1 --m"), ["--max-tokens"]);
        assert_eq!(complete("help slm q"), ["query"]);
        assert_eq!(complete("help p"), ["poweroff", "ps"]);
        assert_eq!(complete("selftest "), ["all", "fpu", "guard"]);
        assert_eq!(complete("schedctl policy r"), ["rr"]);
        assert_eq!(complete("schedctl transformer s"), ["save", "shadow", "stats"]);
        assert_eq!(complete("schedctl bench mixed --p"), ["--policies"]);
        assert!(complete("schedctl policy rr ").is_empty());
        assert_eq!(complete("lspci -"), ["--help", "--json", "--verbose"]);
        assert!(complete("").len() > 10);
    }

    #[test]
    fn nothing_where_anything_may_stand() {
        for before in ["echo --", "slm query \"l", "slm query 'a' -- --", "nonsense x", "'ls", "ps x"] {
            assert!(complete(before).is_empty(), "{before}");
        }
    }
}
