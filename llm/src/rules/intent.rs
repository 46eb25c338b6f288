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
    "what commands",
    "which commands",
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
    "show me",
    "tell me",
    "where do i",
    "where can i",
];

/// Verbs that begin an order.
const ORDERS: &[&str] = &[
    "list", "show", "display", "print", "see", "view", "give", "tell", "get", "check", "shut", "shutdown",
    "turn", "switch", "power", "poweroff", "halt", "restart", "reboot", "load", "unload", "ask", "clear",
    "explain", "help",
];

/// What kind of question the words make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// What to do: a command may answer if it fits at all.
    HowTo,
    /// What there is on this machine ("what's the uptime", "which CPU do I have"): a command may answer if it fits well.
    State,
    /// Anything else, such as what a word means.
    Other,
}

/// Words that tie a question to this machine.
const HERE: &[&str] = &["the", "my", "this", "i", "we", "there"];

/// The kind of a question, by its phrases and first word.
pub(super) fn of(question: &str, commands: &[CommandHelp<'_>]) -> Intent {
    let words = words::raw(question);
    let words = words.iter().map(String::as_str);
    let words = words.skip_while(|word| ["please", "hi", "hello", "hey", "ok"].contains(word));
    let mut line = String::from(" ");
    words.for_each(|word| {
        line.push_str(word);
        line.push(' ');
    });
    let has = |phrase: &str| line.contains(&alloc::format!(" {phrase} "));
    let first = line.split_whitespace().next().unwrap_or_default();
    // The summaries are orders too: "Export …" in one makes "export …" a question for it.
    let is_verb = |command: &CommandHelp<'_>| {
        command.summary.split_whitespace().next().is_some_and(|verb| verb.eq_ignore_ascii_case(first))
            || command.name.split(['-', ' ']).any(|part| part == first)
    };
    if ORDERS.contains(&first) || PHRASES.iter().any(|phrase| has(phrase)) || commands.iter().any(is_verb) {
        return Intent::HowTo;
    }
    let definition = has("is a") || has("is an") || has("are") || has("mean");
    let asks = ["what", "which", "how", "where", "is"].contains(&first);
    if asks && !definition && HERE.iter().any(|word| has(word)) { Intent::State } else { Intent::Other }
}

/// The command that the question names and asks about ("what does dmesg do"), longest name first; a family of
/// commands is named by its first word.
pub(super) fn named<'c, 'a>(question: &str, commands: &'c [CommandHelp<'a>]) -> Option<&'c CommandHelp<'a>> {
    let words = words::raw(question);
    let position = |name: &str| {
        let name = words::raw(name);
        let at = words.windows(name.len().max(1)).position(|window| window == name)?;
        Some((at, name.len()))
    };
    let whole = commands.iter().filter(|command| position(command.name).is_some());
    let family = |command: &CommandHelp<'a>| command.name.split(' ').next().unwrap_or_default();
    let (command, (at, length)) = match whole.max_by_key(|command| command.name.len()) {
        Some(command) => (command, position(command.name)?),
        None => commands.iter().find_map(|command| Some((command, position(family(command))?)))?,
    };
    // The name alone, or among the words by which one asks what a command is for.
    const ASKING: &[&str] = &[
        "what", "does", "do", "is", "s", "the", "a", "command", "for", "mean", "explain", "describe",
        "usage", "use", "of", "how", "works", "work", "help", "with", "on", "about", "tell", "me", "to", "i",
        "please", "this", "in", "shell", "did", "it", "used", "run", "options",
    ];
    let around = words.iter().enumerate().filter(|(i, _)| !(at..at + length).contains(i));
    around.map(|(_, word)| word.as_str()).all(|word| ASKING.contains(&word)).then_some(command)
}
