//! The architectures that this engine knows, one row each. The loader and the forward pass read the row; neither asks which
//! architecture it is.
//!
//! A row says what llama.cpp does for the architecture of that name (`src/models/*.cpp` there): where it ignores a
//! key of a file, such as phi3's or llama's sliding window, so does this engine.

/// Which dimensions of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `2i` and `2i + 1` ("norm").
    Interleaved,
    /// `i` and `i + dims / 2` ("NeoX").
    Halves,
}

/// What the gate of the feed-forward network goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// The tanh form of the Gaussian error linear unit.
    Gelu,
}

/// Tensors that divide the rotation frequencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeFactors {
    /// None.
    None,
    /// `rope_freqs.weight` where the file has it.
    Frequencies,
    /// `rope_factors_long.weight` for contexts longer than the original one, else `rope_factors_short.weight`, where
    /// the file has them.
    LongShort,
}

/// Layers that see only the latest positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Positions seen, the token's own among them, where the file says nothing.
    pub width: usize,
    /// Of so many layers in a row, all but the last have a window, where the file says nothing.
    pub period: usize,
}

/// Limits `c * tanh(x / c)`, where the file says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftCaps {
    /// Of attention scores.
    pub scores: f32,
    /// Of logits.
    pub logits: f32,
}

/// How a decoder differs from its relatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Architecture {
    /// The value of `general.architecture`, and the prefix of the metadata keys.
    pub name: &'static str,
    /// Pairs of rotated dimensions.
    pub pairing: Pairing,
    /// Divisors of the rotation frequencies.
    pub factors: RopeFactors,
    /// The metadata may set YaRN's ramp and magnitude (`rope.scaling.yarn_*`).
    pub yarn_keys: bool,
    /// Each so-manieth layer leaves queries and keys unrotated; 0: none does.
    pub unrotated: usize,
    /// Queries and keys are normed, head by head, before they are rotated (`attn_q_norm`, `attn_k_norm`).
    pub query_key_norm: bool,
    /// Queries may grow with their position (`attention.temperature_scale`).
    pub temperature: bool,
    /// There may be a bias behind the projection of attention's results (`attn_output.bias`).
    pub output_bias: bool,
    /// What attention and feed-forward network add to the stream is normed first (`post_attention_norm`, `post_ffw_norm`).
    pub post_norms: bool,
    /// Gate and up projection are one tensor, `ffn_up`, the gate's rows first.
    pub fused_gate: bool,
    /// Of the gate.
    pub activation: Activation,
    /// Embeddings are multiplied by the root of the width.
    pub scaled_embedding: bool,
    /// The head may be a tensor of its own (`output.weight`), else it is the embedding.
    pub separate_head: bool,
    /// There may be a bias behind the head (`output.bias`).
    pub head_bias: bool,
    /// Limits of scores and logits.
    pub soft_caps: Option<SoftCaps>,
    /// Layers with a window.
    pub window: Option<SlidingWindow>,
    /// A model of so many layers scales scores by the root of width / heads instead of that of the heads' width.
    pub scaled_by_width: Option<usize>,
}

/// What most have in common.
const LLAMA: Architecture = Architecture {
    name: "llama",
    pairing: Pairing::Interleaved,
    factors: RopeFactors::Frequencies,
    yarn_keys: false,
    unrotated: 0,
    query_key_norm: false,
    temperature: false,
    output_bias: true,
    post_norms: false,
    fused_gate: false,
    activation: Activation::Silu,
    scaled_embedding: false,
    separate_head: true,
    head_bias: false,
    soft_caps: None,
    window: None,
    scaled_by_width: None,
};

/// Every architecture. Mistral, SmolLM and SmolLM2 call themselves llama in GGUF.
pub static ARCHITECTURES: [Architecture; 7] = [
    LLAMA,
    Architecture { name: "mistral3", yarn_keys: true, temperature: true, ..LLAMA },
    Architecture { name: "smollm3", factors: RopeFactors::None, unrotated: 4, output_bias: false, ..LLAMA },
    Architecture {
        name: "qwen2",
        pairing: Pairing::Halves,
        factors: RopeFactors::None,
        output_bias: false,
        head_bias: true,
        ..LLAMA
    },
    Architecture {
        name: "qwen3",
        pairing: Pairing::Halves,
        factors: RopeFactors::None,
        output_bias: false,
        query_key_norm: true,
        ..LLAMA
    },
    Architecture {
        name: "phi3",
        pairing: Pairing::Halves,
        factors: RopeFactors::LongShort,
        output_bias: false,
        fused_gate: true,
        ..LLAMA
    },
    Architecture {
        name: "gemma2",
        pairing: Pairing::Halves,
        factors: RopeFactors::None,
        output_bias: false,
        post_norms: true,
        activation: Activation::Gelu,
        scaled_embedding: true,
        separate_head: false,
        soft_caps: Some(SoftCaps { scores: 50.0, logits: 30.0 }),
        window: Some(SlidingWindow { width: 4096, period: 2 }),
        scaled_by_width: Some(46),
        ..LLAMA
    },
];
