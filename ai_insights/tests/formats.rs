//! The registry's two documents, read by programs that are not ours: OpenMetrics by the official Python
//! parser (`pip install prometheus_client`), JSON by serde_json and by Python's `jsonschema`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use ai_insights::metrics::{Counter, Gauge, Histogram, Metric, Registry, Unit};

static QUERIES: Counter =
    Counter::new("auton_slm_queries", Unit::None, "Questions, \"quoted\" \\ and\nbroken.");
static FAIR: Counter =
    Counter::new("auton_sched_run_seconds", Unit::Seconds, "Time run.").labels(&[("policy", "fair")]);
static EDF: Counter =
    Counter::new("auton_sched_run_seconds", Unit::Seconds, "Time run.").labels(&[("policy", "edf")]);
static FREE: Gauge = Gauge::new("auton_memory_free_bytes", Unit::Bytes, "Free memory.");
static SKILL: Gauge = Gauge::new("auton_forecast_skill_ratio", Unit::Ratio, "Skill, none yet.");
static ANSWER: Histogram = Histogram::new("auton_slm_answer_seconds", Unit::Seconds, "Time of an answer.");
static EMPTY: Histogram = Histogram::new("auton_slm_prompt_tokens", Unit::None, "Never recorded.");
static METRICS: Registry = Registry::new(&[
    Metric::Counter(&QUERIES),
    Metric::Counter(&FAIR),
    Metric::Counter(&EDF),
    Metric::Gauge(&FREE),
    Metric::Gauge(&SKILL),
    Metric::Histogram(&ANSWER),
    Metric::Histogram(&EMPTY),
]);

const SCHEMA: &str = include_str!("../../docs/schemas/metrics.schema.json");

/// Sets every metric to values that both tests expect (tests of one process share the statics).
fn fill() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        QUERIES.add(7);
        FAIR.add(1_500_000_000);
        FREE.set(123_456_789.0);
        SKILL.set(f64::NAN);
        [1u64, 1_000, 1_000_000, 1_000_000_000, u64::MAX / 2].into_iter().for_each(|ns| ANSWER.record(ns));
    });
}

/// Runs Python with `input`; `None` where Python or the module is missing.
fn python(module: &str, script: &str, input: &str) -> Option<String> {
    let present =
        Command::new("python3").args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if !present.is_ok_and(|status| status.success()) {
        eprintln!("skipped: python3 has no {module}");
        return None;
    }
    let mut child = Command::new("python3")
        .args(["-W", "ignore", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the Python reader refused the document");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn openmetrics_is_read_by_the_official_parser() {
    fill();
    METRICS.validate().unwrap();
    let mut page = String::new();
    METRICS.openmetrics(&mut page).unwrap();
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        for f in parse(sys.stdin.read()):\n\
        \x20   print(f.name, f.type, f.unit, len(f.samples))\n\
        \x20   for s in f.samples:\n\
        \x20       if s.name.endswith(('_total', '_count', '_bytes')): print(s.name, sorted(s.labels.items()), float(s.value))\n";
    let Some(read) = python("prometheus_client", script, &page) else { return };
    for line in [
        "auton_slm_queries counter  1",
        "auton_slm_queries_total [] 7.0",
        "auton_sched_run_seconds counter seconds 2",
        "auton_sched_run_seconds_total [('policy', 'fair')] 1.5",
        "auton_memory_free_bytes [] 123456789.0",
        "auton_slm_answer_seconds_count [] 5.0",
        "auton_slm_prompt_tokens_count [] 0.0",
    ] {
        assert!(read.lines().any(|l| l == line), "missing {line:?} in\n{read}");
    }
}

#[test]
fn json_keeps_to_its_schema() {
    fill();
    let mut text = String::new();
    METRICS.json(12_345_678_901, &mut text).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(document["version"], schema["properties"]["version"]["const"]);
    assert_eq!(document["uptime_seconds"], 12.345678901);

    let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&document), keys(&schema["properties"]));
    let allowed = keys(&schema["$defs"]["metric"]["properties"]);
    let metrics = document["metrics"].as_array().unwrap();
    let used: BTreeSet<_> = metrics.iter().flat_map(&keys).collect();
    assert_eq!(used, allowed);
    let named = |name: &str| metrics.iter().find(|m| m["name"] == name).unwrap();
    assert_eq!(named("auton_slm_queries")["value"], 7);
    assert_eq!(named("auton_slm_queries")["help"], "Questions, \"quoted\" \\ and\nbroken.");
    assert!(named("auton_forecast_skill_ratio")["value"].is_null());
    assert_eq!(named("auton_slm_answer_seconds")["count"], 5);
    assert!(named("auton_slm_prompt_tokens")["p50"].is_null());

    let script = format!(
        "import sys, json, jsonschema\njsonschema.validate(json.load(sys.stdin), json.loads({SCHEMA:?}))"
    );
    python("jsonschema", &script, &text);
}
