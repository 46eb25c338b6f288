//! The shape of a model, read from GGUF metadata and checked.
//!
//! Keys are those of ggml's `docs/gguf.md`, under the architecture's name. Every number is bounded before anything
//! is computed from it, so that products of them cannot overflow.

use super::architecture::Architecture;
use super::error::LoadError;
use super::keys::Keys;
use super::kv::Shape;
use super::rope::Rope;
use crate::error::Quoted;
use crate::gguf::Gguf;
use alloc::format;

/// Shape of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// What it does differently from others.
    pub architecture: &'static Architecture,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward network.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// How queries and keys are rotated.
    pub rope: Rope,
    /// Scores of attention are multiplied by this.
    pub score_scale: f32,
    /// Scores are limited to this by a tanh; 0: not at all.
    pub score_cap: f32,
    /// Logits are limited to this by a tanh; 0: not at all.
    pub logit_cap: f32,
    /// Queries grow by `scale * ln(floor(position / every) + 1)`; a scale of 0: not at all.
    pub temperature: Temperature,
    /// Positions seen by a layer with a sliding window; 0: there are none.
    pub window: usize,
    /// Of so many layers in a row, all but the last have a window; 0: all have.
    pub window_period: usize,
    /// Added to the mean square in RMSNorm.
    pub epsilon: f32,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Context the model was trained for.
    pub context: usize,
}

/// How queries grow with their position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// Of the logarithm.
    pub scale: f64,
    /// Positions between two steps.
    pub every: usize,
}

/// Largest head that the attention's integer arithmetic is laid out for.
pub const MAX_HEAD_DIM: usize = 256;

impl Config {
    /// Reads and checks the metadata.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, LoadError> {
        let keys = Keys::new(gguf)?;
        let layers = keys.count("block_count", 1..=1024, None)?;
        no_layer_beyond(layers, &keys)?;
        let width = keys.count("embedding_length", 1..=65_536, None)?;
        let ffn = keys.count("feed_forward_length", 1..=1 << 20, None)?;
        let context = keys.count("context_length", 1..=1 << 24, None)?;
        let heads = keys.count("attention.head_count", 1..=1024, None)?;
        let kv_heads = keys.count("attention.head_count_kv", 1..=heads, Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.bad("attention.head_count_kv", format!("a divisor of the {heads} heads")));
        }
        let head_dim = head_dim(&keys, width, heads)?;
        keys.count("expert_count", 0..=0, Some(0))?;
        if keys.get("attention.causal").is_some_and(|value| value.as_bool() != Some(true)) {
            return Err(keys.bad("attention.causal", "true".into()));
        }
        let rope = Rope::read(&keys, head_dim, context)?;
        let [score_cap, logit_cap] = soft_caps(&keys)?;
        let [window, window_period] = window(&keys)?;
        let architecture = keys.architecture;
        let by_width = architecture.scaled_by_width == Some(layers);
        Ok(Self {
            architecture,
            layers,
            width,
            ffn,
            heads,
            kv_heads,
            head_dim,
            rope,
            score_scale: 1.0 / libm::sqrtf(if by_width { width / heads } else { head_dim } as f32),
            score_cap,
            logit_cap,
            temperature: temperature(&keys, rope.original_context)?,
            window,
            window_period,
            epsilon: epsilon(&keys)?,
            vocabulary: vocabulary(&keys)?,
            context,
        })
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// What the cache of keys and values is made for.
    pub fn kv_shape(&self) -> Shape {
        Shape { layers: self.layers, kv_heads: self.kv_heads, head_dim: self.head_dim }
    }

    /// Whether layer `index` rotates queries and keys.
    pub fn rotates(&self, index: usize) -> bool {
        let unrotated = self.architecture.unrotated;
        unrotated == 0 || !(index + 1).is_multiple_of(unrotated)
    }

    /// The first position that a token at `position` sees in layer `index`.
    pub fn first_seen(&self, index: usize, position: usize) -> usize {
        let period = self.window_period;
        if self.window == 0 || (period != 0 && index % period == period - 1) {
            return 0;
        }
        (position + 1).saturating_sub(self.window)
    }

    /// What queries at `position` are multiplied by.
    pub fn query_scale(&self, position: usize) -> f32 {
        let Temperature { scale, every } = self.temperature;
        (libm::log((position / every.max(1)) as f64 + 1.0) * scale + 1.0) as f32
    }
}

