//! The transformer of the llama family (Touvron et al. 2023) and its relatives ([`architecture`]): tokens in, logits out.
//!
//! [`Llama::forward`] reads top to bottom like the paper's figure. Tokens are processed in batches of
//! [`BATCH`], so that a weight row is read once for all of them. A batch may mix sequences: each row of it says where
//! it stands, and the decoding step of a sequence is one row. The results for a token do not depend on what it was
//! batched with, nor on the number of CPUs or their instructions.

pub mod architecture;
pub mod attention;
pub mod config;
pub mod error;
mod keys;
pub mod kv;
pub mod math;
pub mod matrix;
mod products;
pub mod rope;
pub mod stored;
pub mod tensors;
pub mod weights;

use crate::gguf::Gguf;
use crate::parallel::for_items;
use crate::pool::{ALIGNMENT, Pool, PoolFull, Purpose::Activations};
use crate::quant::activation::ActivationBuffers;
use attention::Scores;
use config::Config;
use error::LoadError;
use kv::{KvCache, KvFormat, Place};
use math::{rms_norm, rms_scale, soft_cap};
use matrix::{Compute, Input, Placing};
use products::{add, by_token, of_token, padded};
use weights::{Layer, Weights};

/// Most tokens that are processed at once.
pub const BATCH: usize = 64;

/// Most tokens whose logits are computed at once: a vocabulary of floats each.
pub const LOGIT_ROWS: usize = 8;

/// A token of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The token, one of the vocabulary.
    pub token: u32,
    /// Where in its sequence it stands. The positions before it are in the cache, or in rows before it.
    pub place: Place<'a>,
}

impl Row<'_> {
    /// Fills arrays of rows.
    pub const NONE: Self = Row { token: 0, place: Place { position: 0, pages: &[] } };
}

/// Buffers of the forward pass, for [`BATCH`] tokens. Products come out as [`products`] says.
struct Buffers<'p> {
    /// The residual stream, `[token][width]`.
    stream: &'p mut [f32],
    /// The normed stream, `[token][width]`.
    normed: &'p mut [f32],
    /// Integer form of a product's input.
    integers: ActivationBuffers<'p>,
    /// Queries, keys and values as they come.
    qkv: &'p mut [f32],
    /// Queries, keys and values, rotated, `[token][head][head_dim]`.
    queries: &'p mut [f32],
    keys: &'p mut [f32],
    values: &'p mut [f32],
    /// Results of attention, `[token][head][head_dim]`.
    attended: &'p mut [f32],
    /// Output of the two projections back to the stream.
    projected: &'p mut [f32],
    /// Gated hidden values, as they come and `[token][row]`.
    hidden: &'p mut [f32],
    hidden_by_token: &'p mut [f32],
    /// Rotation frequencies, and cosines and sines, `[token][pair]`.
    frequencies: &'p mut [f64],
    rotations: &'p mut [[f32; 2]],
    /// Products of the head with [`LOGIT_ROWS`] tokens, and the logits of one of them.
    head_products: &'p mut [f32],
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
            qkv: floats(padded(query_width) + 2 * padded(kv_width))?,
            queries: floats(query_width)?,
            keys: floats(kv_width)?,
            values: floats(kv_width)?,
            attended: floats(query_width)?,
            projected: floats(padded(width))?,
            hidden: floats(padded(ffn))?,
            hidden_by_token: floats(ffn)?,
            integers: ActivationBuffers::new(pool, batch, width.max(ffn).max(query_width))?,
            frequencies: pool.take(Activations, config.rope.dims / 2)?,
            rotations: pool.take(Activations, config.rope.dims / 2 * batch)?,
            // Written before it is read.
            head_products: pool
                .take_unzeroed(Activations, padded(config.vocabulary).saturating_mul(LOGIT_ROWS))?,
            logits: pool.take(Activations, config.vocabulary)?,
        })
    }
}

