//! `schedctl` and `top`, whole sessions.

mod common;

use common::{Machine, output, session};
use serde_json::{Value, json};
use shell::{FairPolicy, LearnedMode};
use std::time::Duration;

fn parsed(command: &str) -> Value {
    serde_json::from_str(&output(command)).unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// What the value is made of: types in the place of values, arrays by their first element. What may be null says so by being null in the
/// test's machine somewhere, or by the test's own list.
fn schema(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), schema(value))).collect(),
        Value::Array(items) => items.iter().take(1).map(schema).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => json!("null"),
    }
}

#[cfg(feature = "reservations")]
#[test]
fn status_for_people() {
    let expected = "\
Policy  transformer (auto: decides when its guard finds that promising)

CPU  DECIDES      RUNNING  FAIR  RESERVED  SWITCHES  PREEMPTIONS  STEALS
  0  transformer  7 shell     2         1       100           40       5
  1  eevdf        idle        2         1       100           40       5

CPU  GUARD    COOLDOWN  FORETOLD        EEVDF  TRANSFORMER  SINCE [s]  WHY
  0  acting          -      84 %  1.08 / 1.20  0.75 / 0.90      2.500  order of sizes foretold 84 %
  1  shadow  4 windows      84 %  1.08 / 1.20            -      7.250  response times 1.31 of ideal sharing (tail 1.75)
EEVDF and TRANSFORMER: response times to those of ideal sharing, mean / tail; a window is 64 bursts.

CPU  RESERVED FOR      BUDGET    PERIOD      LEFT  DEADLINE [s]  THROTTLED  MISSES  JITTER p99
  0  12 slm-worker/1  2.00 ms  10.00 ms  500.0 us    100.010000          3       0     64.0 us
";
    assert_eq!(output("schedctl status"), expected);
}

#[test]
fn a_policy_is_set_and_shown() {
    let machine = Machine::new();
    let printed = session(&machine, "schedctl policy rr\r");
    assert!(printed.contains("Policy  rr\n") && !printed.contains("GUARD"), "{printed}");
    assert_eq!(machine.scheduler.borrow().policy, FairPolicy::RoundRobin);
    for policy in FairPolicy::ALL {
        assert_eq!(parsed(&format!("schedctl policy {policy} --json"))["policy"], policy.name());
    }
    let printed = session(&machine, "schedctl transformer shadow\r");
    assert!(printed.contains("Policy  transformer (shadow: predicts and does not act)\n"), "{printed}");
    assert_eq!(machine.scheduler.borrow().mode, LearnedMode::Shadow);
    for mode in LearnedMode::ALL {
        let status = parsed(&format!("schedctl transformer {} --json", mode.name()));
        assert_eq!((&status["mode"], &status["policy"]), (&mode.name().into(), &"transformer".into()));
    }
}

