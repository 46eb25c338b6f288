//! The key/value cache: what attention remembers of past positions.
//!
//! Two forms. `Integer` (the default) stores each key and value head as 14-bit integers under a float scale of
//! its own: as small as F16, no less precise in a dot product (F16 has 11 bits), and multiplied with
//! `pmaddwd`. `Float` stores f32, for comparisons with reference implementations.
//!
//! Layout: `[layer][kv head][position][head_dim]`, so that attention reads consecutive memory.

use super::config::Config;
use crate::pool::{Pool, PoolFull, Purpose};
use core::ops::Range;

/// Largest stored magnitude. 16 weights of at most 16383 (see `attention`) times this stay below 2^31.
pub const MAX_STORED: i32 = 8191;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvFormat {
    /// 14-bit integers with a scale per head and position.
    #[default]
    Integer,
    /// f32.
    Float,
}

/// Keys or values of one layer and one head, all positions.
#[derive(Clone, Copy)]
pub enum Head<'a> {
    /// Integers, `[position][head_dim]`, and the scale of each position.
    Integer(&'a [i16], &'a [f32]),
    /// Floats, `[position][head_dim]`.
    Float(&'a [f32]),
}

/// Keys (or values) of all layers.
struct Store<'p> {
    integers: &'p mut [i16],
    scales: &'p mut [f32],
    floats: &'p mut [f32],
}

/// The cache.
pub struct KvCache<'p> {
    keys: Store<'p>,
    values: Store<'p>,
    format: KvFormat,
    context: usize,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Bytes of the cache for each position.
pub fn bytes_per_position(config: &Config, format: KvFormat) -> usize {
    let heads = 2 * config.layers * config.kv_heads;
    match format {
        KvFormat::Integer => heads * (2 * config.head_dim + 4),
        KvFormat::Float => heads * 4 * config.head_dim,
    }
}

impl<'p> KvCache<'p> {
    /// A cache for `context` positions.
    pub fn new(
        config: &Config,
        context: usize,
        format: KvFormat,
        pool: &mut Pool<'p>,
    ) -> Result<Self, PoolFull> {
        let mut store = || {
            let slots = context.saturating_mul(config.layers * config.kv_heads);
            let values = slots.saturating_mul(config.head_dim);
            // Every position is written before it is read, so the memory need not be zeroed.
            let (integers, scales, floats) = match format {
                KvFormat::Integer => (values, slots, 0),
                KvFormat::Float => (0, 0, values),
            };
            Ok(Store {
                integers: pool.take_unzeroed(Purpose::KvCache, integers)?,
                scales: pool.take_unzeroed(Purpose::KvCache, scales)?,
                floats: pool.take_unzeroed(Purpose::KvCache, floats)?,
            })
        };
        let (keys, values) = (store()?, store()?);
        let Config { layers, kv_heads, head_dim, .. } = *config;
        Ok(Self { keys, values, format, context, layers, kv_heads, head_dim })
    }

    /// Positions that fit.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Stores keys and values, `[token][head][head_dim]`, of the positions from `first` on, all below
    /// [`context`](Self::context).
    pub fn store(&mut self, layer: usize, first: usize, keys: &[f32], values: &[f32]) {
        let heads = keys.chunks_exact(self.head_dim).zip(values.chunks_exact(self.head_dim));
        for (item, (key, value)) in heads.enumerate() {
            let (token, head) = (item / self.kv_heads, item % self.kv_heads);
            let slot = (layer * self.kv_heads + head) * self.context + first + token;
            self.keys.store(self.format, slot, key);
            self.values.store(self.format, slot, value);
        }
    }

    /// Writes what it holds for some positions to `out`, of [`bytes_per_position`] each.
    pub fn copy_out(&self, positions: Range<usize>, out: &mut [u8]) {
        let mut out = out;
        for slots in self.slots(&positions) {
            for store in [&self.keys, &self.values] {
                out = store.copy_out(self.format, slots.clone(), self.head_dim, out);
            }
        }
    }

    /// Takes back what [`copy_out`](Self::copy_out) wrote for these positions.
    pub fn copy_in(&mut self, positions: Range<usize>, bytes: &[u8]) {
        let mut bytes = bytes;
        for slots in self.slots(&positions) {
            for store in [&mut self.keys, &mut self.values] {
                bytes = store.copy_in(self.format, slots.clone(), self.head_dim, bytes);
            }
        }
    }

