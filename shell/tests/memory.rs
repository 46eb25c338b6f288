//! `memctl` and `crashctl`, whole sessions.

mod common;

use common::{Machine, output, session};
use serde_json::Value;

fn json(command: &str) -> Value {
    serde_json::from_str(&output(command)).unwrap_or_else(|error| panic!("{command}: {error}"))
}

#[test]
fn memctl_for_people() {
    let status = output("memctl status");
    assert!(status.contains("DMA32  234.4 MiB  2.0 MiB"), "{status}");
    assert!(status.contains("spare stacks  64.0 KiB") && status.contains("moved 40 pages"), "{status}");
    let info = output("memctl buddyinfo");
    // Order 9 is there; order 10 is not, and that is fragmentation more than shortage.
    assert!(
        info.lines().any(|line| line.split_whitespace().eq(["9", "2", "MiB", "1", "0", "0", "0", "-"])),
        "{info}"
    );
    assert!(output("memctl compact").contains("7 pages moved, 1 could not be; 9 blocks looked at."));
    let lines =
        ["Pressure       ", "CPU caches     ", "Reclaimed      ", "Compacted      ", "Out of memory  "];
    assert!(lines.iter().all(|line| status.lines().any(|one| one.starts_with(line))), "{status}");
    assert!(output("memctl reclaim").contains("64.0 KiB freed."));
    assert!(output("memctl stress").contains("leak    Takes memory."));
    assert!(
        output("memctl stress leak").contains("leak: ended by time after 60.0 s; held 1.0 MiB at the most")
    );
}

#[test]
fn memctl_for_programs() {
    let status = json("memctl status --json");
    assert_eq!(status["zones"][0]["free"], 517);
    assert_eq!(status["stall"]["some"]["avg10"], 0);
    let info = json("memctl buddyinfo --json");
    assert_eq!(info["zones"][0]["movable"][0], 5);
    assert_eq!(info["zones"][0]["extfrag_index"][9], -1000);
    assert_eq!(info["zones"][0]["extfrag_index"].as_array().map(Vec::len), Some(mm::ORDERS));
    assert_eq!(json("memctl compact --json")["moved"], 7);
    assert_eq!(json("memctl reclaim --mib 1 --json")["freed"], 65_536);
    assert_eq!(json("memctl stress --json")["families"][0]["name"], "leak");
    let stress = json("memctl stress leak --seconds 5 --json");
    assert_eq!((&stress["end"], &stress["seconds"]), (&"time".into(), &5.0.into()));
    assert_eq!((&stress["failures"], &stress["start_ns"]), (&2.into(), &3_000_000_000u64.into()));
    let seed = u64::MAX;
    assert_eq!(json(&format!("memctl stress leak --seed {seed} --json"))["failures"], seed);
}

#[test]
fn memctl_says_what_was_wrong() {
    let machine = Machine::new();
    let said =
        session(&machine, "memctl stress flood\rmemctl reclaim --mib 0\rmemctl stress leak --seconds x\r");
    assert!(said.contains("there is no stress family `flood`; `memctl stress` lists them"), "{said}");
    assert!(said.contains("`--mib` is a number of MiB from 1 to 1048576, not `0`"), "{said}");
    assert!(said.contains("`--seconds` is a number of seconds from 1 to 86400, not `x`"), "{said}");
    for wrong in [
        "memctl",
        "memctl nonsense",
        "memctl status now",
        "memctl status --json=1",
        "memctl status --jason",
        "memctl buddyinfo -x",
        "memctl compact 3",
        "memctl reclaim --mib",
        "memctl reclaim --mib -1",
        "memctl reclaim --mib 1048577",
        "memctl reclaim --mib 99999999999999999999",
        "memctl reclaim 5",
        "memctl stress leak cache",
        "memctl stress leak --seconds 0",
        "memctl stress leak --seconds 1e9",
        "memctl stress ''",
        "memctl stress \u{1f4a5}",
    ] {
        let said = output(wrong);
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{wrong}: {said}");
    }
    for command in ["status", "buddyinfo", "compact", "reclaim", "stress"] {
        let said = output(&format!("help memctl {command}"));
        assert!(said.contains("--json") && said.contains("memctl ") && said.contains("xample"), "{said}");
    }
    for wrong in ["-1", "x", "18446744073709551616", "0x1", "''"] {
        let said = output(&format!("memctl stress leak --seed {wrong}"));
        assert!(said.contains("`--seed` is a whole number from 0 on, not `"), "{wrong}: {said}");
    }
}

