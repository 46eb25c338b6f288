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
    let stress = json("memctl stress leak --seconds 5 --json");
    assert_eq!((&stress["end"], &stress["seconds"]), (&"time".into(), &5.0.into()));
}

#[test]
fn memctl_says_what_was_wrong() {
    let machine = Machine::new();
    let said =
        session(&machine, "memctl stress flood\rmemctl reclaim --mib 0\rmemctl stress leak --seconds x\r");
    assert!(said.contains("there is no stress family `flood`; `memctl stress` lists them"), "{said}");
    assert!(said.contains("`--mib` is a number of MiB from 1 on, not `0`"), "{said}");
    assert!(said.contains("`--seconds` is a number of seconds up to 86400, not `x`"), "{said}");
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
