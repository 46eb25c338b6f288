//! Words of a question and of a help text, in one form: lower case, stemmed, synonyms made one.

use alloc::string::String;
use alloc::vec::Vec;

/// Words that say nothing about what is asked.
const STOP_WORDS: &[&str] = &[
    "a",
    "an",
    "the",
    "i",
    "me",
    "my",
    "you",
    "your",
    "we",
    "it",
    "its",
    "this",
    "that",
    "these",
    "there",
    "here",
    "is",
    "are",
    "was",
    "be",
    "been",
    "am",
    "do",
    "does",
    "did",
    "can",
    "could",
    "would",
    "should",
    "will",
    "may",
    "to",
    "of",
    "in",
    "on",
    "at",
    "by",
    "for",
    "from",
    "with",
    "and",
    "or",
    "as",
    "so",
    "what",
    "which",
    "how",
    "who",
    "when",
    "where",
    "why",
    "s",
    "m",
    "ll",
    "d",
    "please",
    "want",
    "need",
    "like",
    "command",
    "way",
    "type",
    "run",
    "use",
    "using",
    "make",
    "let",
    "go",
    "just",
    "now",
    "some",
    "any",
    "all",
    "have",
    "has",
    "had",
    "much",
    "many",
    "one",
    "help",
    "used",
    "usage",
    "exist",
    "thing",
    "box",
    "something",
    "machine",
    "system",
    "computer",
    "kernel",
    "shell",
    "current",
    "currently",
    "too",
    "out",
    "about",
];

/// Verbs of looking: they fit nearly every command and count little.
pub(super) const LOOK: &str = "show";

/// Words and pairs of words that mean the same here; the first is the form that is compared.
const SYNONYMS: &[&[&str]] = &[
    &[
        LOOK,
        "list",
        "display",
        "see",
        "view",
        "print",
        "get",
        "check",
        "look",
        "tell",
        "know",
        "read",
        "watch",
        "find",
        "give",
        "inspect",
        "enumerate",
    ],
    &["poweroff", "shutdown", "halt", "shut down", "power down", "turn off", "switch off", "power off"],
    &["reboot", "restart", "reset", "start again"],
    &["memory", "ram", "mem"],
    &["free", "left", "available", "unused"],
    &["cpu", "cpus", "processor", "core", "lscpu"],
    &["thread", "process", "task", "program", "ps"],
    &["log", "dmesg", "message", "journal", "syslog"],
    &["uptime", "long", "since", "up"],
    &["version", "release"],
    &["model", "slm", "llm", "ai", "neural"],
    &["device", "hardware", "card", "adapter", "peripheral"],
    &["pci", "pcie", "lspci", "bus"],
    &["query", "ask", "question"],
    &["unload", "evict", "discard"],
    &["scheduler", "schedule", "schedul", "sched", "queue"],
    &["metric", "counter", "statistic"],
    &["warning", "error"],
    &["clear", "wipe", "clean"],
];

/// Particles that finish a verb wherever they stand: "switch the machine off".
const PARTICLES: &[&str] = &["off", "down", "again"];

/// Lower-case runs of letters and digits.
pub(super) fn raw(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The words of `text` that say something, each once, in their compared form.
pub(super) fn content(text: &str) -> Vec<String> {
    let raw = raw(text);
    let words: Vec<String> = raw.iter().map(|word| stem(word)).collect();
    let mut found: Vec<String> = Vec::new();
    let mut used = alloc::vec![false; words.len()];
    for (at, word) in words.iter().enumerate() {
        // "switch … off": the verb takes the particle that follows it somewhere.
        let particle = words
            .iter()
            .enumerate()
            .skip(at + 1)
            .find(|(i, w)| PARTICLES.contains(&w.as_str()) && used.get(*i) == Some(&false));
        if let Some((i, second)) = particle
            && let Some(form) = synonym(&alloc::format!("{word} {second}"))
        {
            [at, i].into_iter().filter_map(|i| used.get_mut(i).map(|u| *u = true)).count();
            found.push(form.into());
        }
    }
    for ((word, raw), _) in words.iter().zip(&raw).zip(&used).filter(|(_, used)| !**used) {
        // Both forms: "does" is no stem, "command" is one.
        if ![word, raw].iter().any(|form| STOP_WORDS.contains(&form.as_str())) {
            found.push(synonym(word).map_or_else(|| word.clone(), String::from));
        }
    }
    // Each once, in the order of the text.
    let mut at = 0;
    while at < found.len() {
        let (before, rest) = found.split_at(at);
        if rest.first().is_some_and(|word| before.contains(word)) { drop(found.remove(at)) } else { at += 1 }
    }
    found
}

/// The compared form of a word or pair that has synonyms.
fn synonym(word: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|group| group.contains(&word)).and_then(|group| group.first().copied())
}

/// A word without its plural, `-ing` or `-ed`. Light: it only has to do the same to both sides.
pub(super) fn stem(word: &str) -> String {
    let mut stem = String::from(word);
    let long = |stem: &str, ending: &str| stem.len() >= ending.len() + 3 && stem.ends_with(ending);
    if long(word, "ies") {
        stem.truncate(word.len() - 3);
        stem.push('y');
    } else if ["sses", "shes", "ches", "xes"].iter().any(|ending| long(word, ending)) {
        stem.truncate(word.len() - 2);
    } else if long(word, "s") && !["ss", "us", "is"].iter().any(|ending| word.ends_with(ending)) {
        stem.truncate(word.len() - 1);
    }
    for ending in ["ing", "ed"] {
        if long(&stem, ending) {
            stem.truncate(stem.len() - ending.len());
            // running → run, but not processing → proces.
            let mut ends = stem.bytes().rev();
            let doubled =
                matches!((ends.next(), ends.next()), (Some(a), Some(b)) if a == b && !b"sl".contains(&a));
            if doubled {
                stem.pop();
            }
            break;
        }
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_to_one_form() {
        assert_eq!(content("How do I switch this machine off?"), ["poweroff"]);
        assert_eq!(content("listing PCI devices"), [LOOK, "pci", "device"]);
        assert_eq!(content("running processes"), content("run process"));
        assert_eq!(stem("memories"), "memory");
        assert_eq!(stem("status"), "status");
    }
}
