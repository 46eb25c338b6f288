//! The `--json` forms are JSON, and have the keys that their documentation names.

mod common;

use common::{Machine, output, session};
use serde_json::{Value, json};

fn parsed(line: &str) -> Value {
    let text = output(line);
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn ps() {
    let value = parsed("ps --json");
    let expected = json!({"id": 7, "name": "shell", "state": "running", "cpu": 1, "class": "fair", "weight": 1024,
        "run_time_s": 10.5, "switches": 70, "stack_bytes": 65536});
    assert_eq!(value["tasks"][1], expected);
}

#[test]
fn free() {
    let value = parsed("free --json");
    assert_eq!(
        value["memory"],
        json!({"total": 1000u64 << 20, "used": (1000u64 << 20) - 32768, "free": 32768})
    );
    assert_eq!(
        value["heap"],
        json!({"size": 4 << 20, "used": 1 << 20, "free": 3 << 20, "peak": 2 << 20, "live": 321})
    );
    assert_eq!(value["slm_pool"]["free"], json!(116 << 20));
    assert_eq!(
        keys(&value["slm_pool"]),
        ["activations", "free", "kv_cache", "size", "tokenizer", "used", "weights"]
    );
    assert_eq!(value["pages"]["free_blocks"], json!([2, 3, 0]));
}

#[test]
fn processors_and_time() {
    let value = parsed("lscpu --json");
    assert_eq!(value["cpus"][2]["online"], json!(false));
    assert_eq!(value["cpus"][0]["features"], json!(["sse2", "avx2"]));
    let value = parsed("uptime --json");
    let busy = json!([{"id": 0, "busy_percent": 50.0}, {"id": 1, "busy_percent": 50.0}]);
    assert_eq!(value, json!({"uptime_s": 100.0, "cpus_online": 2, "tasks": 3, "cpus": busy}));
}

#[test]
fn lspci() {
    let value = parsed("lspci --json");
    let card = &value["devices"][0];
    assert_eq!(card["address"], "00:02.0");
    assert_eq!((&card["vendor"], &card["class_code"]), (&json!("Intel Corporation"), &json!(0x020000)));
    assert_eq!(
        card["bars"][1],
        json!({"index": 2, "kind": "io", "address": 0xc040, "size": 32, "prefetchable": false})
    );
    assert_eq!(card["interrupt"], json!({"pin": 1, "line": 10}));
    assert_eq!(value["devices"][1]["vendor"], Value::Null);
}

#[test]
fn slm() {
    let value = parsed("slm query x --json");
    let expected = json!({"question": "x", "backend": "neural", "why": "the model is loaded",
        "answer": "Intel Corporation 82574L, a gigabit card.",
        "segments": [{"origin": "record", "text": "Intel Corporation 82574L"}, {"origin": "model", "text": ", a gigabit card."}],
        "prompt_tokens": 20, "record_tokens": 14, "reused_tokens": 8, "model_tokens": 2, "prefill_ms": 1500.0, "decode_ms": 750.0,
        "tokens_per_second": 2.667, "stop": "end"});
    assert_eq!(value, expected);

    let value = parsed("slm status --json");
    assert_eq!(value["model"]["parameters"], json!(134_515_008));
    assert_eq!((&value["state"], &value["reason"]), (&json!("loaded"), &Value::Null));
    assert_eq!(value["candidates"][1], json!({"name": "avx2", "time_us": 270.0, "prompt_us": 90.0}));
    let kept = json!({"tokens": 40, "bytes": 950_400, "limit": 16_777_216, "evicted": 1, "prompt_tokens": 120,
        "reused_tokens": 56, "live_tokens": 16, "kept_tokens": 40, "hit_percent": 46});
    assert_eq!(value["prefix_cache"], kept);
    let printed = session(&Machine::new(), "slm unload\rslm status --json\r");
    let value: Value = serde_json::from_str(printed.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&value["state"], &value["pool"]["used"]), (&json!("unloaded"), &json!(0)));
}

#[cfg(feature = "ai-ops")]
#[test]
fn metrics() {
    let value = parsed("autoctl export-metrics --format json");
    assert_eq!(value["uptime_seconds"], json!(100));
    assert_eq!(value["metrics"][0]["name"], json!("auton_memory_free_bytes"));
}
