//! The options of every command that has the model answer: how long the answer may be, and how its tokens are chosen.

use super::{OptionSpec, value};
use crate::args::{Args, UsageError};
use crate::slm::{DEFAULT_SAMPLING, DEFAULT_TOKENS};
use llm::sampling::Sampling;

pub(super) const MAX_TOKENS: OptionSpec =
    value("max-tokens", "N", "Longest answer in tokens, 1 to 100000; 64 unless given.");
pub(super) const TEMP: OptionSpec =
    value("temp", "T", "Temperature, 0 to 10; 0, the default, always takes the likeliest token.");
pub(super) const SEED: OptionSpec =
    value("seed", "S", "Seed of the choice if T is above 0; the same seed gives the same answer.");
pub(super) const TOP_K: OptionSpec =
    value("top-k", "K", "Choose among the K likeliest tokens; 0: all; 40 unless given.");
pub(super) const TOP_P: OptionSpec =
    value("top-p", "P", "Choose among tokens that have probability P together; 0.95 unless given.");
pub(super) const PENALTY: OptionSpec =
    value("repeat-penalty", "R", "Make tokens used lately less likely, 1 (off) to 2; 1.1 unless given.");

/// Most tokens of the answer.
pub(super) fn max_tokens(args: &Args) -> Result<usize, UsageError> {
    let tokens = args.number("max-tokens", 1..=100_000, "a whole number from 1 to 100000")?;
    Ok(tokens.unwrap_or(DEFAULT_TOKENS))
}

/// How tokens are chosen.
pub(super) fn sampling(args: &Args) -> Result<Sampling, UsageError> {
    let default = DEFAULT_SAMPLING;
    let temperature = args.number("temp", 0.0..=10.0, "a number from 0 to 10")?;
    let seed = args.number("seed", .., "a whole number from 0 to 18446744073709551615")?;
    let top_k = args.number("top-k", 0..=1_000_000, "a whole number from 0 to 1000000")?;
    let top_p = args.number("top-p", 0.001..=1.0, "a number from 0.001 to 1")?;
    let penalty = args.number("repeat-penalty", 1.0..=2.0, "a number from 1 to 2")?;
    Ok(Sampling {
        temperature: temperature.unwrap_or(default.temperature),
        seed: seed.unwrap_or(default.seed),
        top_k: top_k.unwrap_or(default.top_k),
        top_p: top_p.unwrap_or(default.top_p),
        repeat_penalty: penalty.unwrap_or(default.repeat_penalty),
    })
}
