//! Words of a command to options and operands, as the command's entry in the table allows.

use crate::commands::{Command, OptionSpec};
use crate::suggest::did_you_mean;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;
use core::ops::RangeBounds;
use core::str::FromStr;
use thiserror::Error;

/// A command that was not written right: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Options and operands of one command. Of an option given twice the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Words that are no options.
    pub operands: Vec<String>,
    options: Vec<(&'static str, Option<String>)>,
}

impl Args {
    /// Sorts the words behind the command's name. Options may stand anywhere before `--`.
    pub fn parse(command: &Command, words: &[String]) -> Result<Self, UsageError> {
        let mut args = Args::default();
        let mut words = words.iter();
        let all = || command.options.iter().chain([&HELP]);
        while let Some(word) = words.next() {
            let (spec, given, inline) = if command.verbatim {
                args.operands.push(word.clone());
                continue;
            } else if word == "--" {
                args.operands.extend(words.by_ref().cloned());
                break;
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
                (all().find(|o| o.name == name), format!("--{name}"), value)
            } else if let Some(short) = word.strip_prefix('-').filter(|s| !s.is_empty()) {
                let letter = short.chars().next().filter(|c| c.len_utf8() == short.len());
                (all().find(|o| o.short.is_some() && o.short == letter), word.clone(), None)
            } else {
                args.operands.push(word.clone());
                continue;
            };
            let Some(spec) = spec else {
                let names: Vec<String> = command.options.iter().map(|o| format!("--{}", o.name)).collect();
                let hint = did_you_mean(&given, names.iter().map(String::as_str));
                let hint = if hint.is_empty() { format!("; see `help {}`", command.name) } else { hint };
                return Err(UsageError(format!(
                    "`{}` has no option `{}`{hint}",
                    command.name,
                    brief(&given)
                )));
            };
            let value = match (spec.value, inline) {
                (None, None) => None,
                (None, Some(_)) => {
                    return Err(UsageError(format!("`--{}` takes no value; write it alone", spec.name)));
                }
                (Some(_), Some(value)) => Some(String::from(value)),
                (Some(meaning), None) => match words.next() {
                    Some(value) => Some(value.clone()),
                    None => {
                        return Err(UsageError(format!(
                            "`--{0}` needs a value: `--{0} {meaning}`",
                            spec.name
                        )));
                    }
                },
            };
            args.options.push((spec.name, value));
        }
        args.check_count(command)?;
        Ok(args)
    }

    fn check_count(&self, command: &Command) -> Result<(), UsageError> {
        let (least, most) = command.operands;
        if self.operands.len() < least && !self.flag("help") {
            return Err(UsageError(format!("`{}` needs more: `{}`", command.name, command.usage)));
        }
        match self.operands.get(most) {
            Some(extra) if !self.flag("help") => Err(UsageError(format!(
                "`{}` does not take `{}`; its usage is `{}`",
                command.name,
                brief(extra),
                command.usage
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the option was given.
    pub fn flag(&self, name: &str) -> bool {
        self.options.iter().any(|(n, _)| *n == name)
    }

    /// The option's value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(n, _)| *n == name)?.1.as_deref()
    }

    /// The option's value as a number in `range`, which `range_text` puts in words for the error.
    pub fn number<T: FromStr + PartialOrd>(
        &self,
        name: &str,
        range: impl RangeBounds<T>,
        range_text: &str,
    ) -> Result<Option<T>, UsageError> {
        let Some(text) = self.value(name) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(UsageError(format!("`--{name}` is {range_text}, not `{}`", brief(text)))),
        }
    }

    /// The option's value as one of `choices`, named by `name_of`.
    pub fn choice<T: Copy, N: Display>(
        &self,
        name: &str,
        choices: &[T],
        name_of: impl Fn(T) -> N,
    ) -> Result<Option<T>, UsageError> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let names: Vec<String> = choices.iter().map(|&c| name_of(c).to_string()).collect();
        match names.iter().position(|n| n == text).and_then(|i| choices.get(i)) {
            Some(&choice) => Ok(Some(choice)),
            None => {
                let (text, names) = (brief(text), names.join(", "));
                Err(UsageError(format!("`--{name}` is one of {names}, not `{text}`")))
            }
        }
    }
}

/// A user's word for an error message: at most 40 characters.
pub(crate) fn brief(word: &str) -> String {
    let mut text: String = word.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() < word.len() {
        text.push_str("...");
    }
    text
}

/// The option every command has.
pub static HELP: OptionSpec =
    OptionSpec { name: "help", short: Some('h'), value: None, summary: "Show this help." };
