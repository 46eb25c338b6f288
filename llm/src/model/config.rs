//! The shape of a model, read from GGUF metadata and checked.
//!
//! Keys are those of ggml's `docs/gguf.md` for the `llama` architecture. Every number is bounded before anything
//! is computed from it, so that products of them cannot overflow.

use super::error::LoadError;
use crate::error::Quoted;
use crate::gguf::{Gguf, Value};
use alloc::format;
use alloc::string::String;

/// Shape of a llama-family model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
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
    /// Leading dimensions of a head that are rotated, in interleaved pairs.
    pub rope_dims: usize,
    /// Base of the rotation frequencies.
    pub rope_base: f64,
    /// Positions are divided by this.
    pub rope_scale: f64,
    /// Added to the mean square in RMSNorm.
    pub epsilon: f32,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Context the model was trained for.
    pub context: usize,
}

/// Largest head that the attention's integer arithmetic is laid out for.
pub const MAX_HEAD_DIM: usize = 256;

impl Config {
    /// Reads and checks the metadata.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, LoadError> {
        let keys = Keys(gguf);
        keys.expect_text("general.architecture", &["llama"])?;
        let layers = keys.count("llama.block_count", 1..=1024, None)?;
        no_layer_beyond(layers, gguf)?;
        let width = keys.count("llama.embedding_length", 1..=65_536, None)?;
        let ffn = keys.count("llama.feed_forward_length", 1..=1 << 20, None)?;
        let context = keys.count("llama.context_length", 1..=1 << 24, None)?;
        let heads = keys.count("llama.attention.head_count", 1..=1024, None)?;
        let kv_heads = keys.count("llama.attention.head_count_kv", 1..=heads, Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.bad("llama.attention.head_count_kv", format!("a divisor of the {heads} heads")));
        }
        let key_length = "llama.attention.key_length";
        let head_dim = keys.count(key_length, 2..=MAX_HEAD_DIM, Some(width / heads))?;
        if !(2..=MAX_HEAD_DIM).contains(&head_dim) || !head_dim.is_multiple_of(2) {
            return Err(
                keys.bad(key_length, format!("even and 2 to {MAX_HEAD_DIM} (the heads are {head_dim} wide)"))
            );
        }
        if gguf.get(key_length).is_none() && !width.is_multiple_of(heads) {
            return Err(keys.bad("llama.embedding_length", format!("a multiple of the {heads} heads")));
        }
        keys.count("llama.attention.value_length", head_dim..=head_dim, Some(head_dim))?;
        let rope_dims = keys.count("llama.rope.dimension_count", 2..=head_dim, Some(head_dim))?;
        if !rope_dims.is_multiple_of(2) {
            return Err(keys.bad("llama.rope.dimension_count", "even".into()));
        }
        let rope_base = keys.number("llama.rope.freq_base", 1.0..=1e12, Some(10_000.0))?;
        let epsilon = epsilon(&keys)?;
        keys.count("llama.expert_count", 0..=0, Some(0))?;
        Ok(Self {
            layers,
            width,
            ffn,
            heads,
            kv_heads,
            head_dim,
            rope_dims,
            rope_base,
            rope_scale: rope_scale(&keys)?,
            epsilon,
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
}

/// Refuses tensors `blk.{n}.` with `n >= layers`: a count that is too small would leave out part of the model.
fn no_layer_beyond(layers: usize, gguf: &Gguf<'_>) -> Result<(), LoadError> {
    let beyond = |name: &str| {
        let number =
            name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map(|(number, _)| number);
        let number = number.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        // Digits that do not parse are a number too large to be a layer.
        number.is_some_and(|text| text.parse().map_or(true, |n: usize| n >= layers))
    };
    match gguf.tensors().find(|tensor| beyond(tensor.name)) {
        Some(tensor) => Err(LoadError::ExtraLayer { name: Quoted::new(tensor.name.as_bytes()), layers }),
        None => Ok(()),
    }
}

/// What RMSNorm adds: zero, or what the CPU may take for zero, would make the norm of a zero vector undefined.
fn epsilon(keys: &Keys<'_>) -> Result<f32, LoadError> {
    let key = "llama.attention.layer_norm_rms_epsilon";
    let found = keys.0.get(key).and_then(|value| value.as_f32());
    let usable = found.filter(|v| (f32::MIN_POSITIVE..=1.0).contains(v));
    usable.ok_or_else(|| keys.bad(key, "a number above 0 and at most 1".into()))
}

/// The linear scaling factor of positions.
fn rope_scale(keys: &Keys<'_>) -> Result<f64, LoadError> {
    let kind = "llama.rope.scaling.type";
    if keys.0.get(kind).is_some() {
        keys.expect_text(kind, &["none", "linear"])?;
        if keys.0.get(kind).and_then(|value| value.as_str()) == Some("none") {
            return Ok(1.0);
        }
    }
    let old = keys.number("llama.rope.scale_linear", 1e-3..=1e6, Some(1.0))?;
    keys.number("llama.rope.scaling.factor", 1e-3..=1e6, Some(old))
}

/// Rows of the embedding, which the metadata may repeat.
fn vocabulary(keys: &Keys<'_>) -> Result<usize, LoadError> {
    let rows = keys.0.tensor("token_embd.weight").map_or(0, |tensor| tensor.dims[1]);
    let rows = usize::try_from(rows).unwrap_or(usize::MAX).min(1 << 24);
    keys.count("llama.vocab_size", 1..=1 << 24, Some(rows.max(1)))?;
    let listed = keys.0.get("llama.vocab_size").and_then(|value| value.as_u64());
    match listed {
        Some(listed) if listed != rows as u64 && rows != 0 => {
            Err(keys.bad("llama.vocab_size", format!("{rows}, the rows of token_embd.weight")))
        }
        Some(listed) => Ok(listed as usize),
        None => Ok(rows),
    }
}

/// Checked look-ups.
struct Keys<'a>(&'a Gguf<'a>);

impl Keys<'_> {
    fn bad(&self, key: &'static str, expected: String) -> LoadError {
        match self.0.get(key) {
            None => LoadError::MissingKey { key, expected },
            Some(value) => LoadError::BadKey { key, expected, found: show(&value) },
        }
    }

    fn count(
        &self,
        key: &'static str,
        range: core::ops::RangeInclusive<usize>,
        default: Option<usize>,
    ) -> Result<usize, LoadError> {
        let found = match (self.0.get(key), default) {
            (None, Some(default)) => return Ok(default),
            (found, _) => found.and_then(|value| value.as_u64()).and_then(|v| usize::try_from(v).ok()),
        };
        found
            .filter(|v| range.contains(v))
            .ok_or_else(|| self.bad(key, format!("a whole number from {} to {}", range.start(), range.end())))
    }

    fn number(
        &self,
        key: &'static str,
        range: core::ops::RangeInclusive<f64>,
        default: Option<f64>,
    ) -> Result<f64, LoadError> {
        let found = match (self.0.get(key), default) {
            (None, Some(default)) => return Ok(default),
            (found, _) => found.and_then(|value| value.as_f32()).map(f64::from),
        };
        found
            .filter(|v| range.contains(v))
            .ok_or_else(|| self.bad(key, format!("a number from {} to {}", range.start(), range.end())))
    }

    fn expect_text(&self, key: &'static str, allowed: &[&str]) -> Result<(), LoadError> {
        match self.0.get(key).and_then(|value| value.as_str()) {
            Some(text) if allowed.contains(&text) => Ok(()),
            _ => Err(self.bad(key, format!("\"{}\"", allowed.join("\" or \"")))),
        }
    }
}

/// A value as a short text.
fn show(value: &Value<'_>) -> Quoted {
    match value.as_bytes() {
        Some(bytes) => Quoted::new(bytes),
        None if value.as_array().is_some() => Quoted::new(b"an array"),
        None => Quoted::new(format!("{value:?}").as_bytes()),
    }
}