/// Bytes that the buffers of a model take in the pool, padding included.
pub fn buffer_bytes(config: &Config) -> usize {
    let (width, ffn) = (config.width, config.ffn);
    let (query_width, kv_width) = (config.query_width(), config.kv_width());
    let floats = 2 * width + padded(width) + padded(ffn) + ffn;
    let heads = 3 * query_width + padded(query_width) + 2 * (kv_width + padded(kv_width));
    let longest = width.max(ffn).max(query_width);
    // Cosine and sine of each rotated pair.
    let each = size_of::<f32>() * (floats + heads + config.rope.dims) + ActivationBuffers::bytes(longest);
    let logits = padded(config.vocabulary).saturating_mul((LOGIT_ROWS + 1) * size_of::<f32>());
    let once = logits.saturating_add(size_of::<f64>() * config.rope.dims);
    BATCH.saturating_mul(each).saturating_add(once).saturating_add(24 * ALIGNMENT)
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
        placing: Placing<'_>,
    ) -> Result<Self, LoadError> {
        let weights = Weights::load(gguf, &config, context, pool, placing)?;
        let buffers = Buffers::new(&config, BATCH, pool)?;
        config.rope.frequencies(weights.rope_factors, buffers.frequencies);
        let cache = KvCache::new(config.kv_shape(), 0, KvFormat::Integer, pool)?;
        Ok(Self { config, weights, cache, buffers })
    }

    /// Sets up the cache, usually with what the pool has left.
    pub fn add_cache(
        &mut self,
        context: usize,
        format: KvFormat,
        pool: &mut Pool<'p>,
    ) -> Result<(), PoolFull> {
        self.cache = KvCache::new(self.config.kv_shape(), context, format, pool)?;
        Ok(())
    }

    /// The tensors.
    pub fn weights(&self) -> &Weights<'p> {
        &self.weights
    }

    /// The cache of keys and values.
    pub fn cache(&self) -> &KvCache<'p> {
        &self.cache
    }

    /// The same, to be changed.
    pub fn cache_mut(&mut self) -> &mut KvCache<'p> {
        &mut self.cache
    }

    /// Runs up to [`BATCH`] tokens, of one sequence or several; those of a sequence in their order.
    ///
    /// `go_on` is asked before each layer. Where it says no, the rows are given up and the answer is `false`: the
    /// cache then holds the positions before them as it did, and there are no logits.
    pub fn forward(
        &mut self,
        compute: Compute<'_>,
        rows: &[Row<'_>],
        go_on: &mut dyn FnMut() -> bool,
    ) -> bool {
        let Self { config, weights, cache, buffers: b } = self;
        let n = rows.len();
        let (width, ffn, epsilon) = (config.width, config.ffn, config.epsilon);
        let stream = &mut b.stream[..n * width];
        let normed = &mut b.normed[..n * width];
        let projected = &mut b.projected[..n * padded(width)];
        let attended = &mut b.attended[..n * config.query_width()];
        let queries = &mut b.queries[..n * config.query_width()];
        let keys = &mut b.keys[..n * config.kv_width()];
        let values = &mut b.values[..n * config.kv_width()];
        let [query_rows, kv_rows] = [config.query_width(), config.kv_width()].map(|rows| n * padded(rows));
        let qkv = &mut b.qkv[..query_rows + 2 * kv_rows];
        let hidden = &mut b.hidden[..n * padded(ffn)];
        let hidden_by_token = &mut b.hidden_by_token[..n * ffn];

        for (row, x) in rows.iter().zip(stream.chunks_exact_mut(width)) {
            weights.embedding.row(row.token as usize, x);
        }
        if config.architecture.scaled_embedding {
            let scale = libm::sqrtf(width as f32);
            stream.iter_mut().for_each(|x| *x *= scale);
        }
        let rotations = &mut b.rotations[..n * b.frequencies.len()];
        for (row, angles) in rows.iter().zip(rotations.chunks_exact_mut(b.frequencies.len())) {
            config.rope.rotation(row.place.position, b.frequencies, angles);
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            if !go_on() {
                return false;
            }
            let Layer { query, key, value, output, gate, up, down, .. } = layer;
            norm_all(stream, layer.attention_norm, epsilon, normed);
            let input = Input::new(&compute, normed, &[query, key, value], &mut b.integers);
            compute.multiply(&[query, key, value], input, n, qkv);
            let heads = [&mut *queries, &mut *keys, &mut *values];
            let products = [0..query_rows, query_rows..query_rows + kv_rows, query_rows + kv_rows..qkv.len()];
            for ((heads, products), bias) in heads.into_iter().zip(products).zip(layer.biases) {
                let width = heads.len() / n;
                by_token(&qkv[products], width, n, heads);
                add_bias(heads, bias);
            }
            let rotations = if config.rotates(index) { &*rotations } else { &[] };
            finish_heads(config, layer.query_key_norms, rotations, queries, keys);
            scale_queries(config, rows, queries);
            cache.store(index, rows.iter().map(|row| row.place), keys, values);
            attend_all(config, &compute, queries, rows, index, cache, attended);
            let input = Input::new(&compute, attended, &[output], &mut b.integers);
            compute.multiply(&[output], input, n, projected);
            let norm = layer.attention_post_norm;
            add_to_stream(projected, width, layer.output_bias, norm, epsilon, normed, stream);

            norm_all(stream, layer.ffn_norm, epsilon, normed);
            let input = Input::new(&compute, normed, &[gate, up], &mut b.integers);
            compute.multiply_gated(config.architecture.activation, gate, up, input, n, hidden);
            by_token(hidden, ffn, n, hidden_by_token);
            let input = Input::new(&compute, hidden_by_token, &[down], &mut b.integers);
            compute.multiply(&[down], input, n, projected);
            add_to_stream(projected, width, &[], layer.ffn_post_norm, epsilon, normed, stream);
        }
        true
    }

    /// The last hidden state of row `index` of those given to [`forward`](Self::forward), normed as it is before the logits.
    pub fn state(&mut self, index: usize) -> &[f32] {
        let Self { config, weights, buffers: b, .. } = self;
        let normed = &mut b.normed[..config.width];
        let stream = &b.stream[index * config.width..(index + 1) * config.width];
        rms_norm(stream, weights.output_norm, config.epsilon, normed);
        normed
    }

    /// The logits of up to [`LOGIT_ROWS`] of the rows given to [`forward`](Self::forward): the head is read once for them.
    pub fn logits(&mut self, compute: Compute<'_>, rows: &[usize]) -> Logits<'_> {
        let Self { config, weights, buffers: b, .. } = self;
        let (n, width) = (rows.len(), config.width);
        let normed = &mut b.normed[..n * width];
        for (row, normed) in rows.iter().zip(normed.chunks_exact_mut(width)) {
            let stream = &b.stream[row * width..(row + 1) * width];
            rms_norm(stream, weights.output_norm, config.epsilon, normed);
        }
        let products = &mut b.head_products[..n * padded(config.vocabulary)];
        let input = Input::new(&compute, normed, &[&weights.head], &mut b.integers);
        compute.multiply(&[&weights.head], input, n, products);
        Logits { products, rows: n, bias: weights.head_bias, cap: config.logit_cap, of_one: b.logits }
    }
}

/// The logits of some rows.
pub struct Logits<'a> {
    products: &'a [f32],
    rows: usize,
    bias: &'a [f32],
    cap: f32,
    /// Room for one of them.
    of_one: &'a mut [f32],
}

