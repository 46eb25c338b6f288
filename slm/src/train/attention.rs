//! Causal attention with rotation and shared key/value heads, forward and backward, over one sequence.
//!
//! As FlashAttention (Dao et al. 2022): a tile of queries against all keys before it, the probabilities of no more
//! than one tile in memory, made again for the gradient. Rotation pairs the halves of a head (Hugging Face's
//! `rotate_half`).

use pulp::Arch;

use super::vector::{self, Product, Steps, vectorised};

/// Queries of a tile.
const TILE: usize = 32;

/// The shape of attention over one sequence; queries, keys and values of a position stand side by side in one row.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Cosine and sine of each position's angles: `[position][head_dim / 2]`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Attention {
    /// Attention over sequences of at most `context` positions.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize, context: usize, rope_base: f64) -> Self {
        let half = head_dim / 2;
        let angle = |i: usize| (i / half) as f64 * rope_base.powf(-((i % half) as f64) / half as f64);
        let of = |f: fn(f64) -> f64| (0..context * half).map(|i| f(angle(i)) as f32).collect();
        Attention { heads, kv_heads, head_dim, cosines: of(f64::cos), sines: of(f64::sin) }
    }

    /// Numbers in a row of queries, keys and values.
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Numbers in a row of the result.
    pub fn out_row(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Turns the queries and keys of `rows` (whole sequences of `context` positions) by their positions; `direction`
    /// is 1, or −1 for the gradient.
    pub fn rotate(&self, rows: &mut [f32], context: usize, direction: f32) {
        let half = self.head_dim / 2;
        vectorised!({
            for (i, row) in rows.chunks_exact_mut(self.row()).enumerate() {
                let at = i % context * half;
                let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
                for head in
                    row[..(self.heads + self.kv_heads) * self.head_dim].chunks_exact_mut(self.head_dim)
                {
                    let (left, right) = head.split_at_mut(half);
                    for ((l, r), (c, s)) in left.iter_mut().zip(right).zip(cosines.iter().zip(sines)) {
                        let s = s * direction;
                        (*l, *r) = (*l * c - *r * s, *r * c + *l * s);
                    }
                }
            }
        });
    }

    /// Attention of one sequence: rotated `rows` in, `out` (positions × [`out_row`](Self::out_row)) and the logarithm
    /// of each softmax's denominator, `[head][position]`, out.
    pub fn forward(&self, rows: &[f32], out: &mut [f32], log_sums: &mut [f32]) {
        let mut scratch = Scratch::default();
        let positions = rows.len() / self.row();
        for head in 0..self.heads {
            let place = self.place(head);
            scratch.transpose(rows, self.row(), place.key, self.head_dim);
            for first in (0..positions).step_by(TILE) {
                let tile = Tile::new(first, positions);
                scratch.scores(self, rows, place.query, &tile);
                let log_sums = &mut log_sums[head * positions + first..][..tile.rows];
                vectorised!(softmax(&mut scratch.scores, &tile, log_sums));
                let out = &mut out[first * self.out_row() + head * self.head_dim..];
                vectorised!({
                    for row in out.chunks_mut(self.out_row()).take(tile.rows) {
                        row[..self.head_dim].fill(0.0);
                    }
                });
                Arch::new().dispatch(Product {
                    a: &scratch.scores,
                    steps: Steps { row: tile.keys, column: 1 },
                    b: &rows[place.value..],
                    b_row: self.row(),
                    c: out,
                    c_row: self.out_row(),
                    m: tile.rows,
                    k: tile.keys,
                    n: self.head_dim,
                });
            }
        }
    }

    /// The gradient with respect to the rotated rows, from the gradient `d_out` of the result; `d_rows` must be zero.
    pub fn backward(&self, rows: &[f32], out: &[f32], log_sums: &[f32], d_out: &[f32], d_rows: &mut [f32]) {
        let (mut keys, mut values) = (Scratch::default(), Scratch::default());
        let (row, out_row, dim) = (self.row(), self.out_row(), self.head_dim);
        let positions = rows.len() / row;
        for head in 0..self.heads {
            let place = self.place(head);
            keys.transpose(rows, row, place.key, dim);
            values.transpose(rows, row, place.value, dim);
            for first in (0..positions).step_by(TILE) {
                let tile = Tile::new(first, positions);
                let at_out = first * out_row + head * dim;
                keys.scores(self, rows, place.query, &tile);
                values.product(d_out, at_out, out_row, dim, &tile);
                let log_sums = &log_sums[head * positions + first..][..tile.rows];
                vectorised!({
                    for (i, log_sum) in log_sums.iter().enumerate() {
                        let at = at_out + i * out_row;
                        let delta = vector::sum_of(&out[at..at + dim], &d_out[at..at + dim], |a, b| a * b);
                        let p = &mut keys.scores[i * tile.keys..][..tile.keys];
                        let ds = &mut values.scores[i * tile.keys..][..tile.keys];
                        for (j, (p, ds)) in p.iter_mut().zip(ds).enumerate() {
                            *p = if j <= first + i { vector::exp(*p - log_sum) } else { 0.0 };
                            *ds = *p * (*ds - delta) * self.scale();
                        }
                    }
                });
                let by_key = Steps { row: 1, column: tile.keys };
                let by_query = Steps { row: tile.keys, column: 1 };
                // Values: Pᵀ·dO. Keys: dSᵀ·Q. Queries: dS·K.
                let (p, ds) = (&keys.scores, &values.scores);
                let products = [
                    (p, by_key, &d_out[at_out..], out_row, place.value, tile.keys, tile.rows),
                    (ds, by_key, &rows[first * row + place.query..], row, place.key, tile.keys, tile.rows),
                    (ds, by_query, &rows[place.key..], row, first * row + place.query, tile.rows, tile.keys),
                ];
                for (a, steps, b, b_row, c, m, k) in products {
                    let c = &mut d_rows[c..];
                    Arch::new().dispatch(Product { a, steps, b, b_row, c, c_row: row, m, k, n: dim });
                }
            }
        }
    }

    /// Scores are divided by the root of the head's width.
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn place(&self, head: usize) -> Place {
        let shared = head / (self.heads / self.kv_heads);
        Place {
            query: head * self.head_dim,
            key: (self.heads + shared) * self.head_dim,
            value: (self.heads + self.kv_heads + shared) * self.head_dim,
        }
    }
}

