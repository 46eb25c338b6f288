//! What decides a training run: the `[training]` table of a configuration, any of which the command line may change.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::precision::Precision;

/// The settings of a run; they are part of its checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Updates of the weights.
    pub steps: u64,
    /// Sequences of `context` tokens for each update.
    pub batch: usize,
    /// Sequences that go through the network together; gradients are accumulated over `batch`.
    pub micro_batch: usize,
    /// Threads, each with its own part of the batch. Sums are made in their order, so another number gives another
    /// (equally good) run.
    pub lanes: usize,
    /// Greatest learning rate.
    pub rate: f64,
    /// The last learning rate, as a share of the greatest.
    pub last_rate: f64,
    /// Updates until the greatest learning rate is reached.
    pub warm_up: u64,
    /// Weight decay.
    pub decay: f64,
    /// Greatest norm of a gradient.
    pub clip: f64,
    /// Precision of the factors of large products.
    pub precision: Precision,
    /// Seed of the first weights and of the order of the data.
    pub seed: u64,
    /// Updates between two looks at the validation split.
    pub validate_every: u64,
    /// Sequences of the validation split that are looked at.
    pub validation: usize,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            steps: 1000,
            batch: 16,
            micro_batch: 2,
            lanes: 2,
            rate: 4e-3,
            last_rate: 0.02,
            warm_up: 50,
            decay: 0.05,
            clip: 1.0,
            precision: Precision::F32,
            seed: 1,
            validate_every: 50,
            validation: 32,
            checkpoint_every: 50,
        }
    }
}

impl Settings {
    /// Refuses settings with which nothing could be trained.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("steps", self.steps),
            ("batch", self.batch as u64),
            ("micro_batch", self.micro_batch as u64),
            ("lanes", self.lanes as u64),
            ("validate_every", self.validate_every),
            ("validation", self.validation as u64),
            ("checkpoint_every", self.checkpoint_every),
        ];
        for (name, value) in counts {
            ensure!(
                (1..=1 << 24).contains(&value),
                "{name} is {value}, but must lie between 1 and {}",
                1 << 24
            );
        }
        let group = self.lanes * self.micro_batch;
        ensure!(
            self.batch.is_multiple_of(group),
            "a batch of {} sequences does not divide among {} lanes of {} sequences at a time",
            self.batch,
            self.lanes,
            self.micro_batch
        );
        let sizes = [("rate", self.rate, 1.0), ("clip", self.clip, 1e6)];
        for (name, value, most) in sizes {
            ensure!(value > 0.0 && value <= most, "{name} is {value}, but must lie above 0 and up to {most}");
        }
        for (name, value) in [("last_rate", self.last_rate), ("decay", self.decay)] {
            ensure!((0.0..=1.0).contains(&value), "{name} is {value}, but must lie between 0 and 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_followed_are_refused_by_name() {
        Settings::default().check().unwrap();
        let fault = |settings: Settings| settings.check().unwrap_err().to_string();
        assert!(fault(Settings { steps: 0, ..Settings::default() }).contains("steps"));
        assert!(
            fault(Settings { batch: 6, ..Settings::default() }).contains("does not divide among 2 lanes")
        );
        assert!(fault(Settings { rate: f64::NAN, ..Settings::default() }).contains("rate"));
        assert!(fault(Settings { decay: 2.0, ..Settings::default() }).contains("decay"));
    }
}