impl<'a> Logits<'a> {
    /// Those of row `index` of the rows asked for; the caller may change them.
    pub fn of(&mut self, index: usize) -> &mut [f32] {
        of_token(self.products, self.rows, index, 0, self.of_one);
        add_bias(self.of_one, self.bias);
        soft_cap(self.of_one, self.cap);
        self.of_one
    }

    /// Those of the first row.
    pub fn first(mut self) -> &'a [f32] {
        self.of(0);
        self.of_one
    }
}

fn norm_all(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        rms_norm(x, weight, epsilon, out);
    }
}

/// `x[token] += bias` for vectors one after the other; an empty bias stands for none.
fn add_bias(x: &mut [f32], bias: &[f32]) {
    for x in x.chunks_exact_mut(bias.len().max(1)) {
        x.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
    }
}

/// Norms `x`, vectors one after the other, in place; an empty weight leaves it.
fn norm_in_place(x: &mut [f32], weight: &[f32], epsilon: f32) {
    if !weight.is_empty() {
        for x in x.chunks_exact_mut(weight.len()) {
            let scale = rms_scale(x, epsilon);
            x.iter_mut().zip(weight).for_each(|(x, weight)| *x = *x * scale * weight);
        }
    }
}

/// `stream += norm(products + bias)`, for rows of width `width`; `scratch` is as long as the stream.
fn add_to_stream(
    products: &[f32],
    width: usize,
    bias: &[f32],
    norm: &[f32],
    epsilon: f32,
    scratch: &mut [f32],
    stream: &mut [f32],
) {
    let tokens = stream.len() / width;
    if bias.is_empty() && norm.is_empty() {
        return add(products, width, tokens, stream);
    }
    by_token(products, width, tokens, scratch);
    add_bias(scratch, bias);
    norm_in_place(scratch, norm, epsilon);
    stream.iter_mut().zip(scratch).for_each(|(x, value)| *x += *value);
}

