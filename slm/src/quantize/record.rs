//! The table of a quantisation, and its JSON.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::measure::Surprise;
use super::{Args, file_name};
use crate::export::Type;
use crate::shape::Shape;
use crate::table::{Table, mib};

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name in `gguf/`.
    pub file: String,
    /// Type of the blocks' matrices.
    #[serde(rename = "type")]
    pub kind: String,
    /// Type of the embedding.
    pub embedding: String,
    /// How the matrices were rounded.
    pub method: &'static str,
    /// Size of the file.
    pub bytes: usize,
    /// Bits of the whole file for each parameter.
    pub bits_per_parameter: f64,
    /// Perplexity on the valid split.
    pub perplexity: Option<f64>,
    /// Nats per token above F32, on the same tokens.
    pub above_f32: Option<f64>,
    /// The standard error of that.
    pub above_f32_error: Option<f64>,
}

impl Row {
    /// A file that is not measured yet.
    pub fn new(place: &Path, kind: Type, method: &'static str, bytes: usize, shape: &Shape) -> Row {
        Row {
            file: file_name(place),
            kind: kind.kind().to_string(),
            embedding: kind.embedding().to_string(),
            method,
            bytes,
            bits_per_parameter: bytes as f64 * 8.0 / shape.parameters() as f64,
            perplexity: None,
            above_f32: None,
            above_f32_error: None,
        }
    }

    /// With what was measured.
    pub fn measured(mut self, found: Option<&Surprise>, base: Option<&Surprise>) -> Row {
        self.perplexity = found.map(Surprise::perplexity);
        if let Some((mean, error)) = found.zip(base).map(|(found, base)| found.above(base)) {
            (self.above_f32, self.above_f32_error) = (Some(mean), Some(error));
        }
        self
    }
}

/// All files of one call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Tokens of the train split that gptq looked at.
    pub calibration_tokens: usize,
    /// Tokens of the valid split that were read; the second half of each context is predicted.
    pub perplexity_tokens: usize,
    /// Who measured.
    pub measured_by: &'static str,
    /// The files, F32 first.
    pub files: Vec<Row>,
    /// For each type made both ways: the share of plain rounding's loss that gptq takes away.
    pub gains: Vec<Gain>,
}

/// What gptq gains over plain rounding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gain {
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Nats per token that plain rounding loses.
    pub plain_loss: f64,
    /// Nats per token that gptq loses.
    pub gptq_loss: f64,
    /// `1 - gptq_loss / plain_loss`.
    pub recovered: f64,
}

impl Report {
    /// The report of these files.
    pub fn new(args: &Args, calibration_tokens: usize, files: Vec<Row>) -> Report {
        let loss = |kind: &str, method| {
            files.iter().find(|row| row.kind == kind && row.method == method).and_then(|row| row.above_f32)
        };
        let gptq = files.iter().filter(|row| row.method == "gptq");
        let gains = gptq.filter_map(|row| {
            let (plain_loss, gptq_loss) = (loss(&row.kind, "plain")?, row.above_f32?);
            Some(Gain {
                kind: row.kind.clone(),
                plain_loss,
                gptq_loss,
                recovered: 1.0 - gptq_loss / plain_loss,
            })
        });
        Report {
            calibration_tokens,
            perplexity_tokens: args.perplexity,
            measured_by: "the llm engine, keys and values in its integer format",
            gains: gains.collect(),
            files,
        }
    }

    /// For `gguf/quantize.json`.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For the terminal.
    pub fn table(&self) -> String {
        let heading =
            ["file", "method", ">size", ">bits/parameter", ">perplexity", ">nats above F32", ">+/-"];
        let mut table = Table::new(&heading);
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
        for row in &self.files {
            table.row([
                row.file.clone(),
                row.method.to_owned(),
                mib(row.bytes as u64),
                format!("{:.2}", row.bits_per_parameter),
                number(row.perplexity),
                number(row.above_f32),
                number(row.above_f32_error),
            ]);
        }
        let gains = self.gains.iter().map(|gain| {
            format!(
                "{}: gptq takes away {:.0} % of plain rounding's loss ({:.4} of {:.4} nats per token remain)\n",
                gain.kind,
                100.0 * gain.recovered,
                gain.gptq_loss,
                gain.plain_loss
            )
        });
        format!("{table}{}", gains.collect::<String>())
    }
}
