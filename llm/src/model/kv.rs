//! The key/value cache: what attention remembers of past positions.
//!
//! Three forms. `Integer` (the default) stores each key and value head as 14-bit integers under a float scale of
//! its own: as small as F16, and no less precise in a dot product (F16 has 11 bits). `Byte` stores 8-bit integers under
//! such a scale: half the memory, for a loss that `docs/plans/llm.md` states. `Float` stores f32, for comparisons with
//! reference implementations.
//!
//! Memory is given to sequences in *pages* of 16 positions (Kwon et al. 2023, "PagedAttention"): a sequence has a table
//! that says which page holds each of its chunks, so that several sequences share the cache and none needs consecutive room.
//!
//! Layout: `[layer][kv head][page]`; a page of integers is laid out as [`super::stored`] says, one of floats as
//! `[position][head_dim]`.

use super::attention::{Floats, Integers};
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

/// A position of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The position, from 0.
    pub position: usize,
    /// The pages of the sequence, up to that of this position at least.
    pub pages: &'a [u32],
}

impl Place<'_> {
    /// Where among all positions of a head it lies.
    fn slot(self) -> usize {
        let page = self.pages.get(self.position / CHUNK).map_or(0, |&page| page as usize);
        page * CHUNK + self.position % CHUNK
    }
}

/// Keys and values of one layer and one head of a sequence.
#[derive(Clone, Copy)]
pub enum Head<'a> {
    /// 14-bit integers.
    Short(Integers<'a, i16>),
    /// 8-bit integers.
    Byte(Integers<'a, i8>),
    /// Floats.
    Float(Floats<'a>),
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
    /// A cache for `context` positions, in whole pages.
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

    /// Pages that it has.
    pub fn pages(&self) -> usize {
        self.context.div_ceil(CHUNK)
    }

    /// The slot of a head's first position.
    fn first_slot(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.kv_heads + head) * self.pages() * CHUNK
    }

    /// Stores keys and values, `[token][head][head_dim]`, of tokens at `places`, whose pages are all below
    /// [`pages`](Self::pages).
    pub fn store<'a>(
        &mut self,
        layer: usize,
        places: impl Iterator<Item = Place<'a>>,
        keys: &[f32],
        values: &[f32],
    ) {
        let (heads, head_dim) = (self.shape.kv_heads, self.shape.head_dim);
        let tokens = keys.chunks_exact(heads * head_dim).zip(values.chunks_exact(heads * head_dim));
        for (place, (keys, values)) in places.zip(tokens) {
            let pairs = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
            for (head, (key, value)) in pairs.enumerate() {
                let slot = self.first_slot(layer, head) + place.slot();
                match &mut self.memory {
                    Memory::Short(store) => store.store(slot, key, value),
                    Memory::Byte(store) => store.store(slot, key, value),
                    Memory::Float { keys, values } => {
                        let here = slot * head_dim..(slot + 1) * head_dim;
                        for (to, from) in [(keys, key), (values, value)] {
                            if let Some(to) = to.get_mut(here.clone()) {
                                to.copy_from_slice(from);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Writes what it holds for some positions of the sequence with these pages to `out`, of [`bytes_per_position`] each.
    pub fn copy_out(&self, pages: &[u32], positions: Range<usize>, out: &mut [u8]) {
        let mut out = Output(out);
        for slot in self.slots(pages, positions) {
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
    pub fn copy_in(&mut self, pages: &[u32], positions: Range<usize>, bytes: &[u8]) {
        let mut bytes = Input(bytes);
        for slot in self.slots(pages, positions) {
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
    fn slots<'a>(&self, pages: &'a [u32], positions: Range<usize>) -> impl Iterator<Item = usize> + use<'a> {
        let each = self.pages() * CHUNK;
        let heads = self.shape.layers * self.shape.kv_heads;
        (0..heads).flat_map(move |head| {
            positions.clone().map(move |position| head * each + Place { position, pages }.slot())
        })
    }

    /// Keys and values of one head of the sequence with these pages.
    pub fn head<'a>(&'a self, layer: usize, head: usize, pages: &'a [u32]) -> Head<'a> {
        let first = self.first_slot(layer, head);
        let (slots, head_dim) = (first..first + self.pages() * CHUNK, self.shape.head_dim);
        match &self.memory {
            Memory::Short(store) => Head::Short(store.head(slots, head_dim, pages)),
            Memory::Byte(store) => Head::Byte(store.head(slots, head_dim, pages)),
            Memory::Float { keys, values } => {
                let here = slots.start * head_dim..slots.end * head_dim;
                Head::Float(Floats { keys: &keys[here.clone()], values: &values[here], pages })
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

    fn head<'a>(&'a self, slots: Range<usize>, head_dim: usize, pages: &'a [u32]) -> Integers<'a, T> {
        let numbers = slots.start * head_dim..slots.end * head_dim;
        Integers {
            keys: &self.keys[numbers.clone()],
            key_scales: &self.key_scales[slots.clone()],
            values: &self.values[numbers],
            value_scales: &self.value_scales[slots],
            pages,
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
