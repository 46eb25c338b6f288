//! The key/value cache: what attention remembers of past positions.
//!
//! Three forms. `Integer` (the default) stores each key and value head as 14-bit integers under a float scale of
//! its own: as small as F16, and no less precise in a dot product (F16 has 11 bits). `Byte` stores 8-bit integers under
//! such a scale: half the memory, for a loss that `docs/plans/llm.md` states. `Float` stores f32, for comparisons with
//! reference implementations.
//!
//! Layout: `[layer][kv head][chunk of 16 positions]`, so that attention reads consecutive memory; a chunk of integers is
//! laid out as [`super::stored`] says, one of floats as `[position][head_dim]`.

use super::attention::Integers;
use super::stored::{CHUNK, Stored, key_index, to_integers, value_index};
use crate::pool::{Pool, PoolFull, Purpose};
use core::ops::Range;

/// For how many heads keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Transformer blocks.
    pub layers: usize,
    /// Key/value heads of each.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvFormat {
    /// 14-bit integers with a scale per head and position.
    #[default]
    Integer,
    /// 8-bit integers with a scale per head and position.
    Byte,
    /// f32.
    Float,
}

/// Keys and values of one layer and one head, all positions.
#[derive(Clone, Copy)]
pub enum Head<'a> {
    /// 14-bit integers.
    Short(Integers<'a, i16>),
    /// 8-bit integers.
    Byte(Integers<'a, i8>),
    /// Floats, `[position][head_dim]`.
    Float {
        /// Keys.
        keys: &'a [f32],
        /// Values.
        values: &'a [f32],
    },
}

/// Keys and values of all layers as integers.
struct Store<'p, T> {
    keys: &'p mut [T],
    key_scales: &'p mut [f32],
    values: &'p mut [T],
    value_scales: &'p mut [f32],
}

/// The memory of the cache.
enum Memory<'p> {
    Short(Store<'p, i16>),
    Byte(Store<'p, i8>),
    Float { keys: &'p mut [f32], values: &'p mut [f32] },
}

/// The cache.
pub struct KvCache<'p> {
    memory: Memory<'p>,
    context: usize,
    shape: Shape,
}

/// Bytes of the cache for each position.
pub fn bytes_per_position(shape: Shape, format: KvFormat) -> usize {
    let heads = 2 * shape.layers * shape.kv_heads;
    match format {
        KvFormat::Integer => heads * (2 * shape.head_dim + 4),
        KvFormat::Byte => heads * (shape.head_dim + 4),
        KvFormat::Float => heads * 4 * shape.head_dim,
    }
}

impl<'p> KvCache<'p> {
    /// A cache for `context` positions, in whole chunks.
    pub fn new(
        shape: Shape,
        context: usize,
        format: KvFormat,
        pool: &mut Pool<'p>,
    ) -> Result<Self, PoolFull> {
        let head_dim = shape.head_dim;
        let slots = context.next_multiple_of(CHUNK).saturating_mul(shape.layers * shape.kv_heads);
        let memory = match format {
            KvFormat::Integer => Memory::Short(Store::new(slots, head_dim, pool)?),
            KvFormat::Byte => Memory::Byte(Store::new(slots, head_dim, pool)?),
            KvFormat::Float => {
                let mut floats = || pool.take_unzeroed(Purpose::KvCache, slots.saturating_mul(head_dim));
                Memory::Float { keys: floats()?, values: floats()? }
            }
        };
        Ok(Self { memory, context, shape })
    }

    /// Positions that fit.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The slot of a head's first position.
    fn first_slot(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.kv_heads + head) * self.context.next_multiple_of(CHUNK)
    }

    /// Stores keys and values, `[token][head][head_dim]`, of the positions from `first` on, all below
    /// [`context`](Self::context).
    pub fn store(&mut self, layer: usize, first: usize, keys: &[f32], values: &[f32]) {
        let heads = keys.chunks_exact(self.shape.head_dim).zip(values.chunks_exact(self.shape.head_dim));
        for (item, (key, value)) in heads.enumerate() {
            let (token, head) = (item / self.shape.kv_heads, item % self.shape.kv_heads);
            let slot = self.first_slot(layer, head) + first + token;
            match &mut self.memory {
                Memory::Short(store) => store.store(slot, key, value),
                Memory::Byte(store) => store.store(slot, key, value),
                Memory::Float { keys, values } => {
                    let here = slot * key.len()..(slot + 1) * key.len();
                    for (to, from) in [(keys, key), (values, value)] {
                        if let Some(to) = to.get_mut(here.clone()) {
                            to.copy_from_slice(from);
                        }
                    }
                }
            }
        }
    }

    /// Writes what it holds for some positions to `out`, of [`bytes_per_position`] each.
    pub fn copy_out(&self, positions: Range<usize>, out: &mut [u8]) {
        let mut out = Output(out);
        for slot in self.slots(positions) {
            match &self.memory {
                Memory::Short(store) => store.copy_out(slot, self.shape.head_dim, &mut out),
                Memory::Byte(store) => store.copy_out(slot, self.shape.head_dim, &mut out),
                Memory::Float { keys, values } => {
                    let here = slot * self.shape.head_dim..(slot + 1) * self.shape.head_dim;
                    for floats in [keys, values] {
                        floats[here.clone()].iter().for_each(|value| out.put(value));
                    }
                }
            }
        }
    }

    /// Takes back what [`copy_out`](Self::copy_out) wrote for these positions.
    pub fn copy_in(&mut self, positions: Range<usize>, bytes: &[u8]) {
        let mut bytes = Input(bytes);
        for slot in self.slots(positions) {
            match &mut self.memory {
                Memory::Short(store) => store.copy_in(slot, self.shape.head_dim, &mut bytes),
                Memory::Byte(store) => store.copy_in(slot, self.shape.head_dim, &mut bytes),
                Memory::Float { keys, values } => {
                    let here = slot * self.shape.head_dim..(slot + 1) * self.shape.head_dim;
                    for floats in [keys, values] {
                        floats[here.clone()].iter_mut().for_each(|value| *value = bytes.take());
                    }
                }
            }
        }
    }

    /// Where these positions lie, layer by layer and head by head.
    fn slots(&self, positions: Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let each = self.context.next_multiple_of(CHUNK);
        let heads = self.shape.layers * self.shape.kv_heads;
        (0..heads).flat_map(move |head| positions.clone().map(move |position| head * each + position))
    }

    /// Keys and values of one head.
    pub fn head(&self, layer: usize, head: usize) -> Head<'_> {
        let first = self.first_slot(layer, head);
        let slots = first..first + self.context.next_multiple_of(CHUNK);
        match &self.memory {
            Memory::Short(store) => Head::Short(store.head(slots, self.shape.head_dim)),
            Memory::Byte(store) => Head::Byte(store.head(slots, self.shape.head_dim)),
            Memory::Float { keys, values } => {
                let here = slots.start * self.shape.head_dim..slots.end * self.shape.head_dim;
                Head::Float { keys: &keys[here.clone()], values: &values[here] }
            }
        }
    }
}

