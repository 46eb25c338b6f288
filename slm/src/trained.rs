//! The trained model of a run, as numbers: `model/model.safetensors` with the shape that `model/config.toml` gives it.
//!
//! Names are Hugging Face's of the llama family, matrices are `[out, in]`, rotation pairs are halves of a head. What
//! is read is checked once, here: every tensor is there, has the shape's dimensions, and holds finite numbers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};
use xtask::model::fetch::hex;

use crate::run_folder::RunFolder;
use crate::shape::Shape;
use crate::tensor;

/// Numbers in rows; a vector is one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Outputs of the product; 1 for a norm's weights.
    pub rows: usize,
    /// Inputs of the product: the numbers of a row, which lie side by side.
    pub columns: usize,
    /// `rows * columns` numbers, row by row.
    pub values: Vec<f32>,
}

/// A model's weights and their shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The dimensions.
    pub shape: Shape,
    /// Every tensor by its Hugging Face name.
    pub tensors: BTreeMap<String, Matrix>,
    /// SHA-256 of the weights' file, in hexadecimal.
    pub sha256: String,
}

/// Matrices of block 0, 1, …: Hugging Face's name within the block, and GGUF's.
pub const BLOCK_MATRICES: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Norms of a block: Hugging Face's name within the block, and GGUF's.
pub const BLOCK_NORMS: [(&str, &str); 2] =
    [("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

/// The embedding, and the head too where the two are tied.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The norm behind the last block.
pub const LAST_NORM: &str = "model.norm.weight";
/// The head, where it is a matrix of its own.
pub const HEAD: &str = "lm_head.weight";

/// The Hugging Face name of a block's tensor.
pub fn in_block(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}.weight")
}

/// One tensor that a shape calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Hugging Face's name.
    pub name: String,
    /// GGUF's name.
    pub gguf: String,
    /// Rows, 1 for a norm.
    pub rows: usize,
    /// Numbers in a row.
    pub columns: usize,
}

/// Every tensor of a model of this shape, in the order of a GGUF file.
pub fn places(shape: &Shape) -> Vec<Place> {
    let [width, ffn, query, kv, vocabulary] =
        [shape.width, shape.ffn, shape.query_width(), shape.kv_width(), shape.vocabulary].map(|n| n as usize);
    let place = |name: String, gguf: String, rows, columns| Place { name, gguf, rows, columns };
    let mut all = vec![place(EMBEDDING.into(), "token_embd.weight".into(), vocabulary, width)];
    for layer in 0..shape.layers as usize {
        for (name, gguf) in BLOCK_NORMS {
            all.push(place(in_block(layer, name), format!("blk.{layer}.{gguf}.weight"), 1, width));
        }
        let sizes = [query, kv, kv, width, ffn, ffn, width].into_iter();
        let inputs = [width, width, width, query, width, width, ffn];
        for (((name, gguf), rows), columns) in BLOCK_MATRICES.into_iter().zip(sizes).zip(inputs) {
            all.push(place(in_block(layer, name), format!("blk.{layer}.{gguf}.weight"), rows, columns));
        }
    }
    all.push(place(LAST_NORM.into(), "output_norm.weight".into(), 1, width));
    if !shape.tied_embeddings {
        all.push(place(HEAD.into(), "output.weight".into(), vocabulary, width));
    }
    all
}

impl Trained {
    /// Reads the model of a run.
    pub fn read(run: &RunFolder) -> Result<Trained> {
        let config = run.config();
        let text = std::fs::read_to_string(&config).with_context(|| untrained(&config))?;
        let shape = Shape::from_toml(&text).with_context(|| config.display().to_string())?;
        let weights = run.weights();
        let bytes = std::fs::read(&weights).with_context(|| untrained(&weights))?;
        Trained::parse(shape, &bytes).with_context(|| weights.display().to_string())
    }