#[cfg(feature = "ai-ops")]
mod crash {
    use super::*;

    #[test]
    fn crashctl_for_people() {
        let status = output("crashctl status");
        assert!(status.contains("Free memory    156.6 MiB of 234.4 MiB"), "{status}");
        assert!(status.contains("(alarm from 50 % on)") && status.contains("Last 10.0 s"), "{status}");
        assert!(output("crashctl stats").contains("Guard          off; 200 decisions"));
        assert!(
            output("crashctl history 3").starts_with("No alarm")
                || output("crashctl history 3").contains("OUTCOME")
        );
    }

    #[test]
    fn crashctl_for_programs() {
        let status = json("crashctl status --json");
        assert_eq!(status["free_pages"].as_array().map(Vec::len), Some(100));
        assert!(status["probability"].as_f64().is_some_and(|p| (0.0..=1.0).contains(&p)), "{status}");
        assert!(json("crashctl history --json")["records"].is_array());
        assert_eq!(json("crashctl stats --json")["guard"]["decisions"], 200);
        assert_eq!(json("crashctl tune 0.25 --json")["threshold"], 0.25);
        assert_eq!(json("crashctl auto dry-run --json")["auto"], "dry-run");
        assert_eq!(status["held_back"]["waiting"], 2);
        let stats = json("crashctl stats --json");
        assert_eq!((&stats["guard"]["holds"], &stats["guard"]["held_s"]), (&3.into(), &4.5.into()));
    }

    #[test]
    fn a_recording_for_people_and_for_programs() {
        assert!(output("crashctl record on").starts_with("Recording;"));
        assert_eq!(output("crashctl record off"), "3 samples recorded, 0 missed.\n");
        assert_eq!(json("crashctl record on --json")["recording"], true);
        let table = output("crashctl samples");
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[0].starts_with("t_ns,total_pages,free_pages,"), "{table}");
        assert_eq!(lines[2], "100000000,60000,49999,10,-1000,0,0,0,0,0,0,0,0");
        let recording = json("crashctl samples --json");
        assert_eq!(recording["ooms_ns"][0], 250_000_000);
        let columns: Vec<&str> = recording["columns"]
            .as_array()
            .map(|c| c.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        assert_eq!(columns.join(","), lines[0]);
        for (row, line) in recording["samples"].as_array().into_iter().flatten().zip(&lines[1..]) {
            let cells: Vec<String> =
                row.as_array().map(|row| row.iter().map(Value::to_string).collect()).unwrap_or_default();
            assert_eq!(&cells.join(","), line);
        }
        assert!(output("crashctl record maybe").contains("`crashctl record` takes on or off, not `maybe`"));
    }

    #[test]
    fn crashctl_says_what_was_wrong() {
        let machine = Machine::new();
        let said = session(
            &machine,
            "crashctl tune 2\rcrashctl tune high\rcrashctl auto maybe\rcrashctl history x\r",
        );
        assert!(said.contains("the threshold is a probability between 0.01 and 0.99; 2 is not"), "{said}");
        assert!(said.contains("the threshold is a probability such as 0.5, not `high`"), "{said}");
        assert!(said.contains("`crashctl auto` takes on, off or dry-run, not `maybe`"), "{said}");
        assert!(said.contains("how many alarms to show is a number, not `x`"), "{said}");
        assert_eq!(*machine.threshold.borrow(), 0.5, "nothing is half changed");
    }
}
