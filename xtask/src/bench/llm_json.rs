//! The report of `bench llm` as JSON, described by `docs/schemas/bench-llm.schema.json`.

use super::llm_report::Report;
use crate::machine_report::median;
use serde_json::{Value, json};

impl Report {
    /// The document. Rates are tokens per second; a figure that was not measured is `null`.
    pub fn json(&self) -> Value {
        let peer = self
            .peer
            .as_ref()
            .map(|(name, instructions)| json!({ "name": name, "instructions": instructions }));
        let bandwidth = self
            .bandwidth
            .iter()
            .map(|roof| json!({ "threads": roof.threads, "bytes_per_second": roof.bytes_per_second }));
        json!({
            "schema": "auton.bench.llm",
            "version": 1,
            "machine": {
                "cpu": self.host,
                "accelerator": null,
                "load_before": self.load_before,
                "load_after": self.load_after,
            },
            "peer": peer,
            "prefill_tokens": self.work.prefill,
            "decode_tokens": self.work.decode,
            "context": self.context,
            "repetitions": self.repetitions,
            "bandwidth": bandwidth.collect::<Vec<_>>(),
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "rows": (0..self.rows.len()).map(|at| self.row(at)).collect::<Vec<_>>(),
        })
    }

    fn row(&self, at: usize) -> Value {
        let row = &self.rows[at];
        let roofline = self.roofline(row);
        json!({
            "file": row.file,
            "phase": row.phase.to_string(),
            "threads": row.threads,
            "kernel": row.kernel,
            "rate": row.our_rate(),
            "rates": row.ours,
            "peer_rate": median(&row.peer),
            "peer_rates": row.peer,
            "ratio": row.ratio(),
            "target": row.target,
            "met": row.met(),
            "bytes_per_second": roofline.as_ref().map(|roof| roof.bytes_per_second),
            "bandwidth_share": roofline.as_ref().map(|roof| roof.share),
        })
    }
}

fn file(file: &super::llm_report::File) -> Value {
    let [weights, kv_cache, activations, tokenizer] = file.memory.map(|(_, bytes)| bytes);
    json!({
        "model": file.model,
        "quantisation": file.quantisation,
        "random_weights": file.random_weights,
        "weights": file.weights,
        "embedding": file.embedding,
        "parameters": file.parameters,
        "bytes": file.bytes,
        "memory": {
            "weights": weights,
            "kv_cache": kv_cache,
            "activations": activations,
            "tokenizer": tokenizer,
            "total": file.memory_total(),
            "target": file.memory_target,
        },
        "token_bytes": file.token_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::super::llm_report::{Bandwidth, File, Row};
    use super::super::phase::{Phase, Work};
    use super::super::table::Style;
    use super::*;
    use crate::schema_check::check;
    use llm::pool::Purpose;

    fn report(beside: bool) -> Report {
        let row = |phase, ours: &[f64], peer: &[f64]| Row {
            file: 0,
            phase,
            threads: 2,
            kernel: "AVX2".into(),
            ours: ours.to_vec(),
            peer: if beside { peer.to_vec() } else { Vec::new() },
            target: beside.then_some(1.5),
        };
        Report {
            host: "a CPU".into(),
            load_before: Some(0.1),
            load_after: None,
            peer: beside.then(|| ("llama.cpp".to_owned(), vec!["AVX2".to_owned()])),
            work: Work { prefill: 512, decode: 128 },
            context: 2048,
            repetitions: 3,
            bandwidth: vec![Bandwidth { threads: 2, bytes_per_second: 40e9 }],
            files: vec![File {
                model: "SmolLM2-135M".into(),
                quantisation: "Q4_1".into(),
                note: "a note",
                random_weights: false,
                weights: "Q4_1",
                embedding: "Q8_0",
                parameters: 134_515_008,
                bytes: 98_362_432,
                memory: Purpose::ALL.map(|purpose| (purpose, 1 << 20)),
                memory_target: Some(150 << 20),
                token_bytes: 100_000_000,
            }],
            rows: vec![
                row(Phase::Prefill, &[300.0, 100.0, 200.0], &[100.0, 100.0, 90.0]),
                row(Phase::Decode, &[100.0, 90.0, 110.0], &[80.0, 80.0, 80.0]),
            ],
        }
    }

    #[test]
    fn the_document_keeps_to_its_schema() {
        let schema = include_str!("../../../docs/schemas/bench-llm.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        for beside in [true, false] {
            check(&report(beside).json(), &schema).unwrap();
        }
        let document = report(true).json();
        let decode = &document["rows"][1];
        assert_eq!((&decode["ratio"], &decode["met"]), (&json!(1.25), &json!(false)));
        assert_eq!((&decode["bytes_per_second"], &decode["bandwidth_share"]), (&json!(1e10), &json!(0.25)));
        assert_eq!(
            (&document["rows"][0]["rate"], &document["rows"][0]["met"]),
            (&json!(200.0), &json!(true))
        );
        assert!(document["rows"][0]["bytes_per_second"].is_null(), "only decoding has a roofline");
    }

    #[test]
    fn the_text_shows_ratio_target_roofline_and_memory() {
        for (style, row) in [
            (Style::Text, "decode         2  AVX2    100.0       80.0   1.25     1.5  missed"),
            (Style::Markdown, "| decode  |       2 | AVX2   | 100.0 |      80.0 |  1.25 |    1.5 | missed |"),
        ] {
            let text = report(true).text(style);
            assert!(text.contains(row), "{text}");
            assert!(text.contains("accelerator none") && text.contains("25 %"), "{text}");
        }
        let alone = report(false).text(Style::Text);
        assert!(alone.contains("peer     none"), "{alone}");
        assert!(!alone.contains("the machine was busy"), "{alone}");
        let busy = Report { load_before: Some(3.0), ..report(true) }.text(Style::Text);
        assert!(busy.contains("load     3.00 before") && busy.contains("the machine was busy"), "{busy}");
    }
}
