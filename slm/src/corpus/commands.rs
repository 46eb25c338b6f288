//! Generated documents about this kernel's own commands, from the table that drives its shell.

use shell::commands::{COMMANDS, Command};

use super::document::Document;

/// Renderings of every command; questions and answers in `repeats` different wordings each.
pub fn documents(repeats: usize) -> Vec<Document> {
    let mut documents = vec![Document::new("commands", "index#0", index())];
    for command in COMMANDS {
        documents.push(Document::new("commands", format!("{}#page", command.name), page(command)));
        for round in 0..repeats {
            documents.push(Document::new(
                "commands",
                format!("{}#{round}", command.name),
                wording(command, round),
            ));
        }
        for (at, option) in command.options.iter().enumerate() {
            let text = format!(
                "`{} --{}`: {}\nWhat does the option --{} of `{}` do? {}\n",
                command.name, option.name, option.summary, option.name, command.name, option.summary
            );
            documents.push(Document::new("commands", format!("{}#option {at}", command.name), text));
        }
    }
    documents
}

/// The same questions as turns of a conversation: `<|im_start|>` and `<|im_end|>` are tokens here.
pub fn turn(question: &str, answer: &str) -> String {
    format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n")
}

/// Questions and answers about every command as conversations.
pub fn conversations(repeats: usize) -> Vec<Document> {
    let mut documents = Vec::new();
    for command in COMMANDS {
        for round in 0..repeats {
            let text = turn(&question(command, round), &answer(command));
            documents.push(Document::new("chat", format!("command {}#{round}", command.name), text));
        }
    }
    documents
}

/// What the kernel's rule engine says about a command (`llm::rules`).
pub fn answer(command: &Command) -> String {
    let mut text = format!("Run `{}` to {}.", command.name, purpose(command));
    if command.usage != command.name {
        text.push_str(&format!(" Usage: {}.", command.usage));
    }
    if command.example != command.name {
        text.push_str(&format!(" Example: {}", command.example));
    }
    text
}

/// "list the PCI devices by name".
fn purpose(command: &Command) -> String {
    let summary = command.summary.trim().trim_end_matches('.');
    let mut letters = summary.chars();
    letters.next().map(|c| c.to_lowercase().collect::<String>()).unwrap_or_default() + letters.as_str()
}

fn index() -> String {
    let lines = COMMANDS.iter().map(|c| format!("  {}\n    {}\n", c.name, c.summary));
    std::iter::once("COMMANDS\n".to_string()).chain(lines).collect()
}

fn page(command: &Command) -> String {
    let mut text = format!(
        "NAME\n  {} - {}\n\nSYNOPSIS\n  {}\n\nDESCRIPTION\n  {}\n",
        command.name,
        purpose(command),
        command.usage,
        command.summary
    );
    if !command.options.is_empty() {
        text.push_str("\nOPTIONS\n");
    }
    for option in command.options {
        let short = option.short.map(|s| format!("-{s}, ")).unwrap_or_default();
        let value = option.value.as_ref().map(|_| " VALUE").unwrap_or_default();
        text.push_str(&format!("  {short}--{}{value}\n    {}\n\n", option.name, option.summary));
    }
    format!("{}\n\nEXAMPLE\n  {}\n", text.trim_end(), command.example)
}

/// A question that the command answers, worded in one of several ways: about the first thing that its summary says.
fn question(command: &Command, round: usize) -> String {
    let purpose = purpose(command);
    let purpose =
        [". ", ": ", "; "].iter().fold(purpose.as_str(), |text, end| text.split(end).next().unwrap_or(text));
    match round % 8 {
        0 => format!("How do I {purpose}?"),
        1 => format!("Which command do I use to {purpose}?"),
        2 => format!("How can I {purpose}?"),
        3 => format!("What do I type to {purpose}?"),
        4 => format!("I want to {purpose}. What should I run?"),
        5 => format!("What does `{}` do?", command.name),
        6 => format!("Which command should I run to {purpose}?"),
        _ => format!("What is the command to {purpose}?"),
    }
}

fn wording(command: &Command, round: usize) -> String {
    let (name, purpose) = (command.name, purpose(command));
    match round % 4 {
        0 => format!("To {purpose}, type `{}`.\n", command.example),
        1 => format!("{}\n{}\n", question(command, round / 4), answer(command)),
        2 => format!("Question: {}\nAnswer: {}\n", question(command, round / 4), answer(command)),
        _ => format!("The command `{name}`: {} Usage: {}\n", command.summary, command.usage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_kernels_rules() {
        let help = shell::commands::command_help();
        let lspci = COMMANDS.iter().find(|c| c.name == "lspci").unwrap();
        let found = llm::rules::find("how do I list the PCI devices?", &help).unwrap();
        assert_eq!(answer(lspci), found.text);
        assert!(page(lspci).contains("-v, --verbose\n"), "{}", page(lspci));
        assert!(documents(8).len() > 10 * COMMANDS.len());
    }
}
