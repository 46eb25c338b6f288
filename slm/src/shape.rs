//! The shape of a llama-family model: from a configuration file or from GGUF metadata, checked.

use anyhow::{Context, Result, bail, ensure};
use llm::gguf::Gguf;
use serde::{Deserialize, Serialize};

/// The dimensions that decide everything else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// What the model is called.
    pub name: String,
    /// Transformer blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Width of the feed-forward network.
    pub ffn: u64,
    /// Query heads.
    pub heads: u64,
    /// Key/value heads.
    pub kv_heads: u64,
    /// Width of a head; width / heads where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<u64>,
    /// Tokens of the vocabulary.
    pub vocabulary: u64,
    /// Longest context.
    pub context: u64,
    /// Whether the output matrix is the embedding.
    #[serde(default = "yes")]
    pub tied_embeddings: bool,
    /// Base of the rotation frequencies.
    #[serde(default = "rope_base")]
    pub rope_base: f64,
}

fn yes() -> bool {
    true
}

fn rope_base() -> f64 {
    10_000.0
}

/// Products of dimensions below this fit 64 bits with room to spare.
const LARGEST: u64 = 1 << 24;

impl Shape {
    /// Reads the shape of a configuration; how it is trained is looked at by
    /// [`Configuration`](crate::configuration::Configuration).
    pub fn from_toml(text: &str) -> Result<Shape> {
        Ok(crate::configuration::Configuration::from_toml(text)?.shape)
    }

    /// Reads the shape of a GGUF file from its metadata.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Shape> {
        let text = |key: &str| gguf.get(key).and_then(|v| v.as_str());
        let architecture = text("general.architecture").context("general.architecture is missing")?;
        ensure!(architecture == "llama", "architecture '{architecture}' is not known here, only 'llama'");
        let optional = |key: &str| gguf.get(&format!("llama.{key}")).and_then(|v| v.as_u64());
        let number =
            |key: &str| optional(key).with_context(|| format!("llama.{key} is missing or not a number"));
        let heads = number("attention.head_count")?;
        let rows = gguf.tensor("token_embd.weight").map(|t| t.dims[1]);
        let shape = Shape {
            name: text("general.name").unwrap_or("unnamed").into(),
            layers: number("block_count")?,
            width: number("embedding_length")?,
            ffn: number("feed_forward_length")?,
            heads,
            kv_heads: optional("attention.head_count_kv").unwrap_or(heads),
            head_dim: optional("attention.key_length"),
            vocabulary: rows.or_else(|| optional("vocab_size")).context("token_embd.weight is missing")?,
            context: number("context_length")?,
            tied_embeddings: gguf.tensor("output.weight").is_none(),
            rope_base: gguf.get("llama.rope.freq_base").and_then(|v| v.as_f32()).map_or(10_000.0, f64::from),
        };
        shape.check()?;
        Ok(shape)
    }

    /// Refuses dimensions that do not fit together, and says which and why.
    pub fn check(&self) -> Result<()> {
        let all = [
            ("layers", self.layers),
            ("width", self.width),
            ("ffn", self.ffn),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim.unwrap_or(1)),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ];
        for (name, value) in all {
            ensure!(
                (1..=LARGEST).contains(&value),
                "{name} is {value}, but must lie between 1 and {LARGEST}"
            );
        }
        let Shape { width, heads, kv_heads, ffn, .. } = *self;
        if self.head_dim.is_none() && !width.is_multiple_of(heads) {
            bail!("width {width} does not divide into {heads} heads ({} is left over)", width % heads);
        }
        if !heads.is_multiple_of(kv_heads) {
            bail!("{heads} query heads do not divide among {kv_heads} key/value heads");
        }
        let head_dim = self.head_dim();
        ensure!(
            head_dim.is_multiple_of(2),
            "a head is {head_dim} wide, but rotation needs pairs: make it even"
        );
        for (name, value) in [("width", width), ("ffn", ffn), ("all query heads", self.query_width())] {
            ensure!(
                value.is_multiple_of(32),
                "{name}: {value} is no multiple of 32, the block of the 4- and 8-bit quantisations"
            );
        }
        ensure!(
            self.rope_base.is_finite() && self.rope_base >= 1.0,
            "rope_base must be a number of at least 1"
        );
        Ok(())
    }

    /// Width of one head.
    pub fn head_dim(&self) -> u64 {
        self.head_dim.unwrap_or(self.width / self.heads)
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> u64 {
        self.heads * self.head_dim()
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> u64 {
        self.kv_heads * self.head_dim()
    }

    /// Whether every matrix row can be cut into the blocks of 256 that K-quants need.
    pub fn holds_k_quants(&self) -> bool {
        [self.width, self.ffn, self.query_width()].iter().all(|n| n.is_multiple_of(256))
    }

    /// Parameters of the embedding (and of an output matrix of its own).
    pub fn embedding_parameters(&self) -> u64 {
        let table = self.vocabulary * self.width;
        if self.tied_embeddings { table } else { 2 * table }
    }

    /// Parameters of the matrices of one block: q and o, k and v, gate, up and down.
    pub fn block_matrix_parameters(&self) -> u64 {
        2 * self.width * self.query_width() + 2 * self.width * self.kv_width() + 3 * self.width * self.ffn
    }

    /// Parameters of all norms: two in each block and one at the end.
    pub fn norm_parameters(&self) -> u64 {
        (2 * self.layers + 1) * self.width
    }

    /// All parameters.
    pub fn parameters(&self) -> u64 {
        self.embedding_parameters() + self.layers * self.block_matrix_parameters() + self.norm_parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smollm2() -> Shape {
        Shape::from_toml(include_str!("../configs/smollm2_135M.toml")).unwrap()
    }

    #[test]
    fn parameters_are_those_that_the_model_states() {
        // SmolLM2-135M has 134,515,008 parameters (the sum of its tensors' elements).
        assert_eq!(smollm2().parameters(), 134_515_008);
    }

    #[test]
    fn configurations_hold_what_their_names_say() {
        let configs = [
            (include_str!("../configs/tiny_10M.toml"), 10e6),
            (include_str!("../configs/small_50M.toml"), 50e6),
            (include_str!("../configs/medium_150M.toml"), 150e6),
        ];
        for (text, size) in configs {
            let shape = Shape::from_toml(text).unwrap();
            assert!((shape.parameters() as f64 / size - 1.0).abs() < 0.03, "{}", shape.parameters());
            assert!(shape.holds_k_quants());
        }
        assert!(!smollm2().holds_k_quants());
    }

    #[test]
    fn dimensions_that_do_not_fit_are_refused_by_name() {
        let fault = |change: fn(&mut Shape)| {
            let mut shape = smollm2();
            change(&mut shape);
            shape.check().unwrap_err().to_string()
        };
        assert!(fault(|s| s.heads = 7).contains("does not divide into 7 heads"));
        assert!(fault(|s| s.kv_heads = 4).contains("do not divide among 4"));
        assert!(fault(|s| s.head_dim = Some(63)).contains("make it even"));
        assert!(fault(|s| s.ffn = 1500).contains("no multiple of 32"));
        assert!(fault(|s| s.layers = 0).contains("layers is 0"));
        assert!(fault(|s| s.vocabulary = u64::MAX).contains("vocabulary"));
        assert!(Shape::from_toml("name = 'x'").unwrap_err().to_string().contains("layers"));
    }
}
