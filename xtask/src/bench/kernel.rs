//! `cargo xtask bench kernel`: what the booted kernel does: time to the prompt, tokens per second with the kernel variant
//! that the boot chose by timing, the model's memory, and where the boot's time went.

use super::kernel_report::{Boot, Candidate, Model, Report};
use super::table::Style;
use crate::guest::Guest;
use crate::kernel_image::{self, Variant};
use crate::machine_report::{host, load_average, virtual_machine};
use crate::qemu::Machine;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(180);
const ANSWER: Duration = Duration::from_secs(600);
/// A short question with a long answer: decoding.
const QUESTION: &str = "slm query \"What is virtual memory?\" --backend neural --max-tokens 50 --json";
/// A long question with a short answer: what reading a prompt costs for each token.
const LONG_QUESTION: &str = "slm query \"A machine with two processors runs a kernel that gives every process its own \
    address space. One process writes a large file while another one waits for a key, and a third one computes the \
    digits of pi. The disk is slow, the memory is nearly full, and the cache of file pages has grown for an hour. \
    Now the first process asks for sixteen more pages. Say which pages the kernel should take back first, in which \
    order it should write the changed ones to the disk, and why the process that waits for a key must not be stopped \
    for long, although it has not used its own pages for a minute.\" --backend neural --max-tokens 2 --json";

/// How often, and how to print it.
#[derive(Args, Debug)]
pub struct Options {
    /// Boots; the median counts.
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Print the tables in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON, as `docs/schemas/bench-kernel.schema.json` describes it.
    #[arg(long)]
    json: bool,
}

/// Boots the kernel some times, asks the model, and prints medians.
pub fn bench(options: &Options) -> Result<()> {
    let kernel = kernel_image::build(&Variant::with_default_model())?;
    let machine = Machine::boot_kernel(&kernel);
    let load_before = load_average();
    let (mut boots, mut status, mut log) = (Vec::new(), Value::Null, String::new());
    for repetition in 1..=options.repetitions.max(1) {
        let mut guest = Guest::start_alone(&machine)?;
        guest.wait_for_prompt(BOOT)?;
        let wall = guest.age().as_secs_f64();
        log = guest.command("dmesg", BOOT)?;
        let answer = guest.json(QUESTION, ANSWER)?;
        let long = guest.json(LONG_QUESTION, ANSWER)?;
        status = guest.json("slm status --json", BOOT)?;
        let boot = boot(&log, wall, &answer, &long)?;
        eprintln!("boot {repetition}: prefill {:.1}, decode {:.1} tokens/s", boot.prefill, boot.decode);
        boots.push(boot);
        guest.type_line("poweroff")?;
        guest.wait_for_exit(Duration::from_secs(60))?;
    }
    let report = Report {
        host: host(),
        load_before,
        load_after: load_average(),
        virtual_machine: virtual_machine(),
        cpu_model: machine.cpu_model.clone(),
        cpus: machine.cpus,
        memory: machine.memory.clone(),
        model: model(&status)?,
        boots,
    };
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text(if options.markdown { Style::Markdown } else { Style::Text }));
        println!("\nthe last boot:\n{}", log.trim_end());
    }
    Ok(())
}

fn boot(log: &str, wall: f64, answer: &Value, long: &Value) -> Result<Boot> {
    let prompt_tokens =
        number(long, "prompt_tokens")? + number(long, "record_tokens")? - number(long, "reused_tokens")?;
    if prompt_tokens < 64.0 {
        bail!(
            "only {prompt_tokens} tokens of the long question were read; that says little about reading: {long}"
        );
    }
    Ok(Boot {
        first_prompt: first_prompt_ms(log).context("`dmesg` has no note of the first prompt")? / 1e3,
        wall,
        prompt_tokens: prompt_tokens as u64,
        prefill: prompt_tokens / (number(long, "prefill_ms")? / 1e3),
        decode: number(answer, "tokens_per_second")?,
        answer: (number(answer, "prefill_ms")? + number(answer, "decode_ms")?) / 1e3,
    })
}

fn model(status: &Value) -> Result<Model> {
    let (model, pool) = (&status["model"], &status["pool"]);
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let candidates = status["candidates"].as_array().context("`slm status` has no candidates")?;
    let candidates = candidates.iter().map(|candidate| {
        Ok(Candidate {
            name: text(&candidate["name"]),
            decode_us: number(candidate, "time_us")?,
            prefill_us: number(candidate, "prompt_us")?,
        })
    });
    let bytes = |name: &str| number(pool, name).map(|bytes| bytes as u64);
    Ok(Model {
        name: text(&model["name"]),
        quantisation: text(&model["quantisation"]),
        context: number(model, "context")? as u64,
        file_bytes: number(model, "file_bytes")? as u64,
        chosen: text(&status["variant"]),
        threads: number(status, "threads")? as u64,
        candidates: candidates.collect::<Result<_>>()?,
        memory: [bytes("weights")?, bytes("kv_cache")?, bytes("activations")?, bytes("tokenizer")?],
    })
}

fn number(object: &Value, key: &str) -> Result<f64> {
    object[key].as_f64().with_context(|| format!("there is no {key} in {object}"))
}

/// Milliseconds from the kernel's first instruction to its first prompt, as `dmesg` notes them.
pub fn first_prompt_ms(dmesg: &str) -> Option<f64> {
    let (_, note) = dmesg.split_once("Boot: first prompt ")?;
    note.split_once(" ms after the first instruction")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LOG: &str = "[    0.100000] info  AUTON kernel booting...\n\
                       [    1.250000] info  Boot: first prompt 1043.007 ms after the first instruction\n";

    #[test]
    fn the_first_prompts_time_is_in_the_log() {
        assert_eq!(first_prompt_ms(LOG), Some(1043.007));
        assert_eq!(first_prompt_ms("[    1.250000] info  Init: System ready\n"), None);
    }

    #[test]
    fn tokens_that_were_not_read_again_do_not_count_as_read() {
        let answer = json!({ "tokens_per_second": 8.0, "prefill_ms": 1000.0, "decode_ms": 5000.0 });
        let long = |reused: u64| json!({ "prompt_tokens": 150, "record_tokens": 0, "reused_tokens": reused, "prefill_ms": 10_000.0 });
        let boot = |long| boot(LOG, 2.0, &answer, &long);
        let found = boot(long(30)).unwrap();
        assert_eq!((found.prompt_tokens, found.prefill, found.decode, found.answer), (120, 12.0, 8.0, 6.0));
        assert!(boot(long(100)).is_err());
    }
}