/// Norms each head of queries and keys, and rotates it by its token's position (not at all where there are no rotations).
fn finish_heads(
    config: &Config,
    norms: [&[f32]; 2],
    rotations: &[[f32; 2]],
    queries: &mut [f32],
    keys: &mut [f32],
) {
    let pairs = config.rope.dims / 2;
    for ((heads, width), norm) in
        [(queries, config.query_width()), (keys, config.kv_width())].into_iter().zip(norms)
    {
        norm_in_place(heads, norm, config.epsilon);
        for (heads, angles) in heads.chunks_exact_mut(width).zip(rotations.chunks_exact(pairs)) {
            heads.chunks_exact_mut(config.head_dim).for_each(|head| config.rope.rotate(head, angles));
        }
    }
}

/// Queries grow with their position, in models that want that.
fn scale_queries(config: &Config, rows: &[Row<'_>], queries: &mut [f32]) {
    if config.temperature.scale != 0.0 {
        for (row, queries) in rows.iter().zip(queries.chunks_exact_mut(config.query_width())) {
            let scale = config.query_scale(row.place.position);
            queries.iter_mut().for_each(|query| *query *= scale);
        }
    }
}

/// Attention of all heads of all tokens, shared among the CPUs.
fn attend_all(
    config: &Config,
    compute: &Compute<'_>,
    queries: &[f32],
    rows: &[Row<'_>],
    layer: usize,
    cache: &KvCache<'_>,
    attended: &mut [f32],
) {
    let (heads, head_dim) = (config.heads, config.head_dim);
    let group = heads / config.kv_heads;
    let scores = Scores { scale: config.score_scale, cap: config.score_cap };
    for_items(compute.parallel, attended, head_dim, &|first, out| {
        for (item, out) in (first..).zip(out.chunks_exact_mut(head_dim)) {
            let (row, head) = (item / heads, item % heads);
            let Some(Row { place: Place { position, pages }, .. }) = rows.get(row).copied() else { return };
            let past = cache.head(layer, head / group, pages);
            let query = &queries[item * head_dim..(item + 1) * head_dim];
            let seen = config.first_seen(layer, position)..position + 1;
            attention::attend(compute.variant, query, past, seen, scores, out);
        }
    });
}
