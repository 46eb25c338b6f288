//! Memory on a machine of 256 MiB: `memctl` and `crashctl`, running out of memory, caches that give way, and commands
//! when there is no memory at all.

mod common;

use common::{ANSWER, COMMAND, boot, power_off, with_model, without_model};
use serde_json::Value;
use std::time::Duration;
use xtask::guest::Guest;
use xtask::qemu::Machine;

/// Bound for a workload that takes up to a minute by the guest's clock.
const WORKLOAD: Duration = Duration::from_secs(240);
const MIB_IN_FRAMES: u64 = 256;

fn small() -> Machine {
    Machine { memory: "256M".to_owned(), ..without_model() }
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("no number {key:?} in {object}"))
}

fn list<'a>(object: &'a Value, key: &str) -> &'a Vec<Value> {
    object[key].as_array().unwrap_or_else(|| panic!("no list {key:?} in {object}"))
}

/// Frames that are free, those that CPUs keep included.
fn free_frames(status: &Value) -> u64 {
    list(status, "zones").iter().map(|zone| number(zone, "free")).sum::<u64>()
        + number(status, "cached_frames")
}

fn status(guest: &mut Guest) -> Value {
    guest.json("memctl status --json", COMMAND).unwrap()
}

/// Frames in free blocks, by their numbers per order.
fn frames_in(free_blocks: &[Value]) -> u64 {
    free_blocks.iter().enumerate().map(|(order, count)| count.as_u64().unwrap() << order).sum()
}

#[test]
fn a_leak_is_ended_and_its_memory_comes_back() {
    let (mut guest, _) = boot(&small());

    let before = status(&mut guest);
    assert_eq!(before["pressure"], "none", "{before}");
    assert_eq!((number(&before, "ooms"), number(&before, "kills")), (0, 0), "{before}");
    for zone in list(&before, "zones").iter().filter(|zone| number(zone, "total") > 0) {
        let [min, low, high] = ["min", "low", "high"].map(|key| number(zone, key));
        assert!(0 < min && min < low && low < high && high < number(zone, "free"), "{zone}");
        assert!(number(zone, "free") <= number(zone, "total"), "{zone}");
    }
    let total: u64 = list(&before, "zones").iter().map(|zone| number(zone, "total")).sum();
    assert!((200 * MIB_IN_FRAMES..=256 * MIB_IN_FRAMES).contains(&total), "{total} frames of 256 MiB");

    let buddyinfo = guest.json("memctl buddyinfo --json", COMMAND).unwrap();
    let counted: u64 =
        list(&buddyinfo, "zones").iter().map(|zone| frames_in(list(zone, "free_blocks"))).sum();
    let free = free_frames(&before);
    assert!(counted.abs_diff(free) < 4 * MIB_IN_FRAMES, "{counted} frames in free blocks, {free} free");

    let compacted = guest.json("memctl compact --json", COMMAND).unwrap();
    assert!(number(&compacted, "scanned") > 0, "{compacted}");
    assert_eq!(
        number(&compacted, "moved") + number(&compacted, "pinned"),
        number(&compacted, "isolated"),
        "{compacted}"
    );
    let [old, new] = ["free_before", "free_after"].map(|key| frames_in(list(&compacted, key)));
    assert!(old.abs_diff(new) < MIB_IN_FRAMES, "compaction changed what is free: {compacted}");

    // The guard would hold the leak back.
    guest.command("crashctl auto off", COMMAND).unwrap();
    let leak = guest.json("memctl stress leak --seconds 60 --json", WORKLOAD).unwrap();
    assert_eq!((&leak["end"], number(&leak, "ooms")), (&"killed".into(), 1), "{leak}");
    let peak = number(&leak, "peak") / 4096;
    assert!(peak > free * 8 / 10 && peak < free, "held {peak} of {free} frames");

    let after = status(&mut guest);
    assert_eq!((number(&after, "ooms"), number(&after, "kills")), (1, 1), "{after}");
    let back = free_frames(&after);
    assert!(back + 4 * MIB_IN_FRAMES >= free, "{free} frames were free, {back} are: {after}");
    assert!(number(&after["stall"]["some"], "total_ns") > 0, "{after}");

    let stats = scores_are_consistent(&mut guest);
    assert_eq!(number(&stats, "true_positives") + number(&stats, "misses"), 1, "{stats}");
    the_predictor_obeys(&mut guest);

    assert!(guest.command("version", COMMAND).unwrap().contains("AUTON"));
    assert!(!guest.transcript().to_lowercase().contains("panic:"), "{}", guest.transcript());
    power_off(guest);
}

