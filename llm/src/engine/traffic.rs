//! What decoding a token reads from memory: the numerator of a roofline (Williams, Waterman, Patterson 2009).

use super::Engine;

/// Bytes that the forward pass of one token, and its logits, read once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Weights as they lie in memory, in panels or with their scale tables: every block, the head, and one row of the embedding.
    pub weights: usize,
    /// Keys and values, for each position that the token looks back at.
    pub each_position: usize,
}

impl Traffic {
    /// Bytes of a token behind `past` others.
    pub fn behind(&self, past: usize) -> usize {
        self.weights.saturating_add(self.each_position.saturating_mul(past))
    }
}

impl Engine<'_> {
    /// What one decoded token reads. Activations are not in it: they stay in a CPU's own cache.
    pub fn traffic(&self) -> Traffic {
        let weights = self.model.weights();
        let blocks = weights.layers.iter().map(|layer| {
            let matrices =
                [&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down];
            let norms = size_of_val(layer.attention_norm) + size_of_val(layer.ffn_norm);
            matrices.iter().map(|matrix| matrix.bytes()).sum::<usize>() + norms
        });
        let head = weights.head.bytes() + size_of_val(weights.output_norm);
        let row = weights.embedding.row_bytes();
        Traffic { weights: blocks.sum::<usize>() + head + row, each_position: self.bytes_per_position() }
    }
}
