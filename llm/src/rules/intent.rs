//! Whether a question asks what to type, rather than what something is.

use super::CommandHelp;
use super::words;
use alloc::string::String;

/// Beginnings and phrases of questions about what to do. Compared by whole words.
const PHRASES: &[&str] = &[
    "how do i",
    "how do you",
    "how do we",
    "how to",
    "how can",
    "how could",
    "how would",
    "how should",
    "how does one",
    "how much",
    "how many",
    "how long",
    "how busy",
    "what command",
    "which command",
    "command to",
    "command for",
    "command that",
    "commands are",
    "what do i type",
    "what should i",
    "what can i",
    "way to",
    "i want to",
    "i need to",
    "i would like to",
    "i d like to",
    "can i",
    "can you",
    "could you",
    "is there a",
    "what s running",
    "what is running",
    "help me",
];

/// Verbs that begin an order.
const ORDERS: &[&str] = &[
    "list", "show", "display", "print", "see", "view", "give", "tell", "get", "check", "shut", "shutdown",
    "turn", "switch", "power", "poweroff", "halt", "restart", "reboot", "load", "unload", "ask", "clear",
    "explain", "help",
];

/// True for a question of the kind that a command may answer.
pub(super) fn is_how_to(question: &str) -> bool {
    let words = words::raw(question);
    let words = words
        .iter()
        .map(String::as_str)
        .skip_while(|word| ["please", "hi", "hello", "hey", "ok"].contains(word));
    let mut line = String::from(" ");
    words.for_each(|word| {
        line.push_str(word);
        line.push(' ');
    });
    let has = |phrase: &str| line.contains(&alloc::format!(" {phrase} "));
    let first = line.split_whitespace().next().unwrap_or_default();
    ORDERS.contains(&first) || PHRASES.iter().any(|phrase| has(phrase))
}

/// The command that the question names and asks about ("what does dmesg do"), longest name first.
pub(super) fn named<'c, 'a>(question: &str, commands: &'c [CommandHelp<'a>]) -> Option<&'c CommandHelp<'a>> {
    let words = words::raw(question);
    let position = |name: &str| {
        let name = words::raw(name);
        if name.is_empty() { None } else { words.windows(name.len()).position(|window| window == name) }
    };
    let command = commands
        .iter()
        .filter(|command| position(command.name).is_some())
        .max_by_key(|command| command.name.len())?;
    // The name alone, or among the words by which one asks what a command is for.
    const ASKING: &[&str] = &[
        "what", "does", "do", "is", "s", "the", "a", "command", "for", "mean", "explain", "describe",
        "usage", "use", "of", "how", "works", "work", "help", "with", "on", "about", "tell", "me", "to", "i",
        "please", "this", "in", "shell", "did", "it", "used", "run", "options",
    ];
    let at = position(command.name)?;
    let length = words::raw(command.name).len();
    let around = words.iter().enumerate().filter(|(i, _)| !(at..at + length).contains(i));
    around.map(|(_, word)| word.as_str()).all(|word| ASKING.contains(&word)).then_some(command)
}
