//! Phrasings: first those that the rules were written with, then sets written afterwards, by which they are judged.

use super::{Answer, CommandHelp, Confidence, Source, answer, find};
use alloc::string::String;
use proptest::prelude::*;

/// The help of a shell such as ours (its real table is passed in by the kernel).
const COMMANDS: &[CommandHelp<'static>] = &[
    help("free", "free [--json]", "Show memory in use and free, and free blocks per order.", "free"),
    help("uptime", "uptime [--json]", "Show the time since reset and how busy the CPUs were.", "uptime"),
    help("version", "version", "Show the kernel's version, features and boot.", "version"),
    help("poweroff", "poweroff", "Switch the machine off.", "poweroff"),
    help("reboot", "reboot", "Restart the machine.", "reboot"),
    help("ps", "ps [--json]", "List the threads.", "ps"),
    help(
        "dmesg",
        "dmesg [--level error|warn|info|debug|trace]",
        "Show the kernel log with seconds since reset.",
        "dmesg --level warn",
    ),
    help("lscpu", "lscpu [--json]", "Show the processors and their features.", "lscpu"),
    help("lspci", "lspci [-v|--verbose] [--json]", "List the PCI devices by name.", "lspci -v"),
    help("help", "help [COMMAND]", "List the commands, or explain one.", "help slm query"),
    help("clear", "clear", "Clear the screen.", "clear"),
    help("slm load", "slm load", "Load the model that came with the boot.", "slm load"),
    help(
        "slm unload",
        "slm unload",
        "Unload the model and give its memory back; the rule engine answers then.",
        "slm unload",
    ),
    help(
        "slm query",
        "slm query \"QUESTION\" [--max-tokens N] [--verbose]",
        "Ask about a device or a command; the model answers, or the rule engine.",
        "slm query \"PCI device 8086:10d3 is\"",
    ),
    help("slm status", "slm status [--json]", "Show the model, its memory and its speed.", "slm status"),
];

const fn help(
    name: &'static str,
    usage: &'static str,
    summary: &'static str,
    example: &'static str,
) -> CommandHelp<'static> {
    CommandHelp { name, usage, summary, example }
}

fn ask(question: &str) -> Answer {
    answer(question, COMMANDS)
}

/// The command that an answer recommends.
fn command(answer: &Answer) -> Option<&str> {
    answer.record.strip_prefix("Run `")?.split('`').next()
}

const NIC: &str = "PCI device 8086:10d3 is the Intel Corporation 82574L Gigabit Network Connection";

#[test]
fn device_phrasings() {
    for question in [
        "PCI device 8086:10d3 is",
        "what is pci 8086:10d3?",
        "0x8086 0x10d3 pci",
        "pci vendor 8086 device 10d3",
        "PCI\\VEN_8086&DEV_10D3",
    ] {
        let answer = ask(question);
        assert_eq!((answer.record.as_str(), answer.source), (NIC, Source::PciIds), "{question}");
        assert_eq!(answer.confidence, Confidence::Record);
    }
    assert!(
        ask("what is usb 046d:c52b?").text.starts_with("USB device 046d:c52b is the Logitech, Inc. Unifying")
    );
    assert_eq!(ask("who makes pci vendor 10de").text, "PCI vendor 10de is NVIDIA Corporation.");
    assert!(
        ask("which vendor is 8086")
            .text
            .contains("PCI vendor 8086 is Intel Corporation; USB vendor 8086 is Intel")
    );
}

#[test]
fn device_phrasings_not_written_for() {
    for question in [
        "Can you tell me which PCI card has the ID 8086:10D3?",
        "lspci says [8086:10d3], what's that?",
        "identify pcie hardware with vendor id 0x8086 and device id 0x10d3",
        "My PCI NIC shows up as 0x8086:0x10d3.",
        "pci: vendor=8086, device=10d3?",
        "name the PCI adapter 8086 10d3",
        "I found a PCI device, number 8086:10d3. What is it?",
        "lspci shows Ethernet controller [0200]: Intel 82574L [8086:10d3]",
    ] {
        assert_eq!(ask(question).record, NIC, "{question}");
    }
    for question in [
        "idVendor=046d, idProduct=c52b over USB",
        "what did I just plug in? lsusb: ID 046d:c52b",
        "usb vid 046d pid c52b please",
        "USB\\VID_046D&PID_C52B",
    ] {
        assert!(
            ask(question).record.contains("Logitech, Inc. Unifying Receiver"),
            "{question}: {}",
            ask(question).text
        );
    }
    for question in
        ["what company has PCI vendor ID 10de?", "pci manufacturer 0x10DE", "Whose PCI vendor number is 10de"]
    {
        assert_eq!(ask(question).record, "PCI vendor 10de is NVIDIA Corporation", "{question}");
    }
    assert!(ask("what does pci class 0200 mean").text.contains("\"Ethernet controller\""));
    assert!(ask("class code 0x010802").text.contains("\"NVM Express\""));
}

