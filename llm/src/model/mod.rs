//! The transformer of the llama family (Touvron et al. 2023) and its relatives ([`architecture`]): tokens in, logits out.
//!
//! [`Llama::forward`] reads top to bottom like the paper's figure. Tokens are processed in batches of
//! [`BATCH`], so that a weight row is read once for all of them; a batch of one is a decoding step. The results
//! for a token do not depend on how tokens were batched, nor on the number of CPUs or their instructions.

pub mod architecture;
pub mod attention;
pub mod config;
pub mod error;
pub mod kv;
pub mod math;
pub mod matrix;
pub mod rope;
pub mod tensors;
pub mod weights;

use crate::gguf::Gguf;
use crate::parallel::{Parallel, for_items};
use crate::pool::{Pool, PoolFull, Purpose::Activations};
use crate::quant::activation::ActivationBuffers;
use attention::Scores;
use config::Config;
use error::LoadError;
use kv::{KvCache, KvFormat};
use math::{rms_norm, rms_scale, soft_cap};
use matrix::{Compute, Input};
use weights::{Layer, Weights};

/// Most tokens that are processed at once.
pub const BATCH: usize = 32;

/// Buffers of the forward pass, for [`BATCH`] tokens. Products come out as `[row][token]` and are turned
/// to `[token][row]` by whoever reads them.
struct Buffers<'p> {
    /// The residual stream, `[token][width]`.
    stream: &'p mut [f32],
    /// The normed stream, `[token][width]`.
    normed: &'p mut [f32],
    /// Integer form of a product's input.
    integers: ActivationBuffers<'p>,
    /// Queries, keys and values as they come, `[row][token]`.
    qkv: &'p mut [f32],
    /// Rotated queries, then the heads' results, `[token][head][head_dim]`.
    queries: &'p mut [f32],
    /// Results of attention, `[token][head][head_dim]`.
    attended: &'p mut [f32],
    /// Output of the two projections back to the stream, `[row][token]`.
    projected: &'p mut [f32],
    /// Gated hidden values, `[row][token]` and `[token][row]`.
    hidden: &'p mut [f32],
    hidden_by_token: &'p mut [f32],
    /// Rotation frequencies, and cosines and sines, `[token][pair]`.
    frequencies: &'p mut [f64],
    rotations: &'p mut [[f32; 2]],
    /// Logits of one position.
    logits: &'p mut [f32],
}

/// A loaded model with its cache.
pub struct Llama<'p> {
    /// The shape.
    pub config: Config,
    weights: Weights<'p>,
    cache: KvCache<'p>,
    buffers: Buffers<'p>,
}

impl<'p> Buffers<'p> {
    fn new(config: &Config, batch: usize, pool: &mut Pool<'p>) -> Result<Self, PoolFull> {
        let (width, ffn) = (config.width, config.ffn);
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let mut floats = |n: usize| pool.take::<f32>(Activations, n.saturating_mul(batch));
        Ok(Self {
            stream: floats(width)?,
            normed: floats(width)?,
            qkv: floats(query_width + 2 * kv_width)?,
            queries: floats(query_width)?,
            attended: floats(query_width)?,
            projected: floats(width)?,
            hidden: floats(ffn)?,
            hidden_by_token: floats(ffn)?,
            integers: ActivationBuffers::new(pool, batch, width.max(ffn).max(query_width))?,
            frequencies: pool.take(Activations, config.rope.dims / 2)?,
            rotations: pool.take(Activations, config.rope.dims / 2 * batch)?,
            logits: pool.take(Activations, config.vocabulary)?,
        })
    }
}

impl<'p> Llama<'p> {
    /// Loads weights and sets up buffers; a cache must be added before tokens can be processed. `context` is the
    /// context asked for, which some models' rotation depends on (not on what fits the pool, so that answers do not
    /// depend on the machine).
    pub fn load(
        gguf: &Gguf<'p>,
        config: Config,
        context: usize,
        pool: &mut Pool<'p>,
        parallel: &dyn Parallel,
    ) -> Result<Self, LoadError> {
        let weights = Weights::load(gguf, &config, context, pool, parallel)?;
        let buffers = Buffers::new(&config, BATCH, pool)?;
        config.rope.frequencies(weights.rope_factors, buffers.frequencies);
        let cache = KvCache::new(&config, 0, KvFormat::Integer, pool)?;
        Ok(Self { config, weights, cache, buffers })
    }

    /// Sets up the cache, usually with what the pool has left.
    pub fn add_cache(
        &mut self,
        context: usize,
        format: KvFormat,
        pool: &mut Pool<'p>,
    ) -> Result<(), PoolFull> {
        self.cache = KvCache::new(&self.config, context, format, pool)?;
        Ok(())
    }

    /// Positions that the cache holds.
    pub fn context(&self) -> usize {
        self.cache.context()
    }

