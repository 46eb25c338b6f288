//! The settings by which tokens are chosen, with or without a model to choose them.

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 (or less, or not a number) means always the most likely token.
    pub temperature: f32,
    /// Only this many most likely tokens are candidates; 0 means all.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities together reach this are candidates; 1 means all.
    pub top_p: f32,
    /// Start of the random sequence.
    pub seed: u64,
    /// How much less likely tokens get that were among the last [`PENALTY_WINDOW`]; 1 means not at all.
    pub repeat_penalty: f32,
}

/// Tokens that a repeat penalty looks back, prompt included.
pub const PENALTY_WINDOW: usize = 64;

impl Sampling {
    /// Always the most likely token.
    pub const fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0, repeat_penalty: 1.0 }
    }
}