#[cfg(feature = "reservations")]
#[test]
fn the_forms_for_programs_have_their_keys() {
    let ratio = json!({"mean": "number", "tail": "number"});
    let change = json!({"time_s": "number", "to": "text", "reason": "text"});
    let server = json!({"task": "number", "budget_us": "number", "period_us": "number", "remaining_us": "number",
        "deadline_us": "number", "throttled": "number", "misses": "number", "jitter_p99_us": "number"});
    let queue = json!({"cpu": "number", "policy": "text", "guard": {"rule": "text", "broken": "bool",
        "cooldown_windows": "number", "foretold_percent": "number", "eevdf": ratio, "transformer": ratio, "last": change},
        "current": "number", "ready": "number", "ready_reserved": "number", "switches": "number", "preemptions": "number",
        "steals": "number", "servers": [server]});
    let status = parsed("schedctl status --json");
    assert_eq!(schema(&status), json!({"policy": "text", "mode": "text", "queues": [queue]}));
    assert_eq!(status["queues"][1]["current"], Value::Null);
    assert_eq!(status["queues"][1]["guard"]["transformer"], Value::Null);
    assert_eq!(status["queues"][0]["servers"][0]["deadline_us"], json!(100_010_000));
    assert_eq!(parsed("schedctl policy mlfq --json")["queues"][0]["guard"], Value::Null);

    let version = json!({"number": "number", "time_s": "number", "steps": "number", "loss": "number"});
    let policy = json!({"policy": "text", "wakeups": "number", "wakeup_p50_ns": "number", "wakeup_p99_ns": "number",
        "decisions": "number", "decision_p50_ns": "number", "decision_p99_ns": "number"});
    let learned = json!({"cpu": "number", "decisions": "number", "acted": "number", "compared": "number", "agreed": "number",
        "over_budget": "number", "refused": "number", "starved": "number", "returns": "number", "answers": "number",
        "told": "number", "told_p50_ns": "number", "told_p99_ns": "number", "told_over_budget": "number",
        "answer_p50_ns": "number", "answer_p99_ns": "number", "predicted": "number", "error": "number",
        "persistence_error": "number", "steps": "number", "loss": "number"});
    let server = json!({"cpu": "number", "task": "number", "misses": "number", "throttled": "number", "jitter_p99_us": "number"});
    let stats = parsed("schedctl stats --json");
    assert_eq!(
        schema(&stats),
        json!({"switches_by_second": ["number"], "policies": [policy], "transformer": [learned], "versions": [version],
            "servers": [server]})
    );
    // Three wake-ups at 5, 9 and 90 µs; times are rounded up to powers of two.
    assert_eq!(stats["policies"][0]["wakeup_p50_ns"], 16_384);
    assert_eq!(stats["policies"][0]["wakeup_p99_ns"], 131_072);
    assert_eq!(stats["transformer"][1]["error"], 0.7);

    let history = parsed("schedctl history --json");
    let change = json!({"cpu": "number", "time_s": "number", "to": "text", "reason": "text"});
    assert_eq!(schema(&history), json!({"switch_overs": [change]}));
    assert_eq!(history["switch_overs"][1]["to"], "shadow");

    let saved = parsed("schedctl save --json");
    assert_eq!(schema(&saved), json!({"version": "number", "versions": [version]}));
    assert_eq!((&saved["version"], saved["versions"].as_array().map(Vec::len)), (&3.into(), Some(3)));
}

#[cfg(feature = "reservations")]
#[test]
fn statistics_for_people() {
    let text = output("schedctl stats");
    let row = |cells: &str| {
        let wanted: Vec<&str> = cells.split_whitespace().collect();
        assert!(
            text.lines().any(|line| line.split_whitespace().eq(wanted.iter().copied())),
            "{cells}: {text}"
        );
    };
    assert!(text.starts_with("Switches  400 in the last second; of 4 s: mean 212, most 400"), "{text}");
    row("eevdf 3 16.4 us 131.1 us 2 1.0 us 1.0 us");
    row("0 1000 60 % 80 % 4.1 us 65.5 us 2 0 1 1");
    row("1 100 0.70 0.90 300 0.0200");
    row("2 20.0 200 0.0200");
    row("0 12 slm-worker/1 2.00 ms 10.00 ms 500.0 us 100.010000 3 0 64.0 us");
    assert_eq!(output("schedctl transformer stats"), text);
}

#[test]
fn switch_overs_have_their_reasons() {
    let expected = "\
TIME [s]  CPU  DECIDES                       WHY
   2.500    0  transformer                   order of sizes foretold 84 %
   7.250    1  eevdf, transformer in shadow  response times 1.31 of ideal sharing (tail 1.75)
";
    assert_eq!(output("schedctl history"), expected);
}

