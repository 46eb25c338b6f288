//! `cargo xtask bench kernel`: what the booted kernel does: time to the prompt, tokens per second, and where the
//! boot's time went.

use crate::guest::Guest;
use crate::kernel_image::{self, Variant};
use crate::machine_report::{host, median, virtual_machine};
use crate::qemu::Machine;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(180);
const ANSWER: Duration = Duration::from_secs(600);
const QUESTION: &str = "slm query \"What is virtual memory?\" --backend neural --max-tokens 50 --json";

/// One boot's figures.
struct Figures {
    /// First instruction to first prompt, by the guest's clock, in seconds.
    guest_boot: f64,
    /// Start of QEMU to the prompt.
    wall_boot: f64,
    prefill: f64,
    decode: f64,
    /// Time of the whole answer.
    answer: f64,
}

/// Boots `repetitions` times and prints medians.
pub fn bench(repetitions: usize) -> Result<()> {
    let kernel = kernel_image::build(&Variant::with_default_model())?;
    let machine = Machine::boot_kernel(&kernel);
    let (mut all, mut status, mut log) = (Vec::new(), Value::Null, String::new());
    for _ in 0..repetitions.max(1) {
        let mut guest = Guest::start_alone(&machine)?;
        guest.wait_for_prompt(BOOT)?;
        let wall_boot = guest.age().as_secs_f64();
        log = guest.command("dmesg", BOOT)?;
        let reply = guest.json(QUESTION, ANSWER)?;
        status = guest.json("slm status --json", BOOT)?;
        all.push(figures(&log, wall_boot, &reply)?);
        guest.type_line("poweroff")?;
        guest.wait_for_exit(Duration::from_secs(60))?;
    }

    let model = &status["model"];
    println!("host     {}", host());
    println!(
        "machine  {}, -cpu {}, {} CPUs, {}",
        virtual_machine(),
        machine.cpu_model,
        machine.cpus,
        machine.memory
    );
    println!("model    {}, {}", text(&model["name"]), text(&model["quantisation"]));
    println!(
        "kernels  {} chosen of {}; {} threads",
        text(&status["variant"]),
        candidates(&status),
        status["threads"]
    );
    println!("boots    {}, medians\n", all.len());
    let middle =
        |pick: fn(&Figures) -> f64| median(&all.iter().map(pick).collect::<Vec<_>>()).unwrap_or(f64::NAN);
    println!("{:<34} {:>8.2} s", "first instruction to prompt", middle(|f| f.guest_boot));
    println!("{:<34} {:>8.2} s", "start of QEMU to prompt, wall", middle(|f| f.wall_boot));
    println!("{:<34} {:>8.1} tokens/s", "prefill", middle(|f| f.prefill));
    println!("{:<34} {:>8.1} tokens/s", "decode", middle(|f| f.decode));
    println!("{:<34} {:>8.2} s", "answer of at most 50 tokens", middle(|f| f.answer));
    println!("\nthe last boot:\n{}", log.trim_end());
    Ok(())
}

fn figures(log: &str, wall_boot: f64, reply: &Value) -> Result<Figures> {
    let number = |key: &str| reply[key].as_f64().with_context(|| format!("the answer has no {key}: {reply}"));
    let (prefill_s, decode_s) = (number("prefill_ms")? / 1e3, number("decode_ms")? / 1e3);
    Ok(Figures {
        guest_boot: first_prompt_ms(log).context("`dmesg` has no note of the first prompt")? / 1e3,
        wall_boot,
        prefill: number("prompt_tokens")? / prefill_s,
        decode: number("tokens_per_second")?,
        answer: prefill_s + decode_s,
    })
}

/// Milliseconds from the kernel's first instruction to its first prompt, as `dmesg` notes them.
pub fn first_prompt_ms(dmesg: &str) -> Option<f64> {
    let (_, note) = dmesg.split_once("Boot: first prompt ")?;
    note.split_once(" ms after the first instruction")?.0.parse().ok()
}

fn candidates(status: &Value) -> String {
    let list = status["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let timed: Vec<String> =
        list.iter().map(|c| format!("{} ({} us)", text(&c["name"]), c["time_us"])).collect();
    timed.join(", ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_prompts_time_is_in_the_log() {
        let log = "[    0.100000] info  AUTON kernel booting...\n\
                   [    1.250000] info  Boot: first prompt 1043.007 ms after the first instruction\n";
        assert_eq!(first_prompt_ms(log), Some(1043.007));
        assert_eq!(first_prompt_ms("[    1.250000] info  Init: System ready\n"), None);
    }
}
