//! A question to the rules: always an answer, of one consistent form.

use crate::random::Random;
use crate::run::Target;
use llm::answer::plan;
use llm::rules::{CommandHelp, Confidence, answer};

/// The target.
pub struct RulesTarget;

const COMMANDS: [CommandHelp<'static>; 3] = [
    CommandHelp {
        name: "free",
        usage: "free [--json]",
        summary: "Show memory in use and free.",
        example: "free",
    },
    CommandHelp {
        name: "lspci",
        usage: "lspci [-v]",
        summary: "List the PCI devices by name.",
        example: "lspci -v",
    },
    CommandHelp {
        name: "slm query",
        usage: "slm query \"QUESTION\"",
        summary: "Ask the model.",
        example: "",
    },
];

const WORDS: [&str; 24] = [
    "pci",
    "usb",
    "vendor",
    "device",
    "class",
    "8086:10d3",
    "0x8086",
    "10d3",
    "046d",
    "c52b",
    "id",
    "is",
    "subsystem",
    "how do i",
    "free",
    "memory",
    "turn",
    "off",
    "what",
    "who makes",
    "code",
    "0200",
    "slm query",
    "list",
];

impl RulesTarget {
    /// The target.
    pub fn new() -> Self {
        Self
    }
}

impl Target for RulesTarget {
    fn seeds(&mut self) -> Vec<Vec<u8>> {
        [
            "PCI device 8086:10d3 is",
            "who makes usb vendor 046d",
            "how do I see free memory?",
            "class code 0x010802",
            "why?",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    }

    fn words(&self) -> Vec<&'static [u8]> {
        WORDS.iter().map(|word| word.as_bytes()).collect()
    }

    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let mut text = String::new();
        for _ in 0..random.below(10) {
            text.push_str(random.pick(&WORDS));
            text.push_str(random.pick(&[" ", ":", "=", ", ", "\u{a0}", "", "/", " é"]));
        }
        Some(text.into())
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let question = String::from_utf8_lossy(input);
        let answer = answer(&question, &COMMANDS);
        assert!(answer.text.starts_with(&answer.record) && !answer.record.is_empty());
        let plan = plan(&question, &COMMANDS);
        assert_eq!(plan.forced().is_empty(), answer.confidence == Confidence::None);
        format!("{:?} from {}", answer.confidence, answer.source.name())
    }
}