#[test]
fn weights_are_put_by_and_come_back() {
    let machine = Machine::new();
    let printed = session(&machine, "schedctl save\rschedctl load 1\rschedctl load\rschedctl load 9\r");
    assert!(printed.contains("The weights are version 3 now.\n"), "{printed}");
    assert!(printed.contains("Version 1 of the weights is used"), "{printed}");
    assert!(printed.contains("Version 3 of the weights is used"), "{printed}");
    assert!(printed.contains("error: there is no version 9 of the weights"), "{printed}");
    for expected in [3, 2, 1] {
        let printed = session(&machine, "schedctl transformer rollback\r");
        assert!(printed.contains(&format!("Back at version {expected} of the weights.\n")), "{printed}");
    }
    assert!(session(&machine, "schedctl rollback\r").contains("error: no version of the weights was put by"));
    assert!(session(&machine, "schedctl transformer load 2\r").contains("error: no version of the weights"));
    assert!(output("schedctl transformer load 2").contains("Version 2 of the weights is used"));
    assert!(
        output("schedctl load x")
            .starts_with("error: a version of the weights is a number such as 3, not `x`")
    );
}

#[test]
fn a_bench_prints_its_table() {
    let text = output("schedctl bench mixed --policies eevdf,rr,transformer --seconds 5 --seed 7");
    let (progress, text) = text.rsplit_once("\r\x1b[K").expect("progress is shown, and taken away");
    assert!(progress.contains("0/3  mixed under eevdf  0:00:00"), "{progress:?}");
    assert!(progress.contains("2/3  mixed under transformer  0:00:02"), "{progress:?}");
    let expected = "\
2 CPUs, load 60 %, seed 7, took 0:01:00

mixed: commands beside interactive threads
POLICY       MEAN [ms]  TO EEVDF  p99 [ms]  TO EEVDF  SLOWDOWN  SWITCHES   JAIN  BUSY  SPEED  DONE IN [ms]    TO RR
eevdf            10.00    +0.0 %    120.00    +0.0 %      3.25      1.50  0.800  75 %   0.96         200.0  +11.1 %
rr                9.00   -10.0 %    120.00    +0.0 %      3.25      1.50  0.800  75 %   0.96         180.0   +0.0 %
transformer       8.00   -20.0 %    120.00    +0.0 %      3.25      1.50  0.800  75 %   0.96         160.0  -11.1 %
Bursts: eevdf 500, rr 500, transformer 500; 3 runs of each. Switches are those for each burst; speed is that of the bursts'
loop: below 1 the host took the CPUs away. Done in: mean time from a job's release to its end.
transformer: made 50 % of the decisions itself.
";
    assert_eq!(text, expected);
}

#[test]
fn a_bench_for_programs() {
    let machine = Machine::new();
    let printed = session(&machine, "schedctl bench --seconds 3 --json\r");
    let request = machine.scheduler.borrow().requests.first().cloned().expect("it ran");
    assert_eq!((request.policies, request.seed, request.load), (FairPolicy::ALL.to_vec(), 1, 60));
    assert_eq!((request.duration, request.workloads), (Duration::from_secs(3), Vec::<String>::new()));
    let value: Value = serde_json::from_str(printed.lines().last().expect("a line")).expect("only JSON");
    let row = json!({"policy": "text", "runs": "number", "bursts": "number", "mean_ms": "number", "p99_ms": "number",
        "slowdown": "number", "switches_per_burst": "number", "jain": "number", "utilisation": "number", "speed": "number",
        "completion_ms": "number", "makespan_ms": "number", "acted": "null"});
    let table = json!({"workload": "text", "summary": "text", "policies": [row]});
    assert_eq!(
        schema(&value),
        json!({"cpus": "number", "load_percent": "number", "seed": "number", "seconds": "number", "elapsed_s": "number", "interrupted": "bool",
            "workloads": [table]})
    );
    assert_eq!(value["workloads"][0]["policies"][3]["acted"], 0.5);
}

#[test]
fn ctrl_c_ends_a_bench_with_what_there_is() {
    let printed = session(&Machine::new(), "schedctl bench mixed\r\x03");
    assert!(printed.contains("Ended early: rows hold what was complete by then."), "{printed}");
}

