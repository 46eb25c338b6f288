//! What `bench kernel` found, and how it is printed.

use super::table::{Style, Table};
use crate::machine_report::median;
use serde_json::{Value, json};

/// Tokens per second of decoding that are wanted in an emulated machine of two CPUs.
pub const DECODE_TARGET: f64 = 8.0;

/// Everything that was measured.
pub struct Report {
    /// The machine outside.
    pub host: String,
    /// Its load average before the first boot and after the last.
    pub load_before: Option<f64>,
    /// As above.
    pub load_after: Option<f64>,
    /// QEMU and its accelerator.
    pub virtual_machine: String,
    /// The CPU that the guest sees.
    pub cpu_model: String,
    /// How many of them.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory: String,
    /// The model, at the last boot.
    pub model: Model,
    /// One after the other.
    pub boots: Vec<Boot>,
}

/// The loaded model, as `slm status` shows it.
pub struct Model {
    /// Its name.
    pub name: String,
    /// Type of most weights.
    pub quantisation: String,
    /// Positions of the cache.
    pub context: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The kernel variant in use, or the two.
    pub chosen: String,
    /// CPUs that share a product.
    pub threads: u64,
    /// What was timed.
    pub candidates: Vec<Candidate>,
    /// Bytes beside the file: weights, KV cache, activations, tokenizer.
    pub memory: [u64; 4],
}

/// A kernel variant, as the boot timed it.
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Microseconds of a million multiply-adds with one vector.
    pub decode_us: f64,
    /// The same with several vectors.
    pub prefill_us: f64,
}

/// One boot.
pub struct Boot {
    /// First instruction to first prompt, by the guest's clock, in seconds.
    pub first_prompt: f64,
    /// Start of QEMU to the prompt, in seconds.
    pub wall: f64,
    /// Tokens that reading was measured with.
    pub prompt_tokens: u64,
    /// Tokens per second of reading.
    pub prefill: f64,
    /// Tokens per second of writing.
    pub decode: f64,
    /// Time of a whole answer of at most 50 tokens, in seconds.
    pub answer: f64,
}

const PURPOSES: [&str; 4] = ["weights", "KV cache", "activations", "tokenizer"];

