//! Leg (c): the booted kernel under `memctl stress <family>`, with the predictor watching and then acting.

use crate::guest::Guest;
use crate::kernel_image::{self, Variant};
use crate::qemu::Machine;
use anyhow::Result;
use serde_json::Value;
use std::time::Duration;

/// What `memctl stress` offers.
const FAMILIES: [&str; 6] = ["leak", "fork", "cache", "fragmentation", "sawtooth", "plateau"];
const SECONDS: u64 = 40;

/// Boots, runs each family once with `crashctl auto off` and once with `on`, and prints the kernel's own score.
pub fn eval() -> Result<()> {
    let kernel = kernel_image::build(&Variant::without_model())?;
    let mut guest = Guest::start_alone(&Machine::boot_kernel(&kernel))?;
    guest.wait_for_prompt(Duration::from_secs(120))?;
    let help = guest.command("help", Duration::from_secs(20))?;
    if !help.contains("memctl") || !help.contains("crashctl") {
        println!("skipped: no memctl in this kernel");
        return Ok(());
    }
    println!(
        "{:<16} {:>5} {:>6} {:>6} {:>8} {:>8} {:>10} {:>8}",
        "family", "auto", "ooms", "true", "false", "misses", "lead s", "averted"
    );
    for auto in ["off", "on"] {
        guest.command(&format!("crashctl auto {auto}"), Duration::from_secs(20))?;
        for family in FAMILIES {
            let before = guest.json("crashctl stats --json", Duration::from_secs(20))?;
            let stress = format!("memctl stress {family} --seconds {SECONDS} --json");
            let outcome = match guest.json(&stress, Duration::from_secs(SECONDS * 4 + 60)) {
                Ok(outcome) => outcome,
                Err(error) => {
                    println!("{family:<16} {auto:>5} {error:#}");
                    continue;
                }
            };
            // The horizon passes, so that every alarm is resolved.
            std::thread::sleep(Duration::from_secs(25));
            let after = guest.json("crashctl stats --json", Duration::from_secs(20))?;
            let grown = |key: &str| number(&after, key) - number(&before, key);
            println!(
                "{family:<16} {auto:>5} {:>6} {:>6} {:>8} {:>8} {:>10.1} {:>8}",
                number(&outcome, "ooms"),
                grown("true_positives"),
                grown("false_positives"),
                grown("misses"),
                number(&after, "mean_lead_s"),
                grown("averted")
            );
        }
    }
    guest.type_line("poweroff")?;
    guest.wait_for_exit(Duration::from_secs(30))?;
    Ok(())
}

fn number(object: &Value, key: &str) -> f64 {
    object.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}