#[test]
fn the_bus_left_open_names_both() {
    let answer = ask("what is 8086:10d3");
    assert!(answer.text.starts_with(NIC) && answer.text.contains("no USB device"), "{}", answer.text);
    assert_eq!(answer.source, Source::DeviceIds);
}

#[test]
fn unknown_numbers_are_said_so() {
    let answer = ask("pci device 8086:fffe");
    assert_eq!(answer.confidence, Confidence::NotFound);
    assert!(answer.text.contains("not in the PCI ID database; its vendor, 8086, is Intel Corporation"));
    assert!(ask("pci device 0006:0001").text.contains("neither is its vendor"));
    assert!(ask("usb vendor 0000").text.contains("not in the USB ID database"));
    assert!(ask("what is pci device 10d3").text.contains("give both"));
}

#[test]
fn a_board_is_named_too() {
    let text = ask("pci 8086:10d3 subsystem 1093:76e9").text;
    assert!(text.contains("82574L") && text.contains("PCIe-8233 Ethernet Adapter"), "{text}");
}

#[test]
fn how_to_phrasings() {
    for (question, expected) in [
        ("how do I see free memory", "free"),
        ("how to power off", "poweroff"),
        ("list pci devices", "lspci"),
        ("how can I restart the machine?", "reboot"),
        ("what command shows the kernel log", "dmesg"),
        ("show running threads", "ps"),
    ] {
        assert_eq!(command(&ask(question)), Some(expected), "{question}");
    }
    assert_eq!(ask("how do I restart?").text, "Run `reboot` to restart the machine.");
}

#[test]
fn how_to_phrasings_not_written_for() {
    let cases = [
        ("How much RAM is available?", "free"),
        ("I want to turn this computer off", "poweroff"),
        ("shut it down please", "poweroff"),
        ("how would one reboot", "reboot"),
        ("Which command prints boot messages?", "dmesg"),
        ("what processes are there? how can I see them", "ps"),
        ("how many processors do I have", "lscpu"),
        ("how long has the system been running?", "uptime"),
        ("what does dmesg do?", "dmesg"),
        ("explain lspci", "lspci"),
        ("display the hardware on the PCI bus", "lspci"),
        ("how do I get rid of the model: unload it?", "slm unload"),
        ("how do I load the language model", "slm load"),
        ("is there a way to wipe the screen", "clear"),
        ("how can I ask the AI a question", "slm query"),
        ("what commands are there? help me", "help"),
        ("which command tells me the kernel version", "version"),
        ("how do I check the status of the slm", "slm status"),
        ("tell me the cpu features", "lscpu"),
        ("how do i switch off my pc", "poweroff"),
        ("How can I check how much memory is used?", "free"),
        ("how many cpus does this box have", "lscpu"),
        ("what cpu do I have", "lscpu"),
        ("what's the kernel version", "version"),
        ("what's the model status", "slm status"),
        ("which commands exist? show me", "help"),
        ("how long have we been up", "uptime"),
        ("halt the system", "poweroff"),
        ("what is slm query for?", "slm query"),
        ("where do I see the boot log", "dmesg"),
    ];
    let wrong: alloc::vec::Vec<_> = cases
        .iter()
        .filter(|(question, expected)| command(&ask(question)) != Some(expected))
        .map(|(q, e)| (q, e, ask(q).record))
        .collect();
    assert!(wrong.is_empty(), "{} of {} wrong: {wrong:#?}", wrong.len(), cases.len());
}

#[test]
fn other_questions_are_not_answered() {
    for question in [
        "what is virtual memory?",
        "who was president in 1865?",
        "what is the capital of France",
        "tell me a joke",
        "how do I bake bread",
        "compare 1999 and 2000",
        "the dead face",
        "",
        "why is the sky blue?",
        "hello",
        "explain page faults",
        "can you help me with my homework",
        "what is memory?",
        "what is a thread?",
        "is 8086 a good cpu?",
        "write a poem about memory",
        "how do I fix my car",
        "what is the weather",
        "what is the difference between a process and a thread in Windows",
    ] {
        assert_eq!(find(question, COMMANDS), None, "{question}");
        let answer = ask(question);
        assert_eq!((answer.source, answer.confidence), (Source::Nothing, Confidence::None));
        assert!(answer.text.contains("8086:10d3") && answer.text.contains("free memory"));
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(question in any::<String>()) {
        prop_assert!(!ask(&question).text.is_empty());
    }

    #[test]
    fn any_mix_of_the_words_that_matter_gets_an_answer(question in "((pci|usb|vendor|device|class|id|is|0x8086|10d3|046d|:|/| |,|code|02|how to|free|off|turn|subsystem|é){0,3} ?){0,8}") {
        let answer = ask(&question);
        prop_assert!(answer.text.contains(&answer.record));
    }
}
