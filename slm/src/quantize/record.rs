//! The table of a quantisation, and its JSON, `gguf/quantize.json`.
//!
//! The JSON gathers the files of several calls, as long as they are of the same weights, measured on the same tokens.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::file_name;
use super::measure::Surprise;
use crate::export::Type;
use crate::shape::Shape;
use crate::table::{Table, mib};

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name in `gguf/`.
    pub file: String,
    /// Type of the blocks' matrices.
    #[serde(rename = "type")]
    pub kind: String,
    /// Type of the embedding.
    pub embedding: String,
    /// How the matrices were rounded: "plain" or "gptq".
    pub method: String,
    /// Tokens of the train split that gptq looked at; 0 where it did not.
    #[serde(default)]
    pub calibration_tokens: usize,
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
    pub fn new(place: &Path, kind: Type, method: &str, bytes: usize, shape: &Shape) -> Row {
        Row {
            file: file_name(place),
            kind: kind.kind().to_string(),
            embedding: kind.embedding().to_string(),
            method: method.to_owned(),
            calibration_tokens: 0,
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

/// All files of the same weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// SHA-256 of `model/model.safetensors`.
    pub weights_sha256: String,
    /// Tokens of the valid split that were read, in whole contexts; the second half of each is predicted.
    pub perplexity_tokens: usize,
    /// Who measured.
    pub measured_by: String,
    /// The files, F32 first.
    pub files: Vec<Row>,
    /// For each type made both ways: the share of plain rounding's loss that gptq takes away.
    pub gains: Vec<Gain>,
}

/// What gptq gains over plain rounding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The report of these files, and of those of `earlier` that they do not replace.
    pub fn new(
        sha256: &str,
        perplexity_tokens: usize,
        mut files: Vec<Row>,
        earlier: Option<Report>,
    ) -> Report {
        let fits = |earlier: &Report| {
            earlier.weights_sha256 == sha256 && earlier.perplexity_tokens == perplexity_tokens
        };
        for row in earlier.filter(fits).map_or(Vec::new(), |earlier| earlier.files) {
            if files.iter().all(|new| new.file != row.file) {
                files.push(row);
            }
        }
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
            weights_sha256: sha256.to_owned(),
            perplexity_tokens,
            measured_by: "the llm engine, keys and values in its integer format".to_owned(),
            gains: gains.collect(),
            files,
        }
    }

    /// What an earlier call left; none where that is missing or of another version of this program.
    pub fn read(file: &Path) -> Option<Report> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
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
                row.method.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: &str, method: &str, above: f64) -> Row {
        let shape = Shape::from_toml(include_str!("../../configs/tiny_10M.toml")).unwrap();
        let row = Row::new(Path::new(file), Type::Q4_0, method, 1000, &shape);
        Row { perplexity: Some(9.0), above_f32: Some(above), ..row }
    }

    #[test]
    fn calls_for_one_method_each_add_up_to_a_comparison() {
        let first = Report::new("ab", 512, vec![row("x.Q4_0.gguf", "plain", 0.04)], None);
        assert!(first.gains.is_empty());
        let again: Report = serde_json::from_str(&first.json().unwrap()).unwrap();
        assert_eq!(again, first);
        let gptq = || vec![row("x.Q4_0-gptq.gguf", "gptq", 0.01)];
        let both = Report::new("ab", 512, gptq(), Some(first.clone()));
        assert_eq!((both.files.len(), both.gains[0].recovered), (2, 0.75));
        assert!(both.table().contains("75 %"), "{}", both.table());
        // Of other weights, or measured otherwise: not comparable.
        assert_eq!(Report::new("cd", 512, gptq(), Some(first.clone())).files.len(), 1);
        assert_eq!(Report::new("ab", 1024, gptq(), Some(first)).files.len(), 1);
    }
}