impl<'p, T: Stored> Store<'p, T> {
    /// Every position is written before its weight counts, so the memory need not be zeroed.
    fn new(slots: usize, head_dim: usize, pool: &mut Pool<'p>) -> Result<Self, PoolFull> {
        let numbers = slots.saturating_mul(head_dim);
        Ok(Self {
            keys: pool.take_unzeroed(Purpose::KvCache, numbers)?,
            key_scales: pool.take_unzeroed(Purpose::KvCache, slots)?,
            values: pool.take_unzeroed(Purpose::KvCache, numbers)?,
            value_scales: pool.take_unzeroed(Purpose::KvCache, slots)?,
        })
    }

    /// The chunk of a slot, keys and values.
    fn chunk(&mut self, slot: usize, head_dim: usize) -> (&mut [T], &mut [T]) {
        let size = CHUNK * head_dim;
        let here = slot / CHUNK * size..(slot / CHUNK + 1) * size;
        (&mut self.keys[here.clone()], &mut self.values[here])
    }

    fn store(&mut self, slot: usize, key: &[f32], value: &[f32]) {
        let (p, head_dim) = (slot % CHUNK, key.len());
        let (keys, values) = self.chunk(slot, head_dim);
        let key_scale = to_integers(key, T::MAX, |d, whole| keys[key_index(p, d)] = T::new(whole));
        let value_scale =
            to_integers(value, T::MAX, |d, whole| values[value_index(p, d, head_dim)] = T::new(whole));
        self.key_scales[slot] = key_scale;
        self.value_scales[slot] = value_scale;
    }

    fn copy_out(&self, slot: usize, head_dim: usize, out: &mut Output<'_>) {
        let (p, first) = (slot % CHUNK, slot / CHUNK * CHUNK * head_dim);
        (0..head_dim).for_each(|d| out.put(&self.keys[first + key_index(p, d)]));
        (0..head_dim).for_each(|d| out.put(&self.values[first + value_index(p, d, head_dim)]));
        out.put(&self.key_scales[slot]);
        out.put(&self.value_scales[slot]);
    }

    fn copy_in(&mut self, slot: usize, head_dim: usize, bytes: &mut Input<'_>) {
        let p = slot % CHUNK;
        let (keys, values) = self.chunk(slot, head_dim);
        (0..head_dim).for_each(|d| keys[key_index(p, d)] = bytes.take());
        (0..head_dim).for_each(|d| values[value_index(p, d, head_dim)] = bytes.take());
        self.key_scales[slot] = bytes.take();
        self.value_scales[slot] = bytes.take();
    }

    fn head(&self, slots: Range<usize>, head_dim: usize) -> Integers<'_, T> {
        let numbers = slots.start * head_dim..slots.end * head_dim;
        Integers {
            keys: &self.keys[numbers.clone()],
            key_scales: &self.key_scales[slots.clone()],
            values: &self.values[numbers],
            value_scales: &self.value_scales[slots],
        }
    }
}

/// Bytes to be filled; what does not fit is dropped.
struct Output<'a>(&'a mut [u8]);

impl Output<'_> {
    fn put<T: bytemuck::Pod>(&mut self, value: &T) {
        if let Some((to, rest)) = core::mem::take(&mut self.0).split_at_mut_checked(size_of::<T>()) {
            to.copy_from_slice(bytemuck::bytes_of(value));
            self.0 = rest;
        }
    }
}

/// Bytes to be read; past their end are zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<T: bytemuck::Pod>(&mut self) -> T {
        let (from, rest) = self.0.split_at_checked(size_of::<T>()).unwrap_or_default();
        self.0 = rest;
        bytemuck::try_pod_read_unaligned(from).unwrap_or_else(|_| T::zeroed())
    }
}
