//! Thresholds that a model must reach before the workflow goes on.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::report::Model;

/// Thresholds from a TOML file; what is not in it is not asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Perplexity of the better 3-gram over the model's, of all held-out documents.
    pub perplexity_ratio: Option<f64>,
    /// Share of devices by heart whose vendor is right.
    pub vendor: Option<f64>,
    /// Share of devices by heart that are right.
    pub device: Option<f64>,
    /// Share of well-known devices that are right with the record in the prompt.
    pub record: Option<f64>,
    /// Share of new devices that are right with the record in the prompt.
    pub record_held_out: Option<f64>,
    /// Share of commands that are right, asked for by questions of the test split.
    pub commands: Option<f64>,
}

/// What a gate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The gate's name in the file.
    pub gate: String,
    /// The least that it lets through.
    pub least: f64,
    /// What was measured.
    pub measured: f64,
    /// Measured at least that much.
    pub passed: bool,
}

impl Gates {
    /// Those of the models that this project ships.
    pub fn default_gates() -> Result<Self> {
        Gates::from_toml(include_str!("../../configs/gates.toml")).context("slm/configs/gates.toml")
    }

    /// Reads `file`.
    pub fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Gates::from_toml(&text).with_context(|| file.display().to_string())
    }

    fn from_toml(text: &str) -> Result<Self> {
        let gates: Gates = toml::from_str(text)?;
        for (gate, least) in gates.each() {
            ensure!(least.is_none_or(|least| least.is_finite() && least >= 0.0), "{gate} must be 0 or more");
        }
        Ok(gates)
    }

    fn each(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("perplexity_ratio", self.perplexity_ratio),
            ("vendor", self.vendor),
            ("device", self.device),
            ("record", self.record),
            ("record_held_out", self.record_held_out),
            ("commands", self.commands),
        ]
    }

    /// Holds them against what was measured.
    pub fn judge(&self, model: &Model) -> Vec<Verdict> {
        let measured = |gate: &str| match gate {
            "perplexity_ratio" => model.perplexity.last().map_or(0.0, |all| all.ratio),
            "vendor" => model.devices.vendor.share,
            "device" => model.devices.device.share,
            "record" => model.devices.record.share,
            "record_held_out" => model.devices.record_held_out.share,
            _ => model.commands.held_out.share,
        };
        let asked = self.each().into_iter().filter_map(|(gate, least)| Some((gate, least?)));
        let verdict = |(gate, least)| {
            let measured = measured(gate);
            Verdict { gate: gate.to_owned(), least, measured, passed: measured >= least }
        };
        asked.map(verdict).collect()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdict { gate, least, measured, passed } = self;
        let verdict = if *passed { "passed" } else { "FAILED" };
        write!(f, "{verdict}  {gate}: {measured:.3}, at least {least:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::a_model;
    use super::*;

    #[test]
    fn gates_let_through_what_reaches_them() {
        let model = a_model();
        let gates = Gates::from_toml("perplexity_ratio = 3\nvendor = 0.9\nrecord = 1.0").unwrap();
        let verdicts = gates.judge(&model);
        let passed: Vec<(&str, bool)> = verdicts.iter().map(|v| (v.gate.as_str(), v.passed)).collect();
        assert_eq!(passed, [("perplexity_ratio", true), ("vendor", true), ("record", false)]);
        assert_eq!(verdicts[2].to_string(), "FAILED  record: 0.990, at least 1.000");
        assert!(Gates::default().judge(&model).is_empty());
    }

    #[test]
    fn files_of_gates_are_checked() {
        assert_eq!(Gates::default_gates().unwrap().perplexity_ratio, Some(3.0));
        for (text, wanted) in
            [("vendr = 0.9", "vendr"), ("vendor = -1.0", "vendor must be"), ("vendor = nan", "vendor")]
        {
            let error = format!("{:#}", Gates::from_toml(text).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
        assert!(format!("{:#}", Gates::read(Path::new("/no/such.toml")).unwrap_err()).contains("such.toml"));
    }
}