#[test]
fn what_was_wrong_is_said_in_a_line() {
    for (wrong, why) in [
        (
            "schedctl policy fifo",
            "`schedctl policy` does not take `fifo`; it takes eevdf, rr, mlfq, transformer",
        ),
        ("schedctl policy evdf", "did you mean `eevdf`?"),
        ("schedctl policy", "`schedctl policy` needs more"),
        ("schedctl transformer maybe", "it takes on, auto, shadow, off, stats, save, load, rollback"),
        ("schedctl transformer on 3", "`schedctl transformer on` does not take `3`"),
        ("schedctl transformer load x", "a version of the weights is a number such as 3, not `x`"),
        ("schedctl load 4294967296", "a version of the weights is a number"),
        (
            "schedctl bench --policies rr,fifo",
            "`--policies` takes some of eevdf,rr,mlfq,transformer, not `fifo`",
        ),
        ("schedctl bench --policies rr,rr", "`--policies` has rr twice; once is enough"),
        ("schedctl bench --policies ''", "`--policies` takes some of"),
        ("schedctl bench --seconds 0", "`--seconds` is a number of seconds from 1 to 3600, not `0`"),
        ("schedctl bench --load 100", "`--load` is a number of percent from 10 to 95, not `100`"),
        ("schedctl bench --seed -1", "`--seed` is a whole number from 0 on, not `-1`"),
        ("top --sort size", "`--sort` is one of cpu, run, wait, name, switches, not `size`"),
        ("top now", "`top` does not take `now`"),
    ] {
        let said = output(wrong);
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{wrong}: {said}");
        assert!(said.contains(why), "{wrong}: {said}");
    }
    let said = output("schedctl bench juggling");
    assert!(
        said.contains("error: there is no workload `juggling`; `help schedctl bench` lists them"),
        "{said}"
    );
    for command in ["policy", "transformer", "stats", "history", "save", "load", "rollback", "bench"] {
        let said = output(&format!("help schedctl {command}"));
        assert!(said.contains("--json") && said.contains("xample"), "{said}");
    }
}

#[test]
fn top_once() {
    let text = output("top --once");
    let expected = "\
up 0:01:41  4 threads, 2 running  by cpu  transformer auto, acting on 1 of 2 CPUs
cpu0   [███████████████████▉]  99.5 %    cpu1   [███████████████████▉]  99.3 %

ID  NAME          CPU  CLASS     NICE  WEIGHT  CPU %        RUN       WAIT      SLEEP  SWITCHES V/NV  WAKE p99
12  slm-worker/1  0!   reserved     0    1024    0.5  500.00 ms  100.00 ms  400.00 ms          20/12  128.0 us
 7  shell         1    fair         0    1024    0.2  250.00 ms  100.00 ms  650.00 ms           20/7  128.0 us
20  beta          0    fair         0    1024    0.0       0 ns  100.00 ms  900.00 ms          20/20         -
21  alpha         1    fair         0    1024    0.0       0 ns  100.00 ms  900.00 ms          20/21  128.0 us
";
    assert_eq!(text, expected);
    let names: Vec<String> = output("top --once --sort name")
        .lines()
        .skip(4)
        .filter_map(|line| line.split_whitespace().nth(1).map(String::from))
        .collect();
    assert_eq!(names, ["alpha", "beta", "shell", "slm-worker/1"]);
}

#[test]
fn top_for_programs() {
    let value = parsed("top --json");
    let task = json!({"id": "number", "name": "text", "state": "text", "cpu": "number", "pinned": "bool", "class": "text",
        "nice": "number", "weight": "number", "cpu_percent": "number", "run_s": "number", "wait_s": "number",
        "sleep_s": "number", "voluntary": "number", "involuntary": "number", "wakeup_p99_us": "number"});
    let cpu = json!({"id": "number", "busy_percent": "number"});
    assert_eq!(schema(&value), json!({"time_s": "number", "cpus": [cpu], "tasks": [task]}));
    assert_eq!(value["tasks"][2]["wakeup_p99_us"], Value::Null);
}

/// The pictures of a live session: what stands between two moves of the cursor to the corner.
fn pictures(keys: &str) -> Vec<String> {
    let printed = session(&Machine::new(), format!("top\r{keys}"));
    let (_, live) = printed.split_once("\x1b[?1049h\x1b[?25l").expect("the other screen");
    let (live, after) = live.split_once("\x1b[?25h\x1b[?1049l").expect("back to the first screen");
    assert_eq!(after, "", "nothing of it stays on the first screen");
    live.split("\x1b[H").skip(1).map(|picture| picture.replace("\x1b[K", "")).collect()
}