    /// The tensors.
    pub fn weights(&self) -> &Weights<'p> {
        &self.weights
    }

    /// The cache of keys and values.
    pub fn cache(&mut self) -> &mut KvCache<'p> {
        &mut self.cache
    }

    /// Runs up to [`BATCH`] tokens that stand behind the `past` positions in the cache. `past + tokens.len()` must not
    /// exceed the context, tokens must lie in the vocabulary.
    ///
    /// `go_on` is asked before each layer. Where it says no, the tokens are given up and the answer is `false`: the
    /// cache then holds the `past` positions as before, and there are no logits.
    pub fn forward(
        &mut self,
        compute: Compute<'_>,
        tokens: &[u32],
        past: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> bool {
        let Self { config, weights, cache, buffers: b } = self;
        let n = tokens.len();
        let (width, ffn, epsilon) = (config.width, config.ffn, config.epsilon);
        let stream = &mut b.stream[..n * width];
        let normed = &mut b.normed[..n * width];
        let projected = &mut b.projected[..n * width];
        let attended = &mut b.attended[..n * config.query_width()];
        let queries = &mut b.queries[..n * config.query_width()];
        let qkv = &mut b.qkv[..n * (config.query_width() + 2 * config.kv_width())];
        let hidden = &mut b.hidden[..n * ffn];
        let hidden_by_token = &mut b.hidden_by_token[..n * ffn];

        for (token, x) in tokens.iter().zip(stream.chunks_exact_mut(width)) {
            weights.embedding.row(*token as usize, x);
        }
        if config.architecture.scaled_embedding {
            let scale = libm::sqrtf(width as f32);
            stream.iter_mut().for_each(|x| *x *= scale);
        }
        let rotations = &mut b.rotations[..n * b.frequencies.len()];
        for (token, angles) in rotations.chunks_exact_mut(b.frequencies.len()).enumerate() {
            config.rope.rotation(past + token, b.frequencies, angles);
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            if !go_on() {
                return false;
            }
            let Layer { query, key, value, output, gate, up, down, .. } = layer;
            norm_all(stream, layer.attention_norm, epsilon, normed);
            let input = Input::new(normed, &[query, key, value], &mut b.integers);
            compute.multiply(&[query, key, value], input, n, qkv);
            finish_heads(config, layer, qkv, n);
            let rotations = if config.rotates(index) { &*rotations } else { &[] };
            rotate_and_store(config, qkv, rotations, past, index, cache, queries);
            attend_all(config, &compute, queries, past, index, cache, attended);
            let input = Input::new(attended, &[output], &mut b.integers);
            compute.multiply(&[output], input, n, projected);
            add_bias(projected, layer.output_bias, n);
            norm_rows(projected, layer.attention_post_norm, epsilon, n, normed);
            add(stream, projected, n);

            norm_all(stream, layer.ffn_norm, epsilon, normed);
            let input = Input::new(normed, &[gate, up], &mut b.integers);
            compute.multiply_gated(config.architecture.activation, gate, up, input, n, hidden);
            by_token(hidden, n, hidden_by_token);
            let input = Input::new(hidden_by_token, &[down], &mut b.integers);
            compute.multiply(&[down], input, n, projected);
            norm_rows(projected, layer.ffn_post_norm, epsilon, n, normed);
            add(stream, projected, n);
        }
        true
    }

    /// The logits of the last token given to [`forward`](Self::forward), which were `tokens` many.
    pub fn logits(&mut self, compute: Compute<'_>, tokens: usize) -> &mut [f32] {
        let Self { config, weights, buffers: b, .. } = self;
        let last = tokens.saturating_sub(1) * config.width;
        let normed = &mut b.normed[..config.width];
        rms_norm(&b.stream[last..last + config.width], weights.output_norm, config.epsilon, normed);
        let input = Input::new(normed, &[&weights.head], &mut b.integers);
        compute.multiply(&[&weights.head], input, 1, b.logits);
        add_bias(b.logits, weights.head_bias, 1);
        soft_cap(b.logits, config.logit_cap);
        b.logits
    }
}

fn norm_all(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        rms_norm(x, weight, epsilon, out);
    }
}

/// Biases and norms of queries, keys and values, `[row][token]`.
fn finish_heads(config: &Config, layer: &Layer<'_>, qkv: &mut [f32], tokens: usize) {
    let (query, rest) = qkv.split_at_mut(config.query_width() * tokens);
    let (key, value) = rest.split_at_mut(config.kv_width() * tokens);
    let [query_bias, key_bias, value_bias] = layer.biases;
    add_bias(query, query_bias, tokens);
    add_bias(key, key_bias, tokens);
    add_bias(value, value_bias, tokens);
    let mut scratch = [0.0; config::MAX_HEAD_DIM];
    for (heads, norm) in [query, key].into_iter().zip(layer.query_key_norms) {
        for head in heads.chunks_exact_mut(config.head_dim * tokens) {
            norm_rows(head, norm, config.epsilon, tokens, &mut scratch);
        }
    }
}