/// The alarms of `crashctl history` are those that `crashctl stats` counts, which it returns.
fn scores_are_consistent(guest: &mut Guest) -> Value {
    // An alarm may be resolved, or raised, between the two commands.
    for _ in 0..3 {
        let first = guest.json("crashctl stats --json", COMMAND).unwrap();
        let history = guest.json("crashctl history --json", COMMAND).unwrap();
        let stats = guest.json("crashctl stats --json", COMMAND).unwrap();
        let keys = ["true_positives", "false_positives", "misses", "averted", "pending"];
        if keys.map(|key| number(&first, key)) != keys.map(|key| number(&stats, key)) {
            continue;
        }
        let records = list(&history, "records");
        let outcomes = ["true positive", "false positive", "miss", "averted", "pending"];
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            let count = records.iter().filter(|record| record["outcome"] == outcome).count() as u64;
            assert_eq!(count, number(&stats, key), "{key}: {stats}\n{history}");
        }
        let (right, wrong) = (number(&stats, "true_positives"), number(&stats, "false_positives"));
        match stats["precision"].as_f64() {
            Some(precision) => {
                assert!((precision - right as f64 / (right + wrong) as f64).abs() < 1e-3, "{stats}")
            }
            None => assert_eq!(right + wrong, 0, "{stats}"),
        }
        let recall = stats["recall"].as_f64().unwrap_or_else(|| panic!("an OOM, and no recall: {stats}"));
        assert!((recall - right as f64 / (right + number(&stats, "misses")) as f64).abs() < 1e-3, "{stats}");
        let one = guest.json("crashctl history 1 --json", COMMAND).unwrap();
        assert_eq!(list(&one, "records").len(), 1, "{one}");
        // Every 100 ms: at least 5 a second even where the machine is busy.
        assert!(number(&stats, "samples") > 150, "{stats}");
        return stats;
    }
    panic!("the score changes all the time");
}

fn the_predictor_obeys(guest: &mut Guest) {
    let threshold = |state: &Value| state["threshold"].as_f64().unwrap_or_else(|| panic!("{state}"));
    let tuned = guest.json("crashctl tune 0.3 --json", COMMAND).unwrap();
    assert!((threshold(&tuned) - 0.3).abs() < 1e-6, "{tuned}");
    for (wrong, clue) in [
        ("tune 1.5", "between 0.01 and 0.99"),
        ("tune -1", "-1"),
        ("tune NaN", "between 0.01 and 0.99"),
        ("tune much", "not `much`"),
        ("tune", "crashctl tune"),
        ("auto maybe", "on, off or dry-run"),
        ("history few", "not `few`"),
    ] {
        let answer = guest.command(&format!("crashctl {wrong}"), COMMAND).unwrap();
        assert!(answer.contains(clue), "crashctl {wrong}: {answer}");
    }
    for mode in ["off", "dry-run", "on"] {
        let state = guest.json(&format!("crashctl auto {mode} --json"), COMMAND).unwrap();
        assert_eq!(state["auto"], mode, "{state}");
        assert!((threshold(&state) - 0.3).abs() < 1e-6, "a wrong value was taken: {state}");
        let probability = state["probability"].as_f64().unwrap_or_else(|| panic!("{state}"));
        assert!((0.0..=1.0).contains(&probability), "{state}");
        assert_eq!(list(&state, "free_pages").len(), 100, "{state}");
    }
}

