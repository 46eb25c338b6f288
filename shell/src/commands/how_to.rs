//! The command table as the rule engine reads it: it answers "how do I …?" from this.

use super::COMMANDS;
use alloc::vec::Vec;
use llm::rules::CommandHelp;

/// Help of every command of this build, for `llm::rules::answer`.
pub fn command_help() -> Vec<CommandHelp<'static>> {
    let help = |command: &'static super::Command| CommandHelp {
        name: command.name,
        usage: command.usage,
        summary: command.summary,
        example: command.example,
    };
    COMMANDS.iter().map(help).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_engine_finds_the_commands() {
        let help = command_help();
        for (question, name) in [
            ("how do I list the PCI devices?", "lspci"),
            ("how can I see how much memory is free?", "free"),
            ("which command shows the kernel log?", "dmesg"),
            ("how do I switch the machine off?", "poweroff"),
        ] {
            let answer = llm::rules::find(question, &help).expect(question);
            assert!(answer.text.contains(name), "{question}: {}", answer.text);
        }
    }
}