/// `x[row][token] += bias[row]`; an empty bias stands for none.
fn add_bias(x: &mut [f32], bias: &[f32], tokens: usize) {
    for (values, bias) in x.chunks_exact_mut(tokens.max(1)).zip(bias) {
        values.iter_mut().for_each(|value| *value += bias);
    }
}

/// Norms `x[row][token]` over the rows, in place; an empty weight leaves it. `scratch` takes one vector.
fn norm_rows(x: &mut [f32], weight: &[f32], epsilon: f32, tokens: usize, scratch: &mut [f32]) {
    let Some(scratch) = scratch.get_mut(..weight.len()).filter(|_| !weight.is_empty()) else { return };
    for token in 0..tokens {
        let column = x.iter().skip(token).step_by(tokens);
        scratch.iter_mut().zip(column).for_each(|(to, from)| *to = *from);
        let scale = rms_scale(scratch, epsilon);
        for (value, weight) in x.iter_mut().skip(token).step_by(tokens).zip(weight) {
            *value = *value * scale * weight;
        }
    }
}

/// `stream[token][row] += projected[row][token]`.
fn add(stream: &mut [f32], projected: &[f32], tokens: usize) {
    let width = projected.len() / tokens.max(1);
    for (row, values) in projected.chunks_exact(tokens.max(1)).enumerate() {
        for (x, value) in stream.iter_mut().skip(row).step_by(width).zip(values) {
            *x += value;
        }
    }
}

/// `out[token][row] = x[row][token]`.
fn by_token(x: &[f32], tokens: usize, out: &mut [f32]) {
    let width = x.len() / tokens.max(1);
    for (row, values) in x.chunks_exact(tokens.max(1)).enumerate() {
        for (out, value) in out.iter_mut().skip(row).step_by(width.max(1)).zip(values) {
            *out = *value;
        }
    }
}

/// Rotates queries and keys by their positions (not at all where there are no rotations); keys and values go to the cache.
fn rotate_and_store(
    config: &Config,
    qkv: &[f32],
    rotations: &[[f32; 2]],
    past: usize,
    layer: usize,
    cache: &mut KvCache<'_>,
    queries: &mut [f32],
) {
    let head_dim = config.head_dim;
    let pairs = config.rope.dims / 2;
    let tokens = queries.len() / config.query_width();
    let (q, kv) = qkv.split_at(config.query_width() * tokens);
    let (k, v) = kv.split_at(config.kv_width() * tokens);
    by_token(q, tokens, queries);
    for (token, queries) in queries.chunks_exact_mut(config.query_width()).enumerate() {
        let angles = rotations.get(token * pairs..(token + 1) * pairs).unwrap_or_default();
        for query in queries.chunks_exact_mut(head_dim) {
            config.rope.rotate(query, angles);
        }
        if config.temperature.scale != 0.0 {
            let scale = config.query_scale(past + token);
            queries.iter_mut().for_each(|query| *query *= scale);
        }
        let (mut key, mut value) = ([0.0; config::MAX_HEAD_DIM], [0.0; config::MAX_HEAD_DIM]);
        let (key, value) = (&mut key[..head_dim], &mut value[..head_dim]);
        for (head, (k, v)) in
            k.chunks_exact(head_dim * tokens).zip(v.chunks_exact(head_dim * tokens)).enumerate()
        {
            key.iter_mut().zip(k.iter().skip(token).step_by(tokens)).for_each(|(to, from)| *to = *from);
            value.iter_mut().zip(v.iter().skip(token).step_by(tokens)).for_each(|(to, from)| *to = *from);
            config.rope.rotate(key, angles);
            cache.store(layer, head, past + token, key, value);
        }
    }
}

/// Attention of all heads of all tokens, shared among the CPUs.
fn attend_all(
    config: &Config,
    compute: &Compute<'_>,
    queries: &[f32],
    past: usize,
    layer: usize,
    cache: &KvCache<'_>,
    attended: &mut [f32],
) {
    let (heads, head_dim) = (config.heads, config.head_dim);
    let group = heads / config.kv_heads;
    let scores = Scores { scale: config.score_scale, cap: config.score_cap };
    for_items(compute.parallel, attended, head_dim, &|first, out| {
        for (item, out) in (first..).zip(out.chunks_exact_mut(head_dim)) {
            let (token, head) = (item / heads, item % heads);
            let (keys, values) = cache.head(layer, head / group);
            let query = &queries[item * head_dim..(item + 1) * head_dim];
            let position = past + token;
            let seen = config.first_seen(layer, position)..position + 1;
            attention::attend(compute.variant, query, keys, values, seen, scores, out);
        }
    });
}