/// Where a head's numbers begin in a row.
struct Place {
    query: usize,
    key: usize,
    value: usize,
}

/// Some queries, and the keys that the last of them may see.
struct Tile {
    first: usize,
    rows: usize,
    keys: usize,
}

impl Tile {
    fn new(first: usize, positions: usize) -> Self {
        let rows = TILE.min(positions - first);
        Tile { first, rows, keys: first + rows }
    }
}

/// Memory for one tile, used again and again.
#[derive(Default)]
struct Scratch {
    /// Keys or values of a head, transposed: `[head_dim][position]`.
    columns: Vec<f32>,
    /// The tile's scores, probabilities or their gradients: `[query][key]`.
    scores: Vec<f32>,
}

impl Scratch {
    fn transpose(&mut self, rows: &[f32], row: usize, at: usize, dim: usize) {
        let positions = rows.len() / row;
        self.columns.resize(dim * positions, 0.0);
        for (i, row) in rows.chunks_exact(row).enumerate() {
            for (d, value) in row[at..at + dim].iter().enumerate() {
                self.columns[d * positions + i] = *value;
            }
        }
    }

    /// Scaled scores of the tile's queries.
    fn scores(&mut self, attention: &Attention, rows: &[f32], query: usize, tile: &Tile) {
        self.product(rows, tile.first * attention.row() + query, attention.row(), attention.head_dim, tile);
        let scale = attention.scale();
        vectorised!(self.scores.iter_mut().for_each(|s| *s *= scale));
    }

    /// Rows of `a`, from `at` on and `a_row` apart, times the columns.
    fn product(&mut self, a: &[f32], at: usize, a_row: usize, dim: usize, tile: &Tile) {
        self.scores.clear();
        self.scores.resize(tile.rows * tile.keys, 0.0);
        Arch::new().dispatch(Product {
            a: &a[at..],
            steps: Steps { row: a_row, column: 1 },
            b: &self.columns,
            b_row: self.columns.len() / dim,
            c: &mut self.scores,
            c_row: tile.keys,
            m: tile.rows,
            k: dim,
            n: tile.keys,
        });
    }
}

/// Scores to probabilities, nothing of what comes later; notes the logarithms of the denominators.
#[inline(always)]
fn softmax(scores: &mut [f32], tile: &Tile, log_sums: &mut [f32]) {
    for (i, row) in scores.chunks_exact_mut(tile.keys).enumerate() {
        let (seen, later) = row.split_at_mut(tile.first + i + 1);
        let most = vector::greatest(seen);
        seen.iter_mut().for_each(|s| *s = vector::exp(*s - most));
        let sum = vector::sum_of(seen, seen, |p, _| p);
        seen.iter_mut().for_each(|p| *p /= sum);
        later.fill(0.0);
        log_sums[i] = most + sum.ln();
    }
}