impl Report {
    fn middle(&self, pick: fn(&Boot) -> f64) -> f64 {
        median(&self.boots.iter().map(pick).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    }

    /// What a decoded token costs by what a token of a prompt costs.
    fn ratio(&self) -> f64 {
        self.middle(|boot| boot.prefill) / self.middle(|boot| boot.decode)
    }

    fn met(&self) -> bool {
        self.middle(|boot| boot.decode) >= DECODE_TARGET
    }

    /// The whole report.
    pub fn text(&self, style: Style) -> String {
        let load = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        let model = &self.model;
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        let lines = [
            (
                "host",
                format!(
                    "{}; load {} before, {} after",
                    self.host,
                    load(self.load_before),
                    load(self.load_after)
                ),
            ),
            (
                "machine",
                format!(
                    "{}, -cpu {}, {} CPUs, {}",
                    self.virtual_machine, self.cpu_model, self.cpus, self.memory
                ),
            ),
            ("model", format!("{}, {}, context {}", model.name, model.quantisation, model.context)),
            ("kernels", format!("{} chosen by timing; {} threads", model.chosen, model.threads)),
            ("boots", format!("{}, medians", self.boots.len())),
        ];
        let mut text: String = lines
            .iter()
            .map(|(name, value)| match style {
                Style::Text => format!("{name:<8} {value}\n"),
                Style::Markdown => format!("- {name}: {value}\n"),
            })
            .collect();
        let (prefill, decode) = (self.middle(|boot| boot.prefill), self.middle(|boot| boot.decode));
        let prompt = self.boots.last().map_or(0, |boot| boot.prompt_tokens);
        let mut figures = Table::new(&["figure", ">value", "unit", ""]);
        let mut row = |name: &str, value: String, unit: &str, note: &str| {
            figures.row([name, &value, unit, note].map(str::to_owned).to_vec());
        };
        row("first instruction to prompt", format!("{:.2}", self.middle(|boot| boot.first_prompt)), "s", "");
        row("start of QEMU to prompt, wall", format!("{:.2}", self.middle(|boot| boot.wall)), "s", "");
        row(&format!("prefill, {prompt} tokens"), format!("{prefill:.1}"), "tokens/s", "");
        let verdict = format!("target {DECODE_TARGET}: {}", if self.met() { "met" } else { "missed" });
        row("decode", format!("{decode:.1}"), "tokens/s", &verdict);
        row("a token of a prompt", format!("{:.1}", 1e3 / prefill), "ms", "");
        row(
            "a decoded token",
            format!("{:.1}", 1e3 / decode),
            "ms",
            &format!("{:.2} times as much", self.ratio()),
        );
        row("answer of at most 50 tokens", format!("{:.2}", self.middle(|boot| boot.answer)), "s", "");

        let mut timings = Table::new(&["kernel", ">us, decode", ">us, prefill"]);
        for candidate in &model.candidates {
            let [decode, prefill] = [candidate.decode_us, candidate.prefill_us].map(|us| format!("{us:.0}"));
            timings.row(vec![candidate.name.clone(), decode, prefill]);
        }
        let mut memory = Table::new(&["memory beside the file", ">MiB"]);
        for (purpose, bytes) in PURPOSES.iter().zip(model.memory) {
            memory.row(vec![(*purpose).to_owned(), mib(bytes)]);
        }
        memory.row(vec!["total".into(), mib(model.memory.iter().sum())]);
        memory.row(vec!["(the file)".into(), mib(model.file_bytes)]);
        for (title, table) in [
            ("Figures", figures),
            ("A million multiply-adds on one CPU, as the boot timed them", timings),
            ("Memory", memory),
        ] {
            let title = if style == Style::Text { title.to_owned() } else { format!("**{title}**\n") };
            text += &format!("\n{title}\n{}", table.print(style));
        }
        text
    }

    /// The document that `docs/schemas/bench-kernel.schema.json` describes.
    pub fn json(&self) -> Value {
        let model = &self.model;
        let [weights, kv_cache, activations, tokenizer] = model.memory;
        let variants = model.candidates.iter().map(|candidate| {
            json!({ "name": candidate.name, "decode_us": candidate.decode_us, "prefill_us": candidate.prefill_us })
        });
        let boots = self.boots.iter().map(|boot| {
            json!({
                "first_prompt_s": boot.first_prompt,
                "wall_s": boot.wall,
                "prompt_tokens": boot.prompt_tokens,
                "prefill": boot.prefill,
                "decode": boot.decode,
                "answer_s": boot.answer,
            })
        });
        json!({
            "schema": "auton.bench.kernel",
            "version": 1,
            "machine": {
                "host": self.host,
                "load_before": self.load_before,
                "load_after": self.load_after,
                "virtual_machine": self.virtual_machine,
                "cpu_model": self.cpu_model,
                "cpus": self.cpus,
                "memory": self.memory,
            },
            "model": {
                "name": model.name,
                "quantisation": model.quantisation,
                "context": model.context,
                "file_bytes": model.file_bytes,
                "memory": {
                    "weights": weights,
                    "kv_cache": kv_cache,
                    "activations": activations,
                    "tokenizer": tokenizer,
                    "total": model.memory.iter().sum::<u64>(),
                },
            },
            "kernels": { "chosen": model.chosen, "threads": model.threads, "variants": variants.collect::<Vec<_>>() },
            "boots": boots.collect::<Vec<_>>(),
            "first_prompt_s": self.middle(|boot| boot.first_prompt),
            "wall_s": self.middle(|boot| boot.wall),
            "prefill": self.middle(|boot| boot.prefill),
            "decode": self.middle(|boot| boot.decode),
            "decode_by_prefill_cost": self.ratio(),
            "decode_target": DECODE_TARGET,
            "met": self.met(),
            "answer_s": self.middle(|boot| boot.answer),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema_check::check;

    fn report() -> Report {
        let boot = |prefill, decode| Boot {
            first_prompt: 0.25,
            wall: 0.5,
            prompt_tokens: 120,
            prefill,
            decode,
            answer: 6.0,
        };
        let candidate =
            |name: &str, decode_us, prefill_us| Candidate { name: name.into(), decode_us, prefill_us };
        Report {
            host: "a CPU".into(),
            load_before: Some(0.5),
            load_after: None,
            virtual_machine: "QEMU with TCG (emulation)".into(),
            cpu_model: "max".into(),
            cpus: 2,
            memory: "1G".into(),
            model: Model {
                name: "SmolLM2".into(),
                quantisation: "Q4_1".into(),
                context: 2048,
                file_bytes: 98_362_432,
                chosen: "portable".into(),
                threads: 2,
                candidates: vec![candidate("portable", 916.0, 500.0), candidate("SSE2", 4676.0, 3000.0)],
                memory: [1 << 20; 4],
            },
            boots: vec![boot(15.0, 10.0), boot(30.0, 7.0), boot(20.0, 12.0)],
        }
    }

    #[test]
    fn the_document_keeps_to_its_schema() {
        let schema = include_str!("../../../docs/schemas/bench-kernel.schema.json");
        let document = report().json();
        check(&document, &serde_json::from_str(schema).unwrap()).unwrap();
        assert_eq!((&document["decode"], &document["met"]), (&json!(10.0), &json!(true)));
        assert_eq!(document["decode_by_prefill_cost"], 2.0);
    }

    #[test]
    fn the_text_shows_speed_timings_and_memory() {
        let text = report().text(Style::Text);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in [
            "decode 10.0 tokens/s target 8: met",
            "a decoded token 100.0 ms 2.00 times as much",
            "SSE2 4676 3000",
            "total 4.0",
        ] {
            assert!(text.lines().any(|found| words(found) == line), "no `{line}` in\n{text}");
        }
        assert!(report().text(Style::Markdown).contains("| SSE2     |       4676 |        3000 |"));
    }
}