#[test]
fn a_cache_gives_way_and_a_plateau_stands() {
    let (mut guest, _) = boot(&small());
    guest.command("crashctl auto off", COMMAND).unwrap();
    let free = free_frames(&status(&mut guest));

    let cache = guest.json("memctl stress cache --seconds 25 --json", WORKLOAD).unwrap();
    assert_eq!((&cache["end"], number(&cache, "ooms")), (&"time".into(), 0), "{cache}");
    let after = status(&mut guest);
    assert!(number(&after["reclaim"], "rounds") > 0 && number(&after["reclaim"], "freed") > 0, "{after}");
    assert_eq!((number(&after, "ooms"), number(&after, "kills")), (0, 0), "{after}");

    let plateau = guest.json("memctl stress plateau --seconds 20 --json", WORKLOAD).unwrap();
    assert_eq!((&plateau["end"], number(&plateau, "ooms")), (&"time".into(), 0), "{plateau}");
    let peak = number(&plateau, "peak") / 4096;
    assert!(peak > free * 8 / 10, "{plateau}");
    assert!(plateau["seconds"].as_f64().is_some_and(|seconds| seconds >= 20.0), "{plateau}");

    let back = free_frames(&status(&mut guest));
    assert!(back + 4 * MIB_IN_FRAMES >= free, "{free} frames were free, {back} are");
    assert!(guest.command("memctl stress nonsense", COMMAND).unwrap().contains("nonsense"));
    power_off(guest);
}