    /// Where these positions lie, layer by layer and head by head.
    fn slots(&self, positions: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (context, heads) = (self.context, self.layers * self.kv_heads);
        let Range { start, end } = positions.clone();
        (0..heads).map(move |head| head * context + start..head * context + end)
    }

    /// Keys and values of one head.
    pub fn head(&self, layer: usize, head: usize) -> (Head<'_>, Head<'_>) {
        let first = (layer * self.kv_heads + head) * self.context;
        let end = first + self.context;
        (
            self.keys.head(self.format, first, end, self.head_dim),
            self.values.head(self.format, first, end, self.head_dim),
        )
    }
}

impl Store<'_> {
    fn store(&mut self, format: KvFormat, slot: usize, x: &[f32]) {
        let range = slot * x.len()..(slot + 1) * x.len();
        match format {
            KvFormat::Float => {
                if let Some(to) = self.floats.get_mut(range) {
                    to.copy_from_slice(x);
                }
            }
            KvFormat::Integer => {
                if let (Some(to), Some(scale)) = (self.integers.get_mut(range), self.scales.get_mut(slot)) {
                    *scale = to_integers(x, MAX_STORED, to);
                }
            }
        }
    }

    fn head(&self, format: KvFormat, first: usize, end: usize, head_dim: usize) -> Head<'_> {
        let values = first * head_dim..end * head_dim;
        match format {
            KvFormat::Float => Head::Float(self.floats.get(values).unwrap_or_default()),
            KvFormat::Integer => Head::Integer(
                self.integers.get(values).unwrap_or_default(),
                self.scales.get(first..end).unwrap_or_default(),
            ),
        }
    }
}

impl Store<'_> {
    /// Writes the slots' bytes to the beginning of `out`; the rest of it.
    fn copy_out<'o>(
        &self,
        format: KvFormat,
        slots: Range<usize>,
        head_dim: usize,
        out: &'o mut [u8],
    ) -> &'o mut [u8] {
        let values = slots.start * head_dim..slots.end * head_dim;
        match format {
            KvFormat::Float => write(self.floats.get(values).unwrap_or_default(), f32::to_ne_bytes, out),
            KvFormat::Integer => {
                let out = write(self.integers.get(values).unwrap_or_default(), i16::to_ne_bytes, out);
                write(self.scales.get(slots).unwrap_or_default(), f32::to_ne_bytes, out)
            }
        }
    }

    /// Takes the slots from the beginning of `bytes`; the rest of them.
    fn copy_in<'b>(
        &mut self,
        format: KvFormat,
        slots: Range<usize>,
        head_dim: usize,
        bytes: &'b [u8],
    ) -> &'b [u8] {
        let values = slots.start * head_dim..slots.end * head_dim;
        match format {
            KvFormat::Float => {
                read(self.floats.get_mut(values).unwrap_or_default(), f32::from_ne_bytes, bytes)
            }
            KvFormat::Integer => {
                let bytes =
                    read(self.integers.get_mut(values).unwrap_or_default(), i16::from_ne_bytes, bytes);
                read(self.scales.get_mut(slots).unwrap_or_default(), f32::from_ne_bytes, bytes)
            }
        }
    }
}

fn write<'o, T: Copy, const N: usize>(
    from: &[T],
    bytes: fn(T) -> [u8; N],
    out: &'o mut [u8],
) -> &'o mut [u8] {
    let (to, rest) = out.split_at_mut_checked(from.len() * N).unwrap_or_default();
    to.chunks_exact_mut(N).zip(from).for_each(|(to, from)| to.copy_from_slice(&bytes(*from)));
    rest
}

fn read<'b, T, const N: usize>(to: &mut [T], value: fn([u8; N]) -> T, bytes: &'b [u8]) -> &'b [u8] {
    let (from, rest) = bytes.split_at_checked(to.len() * N).unwrap_or_default();
    let (from, _) = from.as_chunks::<N>();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = value(*from));
    rest
}

/// Writes `round(x / scale)` with magnitudes up to `limit` and returns the scale.
pub fn to_integers(x: &[f32], limit: i32, out: &mut [i16]) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let largest = x.iter().fold(0.0f32, |max, v| if v.abs() > max { v.abs() } else { max });
    let inverse = if largest > f32::MIN_POSITIVE { limit as f32 / largest } else { 0.0 };
    for (out, x) in out.iter_mut().zip(x) {
        let whole = (x * inverse + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
        *out = whole.clamp(-limit, limit) as i16;
    }
    largest / limit as f32
}
