//! `auton.toml`: the endpoint that roles may ask, and what may be spent on it. An example is `slm/auton.example.toml`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::task::Role;

/// The file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whom to ask; nobody unless given.
    pub endpoint: Option<Endpoint>,
}

/// A server that speaks OpenAI's protocol of chat completions.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// What comes before `/chat/completions`, such as `http://127.0.0.1:8080/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable with the key; none is sent unless given.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Roles that ask.
    pub roles: Vec<Role>,
    /// Tokens that all runs of a folder may spend together, questions and answers.
    pub max_tokens: u64,
    /// Money that they may spend.
    #[serde(default = "no_bound")]
    pub max_cost: f64,
    /// Price of a million tokens of questions.
    #[serde(default)]
    pub price_per_million_prompt_tokens: f64,
    /// Price of a million tokens of answers.
    #[serde(default)]
    pub price_per_million_completion_tokens: f64,
    /// Seconds until an answer must be there.
    #[serde(default = "patience")]
    pub timeout_s: u64,
}

fn no_bound() -> f64 {
    f64::INFINITY
}

fn patience() -> u64 {
    60
}

impl Settings {
    /// Reads `path`; nobody is asked where it is not there.
    pub fn read(path: &Path) -> Result<Settings> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_toml(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Reads the file's text.
    pub fn from_toml(text: &str) -> Result<Settings> {
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let settings: Settings = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => anyhow::anyhow!("line {}: {}", line(span.start), error.message().trim()),
            None => anyhow::anyhow!("{}", error.message().trim()),
        })?;
        if let Some(endpoint) = &settings.endpoint {
            let url = &endpoint.url;
            ensure!(
                url.starts_with("http://") || url.starts_with("https://"),
                "endpoint.url {url:?} is no address; write http:// or https:// before it"
            );
            let prices = [
                endpoint.price_per_million_prompt_tokens,
                endpoint.price_per_million_completion_tokens,
                endpoint.max_cost,
            ];
            ensure!(
                prices.iter().all(|price| *price >= 0.0),
                "a price or bound of [endpoint] is less than nothing"
            );
            ensure!(
                (1..=3600).contains(&endpoint.timeout_s),
                "endpoint.timeout_s must lie between 1 and 3600"
            );
        }
        Ok(settings)
    }
}

impl Endpoint {
    /// What so many tokens cost.
    pub fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        (prompt_tokens as f64 * self.price_per_million_prompt_tokens
            + completion_tokens as f64 * self.price_per_million_completion_tokens)
            / 1e6
    }

    /// How long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_read() {
        let settings = Settings::from_toml(include_str!("../../auton.example.toml")).unwrap();
        let endpoint = settings.endpoint.unwrap();
        assert_eq!(endpoint.roles, [Role::Trainer, Role::Evaluator]);
        assert!((endpoint.cost(1_000_000, 500_000) - 0.45).abs() < 1e-9);
        assert_eq!(Settings::from_toml("").unwrap(), Settings::default());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let text = include_str!("../../auton.example.toml");
        let fault =
            |from: &str, to: &str| Settings::from_toml(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(fault("url = \"http://", "url = \"ftp://").contains("no address"));
        assert!(fault("max_cost = ", "max_cots = ").contains("max_cots"));
        assert!(fault("max_cost = ", "max_cost = -").contains("less than nothing"));
        assert!(fault("\"trainer\"", "\"trainre\"").contains("trainre"));
    }
}
