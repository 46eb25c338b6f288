//! The shell on the serial line, as a user at a terminal meets it.

mod common;

use common::{ANSWER, COMMAND, boot, power_off, with_model, without_model};

const CTRL_C: &[u8] = b"\x03";
const UP: &[u8] = b"\x1b[A";

#[test]
fn the_everyday_commands_work() {
    let (mut guest, _) = boot(&without_model());
    let help = guest.command("help", COMMAND).unwrap();
    for command in ["slm query", "ps", "free", "uptime", "lspci", "dmesg", "poweroff", "reboot"] {
        assert!(help.contains(command), "no {command} in\n{help}");
    }
    let lspci = guest.command("lspci", COMMAND).unwrap();
    assert!(lspci.contains("Intel Corporation 82574L Gigabit Network Connection"), "{lspci}");
    assert!(guest.command("dmesg", COMMAND).unwrap().contains("AUTON kernel booting..."));
    assert!(guest.command("ps", COMMAND).unwrap().contains("shell"));
    let memory = guest.json("free --json", COMMAND).unwrap()["memory"].clone();
    let total = memory["total"].as_u64().unwrap();
    assert!((900 << 20..=1024 << 20).contains(&total), "a machine of 1 GiB has {total} bytes");
    assert_eq!(memory["used"].as_u64().unwrap() + memory["free"].as_u64().unwrap(), total);
    assert!(guest.json("uptime --json", COMMAND).unwrap()["uptime_s"].as_f64().unwrap() > 0.0);
    assert!(guest.command("no-such-command", COMMAND).unwrap().contains("error: "));
    power_off(guest);
}

#[test]
fn lines_are_edited_completed_and_remembered() {
    let (mut guest, _) = boot(&without_model());
    assert_eq!(guest.command("echo first", COMMAND).unwrap(), "first\n");
    // Up, then a word more.
    guest.skip_unread();
    guest.send(UP).unwrap();
    guest.send(b" again\r").unwrap();
    guest.expect("\nfirst again", COMMAND).unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    // Backspace.
    guest.send(b"echo secp\x7fond\r").unwrap();
    guest.expect("\nsecond", COMMAND).unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    // Tab.
    guest.send(b"upti\t\r").unwrap();
    guest.expect("CPUs online", COMMAND).unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    power_off(guest);
}

#[test]
fn a_long_paste_loses_nothing() {
    let (mut guest, _) = boot(&without_model());
    let words: Vec<String> = (0..180).map(|i| format!("word{i:03}")).collect();
    let line = words.join(" ");
    assert_eq!(guest.command(&format!("echo {line}"), COMMAND).unwrap().trim_end(), line);
    // Several lines at once: each is run, in order.
    guest.skip_unread();
    guest.send(b"echo one\recho two\recho three\r").unwrap();
    for word in ["\none", "\ntwo", "\nthree"] {
        guest.expect(word, COMMAND).unwrap();
    }
    guest.wait_for_prompt(COMMAND).unwrap();
    power_off(guest);
}

#[test]
fn ctrl_c_stops_a_long_answer() {
    let (mut guest, _) = boot(&with_model());
    guest.skip_unread();
    guest.type_line("slm query \"What is virtual memory?\" --backend neural --max-tokens 2000").unwrap();
    // The answer streams: some of it is there long before its end.
    guest.expect("irtual memory?\" --backend neural --max-tokens 2000", COMMAND).unwrap();
    guest.expect("irtual memory", ANSWER).unwrap();
    guest.send(CTRL_C).unwrap();
    guest.expect("stopped by Ctrl-C", COMMAND).unwrap();
    guest.wait_for_prompt(COMMAND).unwrap();
    assert_eq!(guest.command("echo alive", COMMAND).unwrap(), "alive\n");
    power_off(guest);
}