/// Width of a head.
fn head_dim(keys: &Keys<'_>, width: usize, heads: usize) -> Result<usize, LoadError> {
    let key = "attention.key_length";
    let head_dim = keys.count(key, 2..=MAX_HEAD_DIM, Some(width / heads))?;
    if !(2..=MAX_HEAD_DIM).contains(&head_dim) || !head_dim.is_multiple_of(2) {
        let expected = format!("even and 2 to {MAX_HEAD_DIM} (the heads are {head_dim} wide)");
        return Err(keys.bad(key, expected));
    }
    if keys.get(key).is_none() && !width.is_multiple_of(heads) {
        return Err(keys.bad("embedding_length", format!("a multiple of the {heads} heads")));
    }
    keys.count("attention.value_length", head_dim..=head_dim, Some(head_dim))
}

/// The limits of scores and logits; 0 for none.
fn soft_caps(keys: &Keys<'_>) -> Result<[f32; 2], LoadError> {
    let Some(caps) = keys.architecture.soft_caps else { return Ok([0.0; 2]) };
    let cap = |key, default: f32| keys.number(key, 1e-3..=1e6, Some(f64::from(default)));
    Ok([
        cap("attn_logit_softcapping", caps.scores)? as f32,
        cap("final_logit_softcapping", caps.logits)? as f32,
    ])
}

/// Width and period of the sliding windows; a width of 0 for none.
fn window(keys: &Keys<'_>) -> Result<[usize; 2], LoadError> {
    let Some(default) = keys.architecture.window else { return Ok([0; 2]) };
    let base = "rope.freq_base_swa";
    if keys.get(base).is_some_and(|own| keys.get("rope.freq_base").is_none_or(|all| own != all)) {
        return Err(keys.bad(base, "the same as rope.freq_base".into()));
    }
    let width = keys.count("attention.sliding_window", 1..=1 << 24, Some(default.width))?;
    let period = keys.count("attention.sliding_window_pattern", 0..=1024, Some(default.period))?;
    Ok([width, period])
}

/// How queries grow with their position.
fn temperature(keys: &Keys<'_>, every: usize) -> Result<Temperature, LoadError> {
    let scale = if keys.architecture.temperature {
        keys.number("attention.temperature_scale", 0.0..=1e3, Some(0.0))?
    } else {
        0.0
    };
    Ok(Temperature { scale, every })
}

/// Refuses tensors `blk.{n}.` with `n >= layers`: a count that is too small would leave out part of the model.
fn no_layer_beyond(layers: usize, keys: &Keys<'_>) -> Result<(), LoadError> {
    let beyond = |name: &str| {
        let number =
            name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map(|(number, _)| number);
        let number = number.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        // Digits that do not parse are a number too large to be a layer.
        number.is_some_and(|text| text.parse().map_or(true, |n: usize| n >= layers))
    };
    match keys.gguf.tensors().find(|tensor| beyond(tensor.name)) {
        Some(tensor) => Err(LoadError::ExtraLayer {
            name: Quoted::new(tensor.name.as_bytes()),
            key: keys.full("block_count"),
            layers,
        }),
        None => Ok(()),
    }
}

/// What RMSNorm adds: zero, or what the CPU may take for zero, would make the norm of a zero vector undefined.
fn epsilon(keys: &Keys<'_>) -> Result<f32, LoadError> {
    let key = "attention.layer_norm_rms_epsilon";
    let found = keys.get(key).and_then(|value| value.as_f32());
    let usable = found.filter(|v| (f32::MIN_POSITIVE..=1.0).contains(v));
    usable.ok_or_else(|| keys.bad(key, "a number above 0 and at most 1".into()))
}

/// Rows of the embedding, which the metadata may repeat.
fn vocabulary(keys: &Keys<'_>) -> Result<usize, LoadError> {
    let rows = keys.gguf.tensor("token_embd.weight").map_or(0, |tensor| tensor.dims[1]);
    let rows = usize::try_from(rows).unwrap_or(usize::MAX).min(1 << 24);
    keys.count("vocab_size", 1..=1 << 24, Some(rows.max(1)))?;
    let listed = keys.get("vocab_size").and_then(|value| value.as_u64());
    match listed {
        Some(listed) if listed != rows as u64 && rows != 0 => {
            Err(keys.bad("vocab_size", format!("{rows}, the rows of token_embd.weight")))
        }
        Some(listed) => Ok(listed as usize),
        None => Ok(rows),
    }
}
