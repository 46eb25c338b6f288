//! The command table as a grammar (GBNF): what a model held to it says is a command of this build, with options that it has.

use super::{COMMANDS, Command, Operand, OptionSpec};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A word of a command line: plain, or in double quotes.
const WORD: &str = r#"word ::= [A-Za-z0-9] [A-Za-z0-9.,/:_-]{0,40} | "\"" [^"\\\x00-\x1F\x7F]{1,200} "\"""#;
const NUMBER: &str = r#"number ::= [0-9]{1,12} ("." [0-9]{1,6})?"#;

/// The grammar of one command line, without `;`.
pub fn grammar() -> String {
    let names: Vec<String> = (0..COMMANDS.len()).map(|number| format!("c{number}")).collect();
    let rules: Vec<String> = COMMANDS.iter().zip(&names).map(|(command, name)| rule(command, name)).collect();
    format!("root ::= {}\n{}\n{WORD}\n{NUMBER}\n", names.join(" | "), rules.join("\n"))
}

fn rule(command: &Command, name: &str) -> String {
    let mut rule = format!("{name} ::= {}", literal(command.name));
    let (least, most) = command.operands;
    if most > 0 {
        let most = if most == usize::MAX { String::new() } else { format!("{most}") };
        rule.push_str(&format!(" (\" \" {}){{{least},{most}}}", operand(command.operand)));
    }
    let options: Vec<String> = command.options.iter().map(option).collect();
    if !options.is_empty() && !command.verbatim {
        rule.push_str(&format!(" (\" \" ({})){{0,{}}}", options.join(" | "), options.len()));
    }
    rule
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::OneOf(words) => alternatives(words.iter().copied()),
        Operand::Command => {
            // The page of a family has the family's name.
            alternatives(COMMANDS.iter().flat_map(|command| command.name.split(' ')))
        }
        Operand::SelfTest | Operand::Free => String::from("word"),
    }
}

fn option(option: &OptionSpec) -> String {
    let name = format!("--{}", option.name);
    match option.value {
        None => {
            let short = option.short.map_or_else(String::new, |letter| format!(" | \"-{letter}\""));
            format!("{}{short}", literal(&name))
        }
        Some(_) if option.choices().next().is_some() => {
            format!("{} {}", literal(&format!("{name} ")), alternatives(option.choices()))
        }
        // A single letter stands for a number, a word for anything.
        Some(value) if value.len() == 1 => format!("{} number", literal(&format!("{name} "))),
        Some(_) => format!("{} word", literal(&format!("{name} "))),
    }
}

fn alternatives<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut words: Vec<String> = words.map(literal).collect();
    words.sort_unstable();
    words.dedup();
    format!("({})", words.join(" | "))
}

fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::commands::find;
    use crate::parse::split;
    use llm::grammar::Grammar;

    #[test]
    fn the_commands_are_of_the_grammar() {
        let grammar = Grammar::parse(&grammar()).unwrap();
        for command in COMMANDS {
            // Options may stand before operands on a real line; the grammar has one order.
            let words = split(command.example).unwrap().remove(0);
            let (_, rest) = find(&words).unwrap();
            let first_is_option = rest.first().is_some_and(|word| word.starts_with('-'));
            let other_order = first_is_option && rest.iter().any(|word| !word.starts_with('-'));
            if !command.verbatim && !other_order {
                assert!(grammar.matches(command.example.as_bytes()), "{}", command.example);
            }
        }
        for line in ["slm query \"what is 8086:10d3?\" --max-tokens 7 --json", "help slm query", "ps --json"]
        {
            assert!(grammar.matches(line.as_bytes()), "{line}");
            let words = split(line).unwrap().remove(0);
            let (command, rest) = find(&words).unwrap();
            Args::parse(command, rest).unwrap();
        }
        for line in [
            "",
            "rm",
            "ps now",
            "ps --jsno",
            "slm",
            "slm dance",
            "slm query",
            "ps; poweroff",
            "slm query \"x",
        ] {
            assert!(!grammar.matches(line.as_bytes()), "{line}");
        }
    }
}