    /// Reads the weights of a model of this shape from the bytes of a safetensors file.
    pub fn parse(shape: Shape, bytes: &[u8]) -> Result<Trained> {
        let file = SafeTensors::deserialize(bytes).context("it is no whole safetensors file")?;
        let places = places(&shape);
        let mut tensors = BTreeMap::new();
        for Place { name, rows, columns, .. } in &places {
            let view = file.tensor(name).ok().with_context(|| {
                format!("tensor '{name}' is missing, which the shape '{}' calls for", shape.name)
            })?;
            ensure!(view.dtype() == Dtype::F32, "tensor '{name}' is {:?}; train writes F32", view.dtype());
            let expected: &[usize] =
                if name.ends_with("norm.weight") { &[*columns] } else { &[*rows, *columns] };
            ensure!(
                view.shape() == expected,
                "tensor '{name}' is {:?}, but the shape '{}' makes it {expected:?}",
                view.shape(),
                shape.name
            );
            let numbers = view.data().chunks_exact(4);
            let values: Vec<f32> =
                numbers.filter_map(|b| b.first_chunk()).map(|b| f32::from_le_bytes(*b)).collect();
            if let Err(error) = tensor::check_finite(name, &values) {
                bail!("{error:#}: the training has diverged, take an earlier checkpoint");
            }
            tensors.insert(name.clone(), Matrix { rows: *rows, columns: *columns, values });
        }
        if let Some(extra) = file.names().into_iter().find(|name| !tensors.contains_key(*name)) {
            bail!("tensor '{extra}' has no place in the shape '{}'", shape.name);
        }
        let sha256 = hex(&Sha256::digest(bytes));
        Ok(Trained { shape, tensors, sha256 })
    }

    /// A tensor by its Hugging Face name.
    pub fn tensor(&self, name: &str) -> Result<&Matrix> {
        self.tensors.get(name).with_context(|| format!("the model has no tensor '{name}'"))
    }
}

fn untrained(file: &Path) -> String {
    format!("cannot read {}: `auton train` writes it", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn shape() -> Shape {
        let text = "name='x'\nlayers=1\nwidth=32\nffn=64\nheads=2\nkv_heads=1\nvocabulary=5\ncontext=8";
        Shape::from_toml(text).unwrap()
    }

    /// A file with every tensor of the shape, after `change` has had its way with names, dimensions and numbers.
    fn file(change: impl Fn(&mut String, &mut Vec<usize>, &mut Vec<f32>)) -> Vec<u8> {
        let mut all = Vec::new();
        for Place { mut name, rows, columns, .. } in places(&shape()) {
            let mut dims = if rows == 1 { vec![columns] } else { vec![rows, columns] };
            let mut values = vec![0.5f32; rows * columns];
            change(&mut name, &mut dims, &mut values);
            all.push((name, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()));
        }
        let views = all.iter().map(|(n, d, b)| (n, TensorView::new(Dtype::F32, d.clone(), b).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn the_places_hold_the_parameters_that_the_shape_counts() {
        for text in [include_str!("../configs/tiny_10M.toml"), include_str!("../configs/small_50M.toml")] {
            let mut shape = Shape::from_toml(text).unwrap();
            for tied in [true, false] {
                shape.tied_embeddings = tied;
                let held: usize = places(&shape).iter().map(|p| p.rows * p.columns).sum();
                assert_eq!(held as u64, shape.parameters());
            }
        }
    }

    #[test]
    fn what_is_missing_misshapen_or_not_finite_is_named() {
        let whole = Trained::parse(shape(), &file(|_, _, _| {})).unwrap();
        assert_eq!(whole.tensors.len(), 12 - 1);
        assert_eq!(whole.sha256.len(), 64);
        let fault = |bytes: &[u8]| format!("{:#}", Trained::parse(shape(), bytes).unwrap_err());
        assert!(fault(b"").contains("no whole safetensors file"));
        let renamed = file(|name, _, _| *name = name.replace("k_proj", "key"));
        assert!(fault(&renamed).contains("self_attn.k_proj.weight' is missing"));
        let turned = file(|name, dims, _| {
            if name.contains("down") {
                dims.reverse()
            }
        });
        assert!(fault(&turned).contains("[64, 32]"), "{}", fault(&turned));
        let undefined = file(|name, _, values| {
            if name.contains("up_proj") {
                values[7] = f32::NAN
            }
        });
        assert!(fault(&undefined).contains("up_proj.weight' holds NaN at index 7"), "{}", fault(&undefined));
    }
}