/// All memory is taken, by a thread that nobody may end: first what ordinary requests may have, then the kernel's own
/// frames too. Whatever is typed, the kernel does not panic, and the shell answers.
#[test]
fn with_all_memory_taken_the_shell_goes_on() {
    for append in ["panic=exit", "panic=exit exhaust=all"] {
        let (mut guest, _) = boot(&Machine { append: append.to_owned(), ..small() });
        let free = free_frames(&status(&mut guest));
        let taken = guest.command("selftest exhaust", COMMAND).unwrap();
        assert!(taken.contains("passed"), "{append}: {taken}");
        let commands = [
            "version",
            "memctl status",
            "ps",
            "memctl stress leak --seconds 3",
            "memctl stress forks --seconds 3",
            "slm query \"PCI device 8086:10d3 is\" --backend rules",
            "slm load",
            "selftest churn",
            "selftest region",
            "memctl compact",
            "memctl reclaim",
            "lspci",
            "dmesg",
            "help memctl stress",
        ];
        for command in commands {
            let output = guest.command(command, COMMAND).unwrap();
            let errors = output.lines().filter(|line| line.starts_with("error: ")).count();
            assert!(!output.trim().is_empty() && errors <= 1, "{append}: {command}:\n{output}");
            assert!(!output.contains("PANIC"), "{append}: {command}:\n{output}");
        }
        // Until the memory is given back.
        let mut now = status(&mut guest);
        for _ in 0..60 {
            if free_frames(&now) + 4 * MIB_IN_FRAMES >= free {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
            now = status(&mut guest);
        }
        assert!(free_frames(&now) + 4 * MIB_IN_FRAMES >= free, "{append}: {free} frames were free: {now}");
        // Below the min mark the shell's few needs may be met by what is left in the heap.
        assert!(number(&now, "ooms") > 0 || append.contains("all"), "{append}: {now}");
        let failures = guest.command("selftest failures", WORKLOAD).unwrap();
        assert!(failures.contains("passed"), "{append}: {failures}");
        assert!(!guest.transcript().contains("PANIC"), "{}", guest.transcript());
        power_off(guest);
    }
}

/// A command that the heap refuses memory to for good is given up with a sentence; the next one is not.
#[test]
fn a_command_without_memory_is_given_up() {
    let (mut guest, _) = boot(&Machine { append: "panic=exit exhaust=heap".to_owned(), ..small() });
    for _ in 0..3 {
        let output = guest.command("selftest exhaust", COMMAND).unwrap();
        assert!(output.contains("error: there is no memory for this command"), "{output}");
        assert!(!output.contains("passed") && !output.contains("FAILED"), "{output}");
        assert!(guest.command("version", COMMAND).unwrap().contains("AUTON"));
    }
    // A shutdown, a redraw, a thread: all as before.
    assert!(guest.command("selftest churn", WORKLOAD).unwrap().contains("passed"));
    assert!(!guest.transcript().contains("PANIC"), "{}", guest.transcript());
    power_off(guest);
}

/// Every heap allocation and every page allocation fails in turn; the log grows and gives way. None of it counts as a
/// shortage, and the heap is no larger afterwards.
#[test]
fn injected_failures_are_survived_and_are_no_shortage() {
    let (mut guest, _) = boot(&small());
    let before = status(&mut guest);
    for test in ["failures", "heap-failures", "log"] {
        let output = guest.command(&format!("selftest {test}"), WORKLOAD).unwrap();
        assert!(output.contains(&format!("selftest {test}: passed")), "{output}");
    }
    let after = status(&mut guest);
    assert_eq!((number(&after, "ooms"), number(&after, "kills")), (0, 0), "{after}");
    let (free, back) = (free_frames(&before), free_frames(&after));
    assert!(back + 4 * MIB_IN_FRAMES >= free, "{free} frames were free, {back} are: {after}");
    power_off(guest);
}

/// A question that begins like an earlier one is not read from its start, and the answer is the same; what is kept for
/// that gives way to reclaim.
#[test]
fn prompts_are_reused_and_give_way() {
    let (mut guest, _) = boot(&Machine { memory: "512M".to_owned(), ..with_model() });
    let ask = |guest: &mut Guest, question: &str| {
        let command = format!("slm query \"{question}\" --backend neural --max-tokens 8 --json");
        let reply = guest.json(&command, ANSWER).unwrap();
        let answer = reply["answer"].as_str().unwrap_or_default().to_owned();
        assert_eq!(number(&reply, "model_tokens"), 8, "{reply}");
        (answer, number(&reply, "prompt_tokens"), number(&reply, "reused_tokens"))
    };
    let (first, second) = ("What is virtual memory?", "What is a file system?");
    let (answer, tokens, reused) = ask(&mut guest, first);
    assert_eq!(reused, 0);
    let (other, _, reused) = ask(&mut guest, second);
    assert!(reused > 0 && other != answer);
    let (again, _, reused) = ask(&mut guest, first);
    assert!(reused >= tokens / 8 * 8, "{reused} of {tokens} tokens were reused");
    assert_eq!(again, answer);

    let kept = guest.json("slm status --json", COMMAND).unwrap()["prefix_cache"].clone();
    let held = number(&kept, "bytes");
    assert!(held > 0 && held <= number(&kept, "limit"), "{kept}");
    let before = free_frames(&status(&mut guest));
    let reclaimed = guest.json("memctl reclaim --json", COMMAND).unwrap();
    let cache = list(&reclaimed, "caches").iter().find(|cache| cache["name"] == "SLM prefix cache");
    let cache = cache.unwrap_or_else(|| panic!("no such cache: {reclaimed}"));
    assert_eq!((number(cache, "held"), number(cache, "freed")), (held, held), "{reclaimed}");
    let after = free_frames(&status(&mut guest));
    assert!(after + 64 >= before + held / 4096, "{before} frames were free, {after} are, {held} bytes given");
    let kept = guest.json("slm status --json", COMMAND).unwrap()["prefix_cache"].clone();
    assert_eq!((number(&kept, "tokens"), number(&kept, "bytes")), (0, 0), "{kept}");

    assert_eq!(ask(&mut guest, second).0, other);
    let (again, _, reused) = ask(&mut guest, first);
    assert!(again == answer && reused < tokens, "{reused} of {tokens} tokens were reused");
    power_off(guest);
}