fn names(picture: &str) -> Vec<&str> {
    let rows = picture.lines().skip_while(|line| !line.starts_with("ID")).skip(1);
    rows.filter_map(|line| line.split_whitespace().nth(1)).collect()
}

#[test]
fn top_sorts_by_letters_and_arrows_and_quits() {
    let all = pictures("n\x1b[C\x1b[Dwq");
    let by: Vec<&str> = all
        .iter()
        .map(|p| {
            p.lines()
                .next()
                .unwrap_or("")
                .split("by ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .unwrap_or("")
        })
        .collect();
    assert_eq!(by, ["cpu", "name", "switches", "name", "wait"]);
    assert_eq!(names(&all[1]), ["alpha", "beta", "shell", "slm-worker/1"]);
    assert_eq!(names(&all[2]), ["alpha", "beta", "slm-worker/1", "shell"]);
    assert_eq!(pictures("\x03").len(), 1, "Ctrl-C ends it too");
    assert_eq!(pictures("xyz\x1b[5~q").len(), 1, "other keys draw nothing");
}

#[test]
fn top_scrolls_and_follows_the_terminals_size() {
    let all = pictures("\x1b[B\x1b[B\x1b[A\x1b[8;40Rq");
    assert_eq!(names(&all[1]).len(), 3);
    assert_eq!(names(&all[2]).len(), 2);
    assert_eq!(names(&all[3]).len(), 3);
    let small: Vec<&str> = all[4].split("\x1b[J").next().unwrap_or("").lines().collect();
    assert_eq!(small.len(), 8, "{small:?}");
    assert!(small.iter().all(|line| line.chars().count() <= 40), "{small:?}");
    assert!(
        small[1].starts_with("cpu0") && small[2].starts_with("cpu1"),
        "a narrow one has a CPU in each line"
    );
    // As far as there are threads, and no further; an answer that is no size changes nothing.
    assert_eq!(names(pictures(&("\x1b[B".repeat(9) + "q")).last().expect("a picture")).len(), 1);
    assert_eq!(pictures("\x1b[1;1R\x1b[24;80Rq").len(), 1);
}

/// A terminal on which time passes when nothing is typed.
#[test]
fn top_shows_the_last_second() {
    use shell::{Console, TypeAhead};
    use std::fmt;
    struct Terminal {
        typed: TypeAhead<64>,
        seconds: u32,
        printed: String,
    }
    impl fmt::Write for Terminal {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.printed.push_str(text);
            Ok(())
        }
    }
    impl Console for Terminal {
        fn read_byte(&mut self) -> u8 {
            self.typed.pop().unwrap_or(b'q')
        }
        fn read_byte_timeout(&mut self, _: Duration) -> Option<u8> {
            self.seconds += 1;
            (self.seconds > 3).then_some(b'q')
        }
        fn interrupted(&mut self) -> bool {
            false
        }
        fn clear_interrupt(&mut self) {}
    }
    let mut terminal = Terminal { typed: TypeAhead::new(), seconds: 0, printed: String::new() };
    let history = shell::reader::History::new(0);
    let words = ["top".to_string()];
    shell::commands::execute(&words, &Machine::new(), &mut terminal, &history).expect("it ends");
    let pictures: Vec<&str> = terminal.printed.split("\x1b[H").skip(1).collect();
    assert_eq!(pictures.len(), 4);
    // The worker ran for half of each second, and CPU 1 idled for three quarters of it.
    assert!(pictures[1].contains("cpu1   [█████               ]  25.0 %"), "{}", pictures[1]);
    let worker = |picture: &str| {
        let line = picture.lines().find(|line| line.contains("slm-worker")).expect("its line").to_string();
        line.split_whitespace().nth(6).map(String::from)
    };
    assert_eq!((worker(pictures[0]).as_deref(), worker(pictures[3]).as_deref()), (Some("0.5"), Some("50.0")));
}
