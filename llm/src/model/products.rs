//! Reading the results of matrix products, which come as `[panel][token][16]` (see [`crate::simd`]).

use crate::quant::panel::ROWS;

/// Values that the products of `rows` rows take for each token: whole panels.
pub const fn padded(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

/// `out[token][row]`, for rows of width `width`, of which `x` holds the products.
pub fn by_token(x: &[f32], width: usize, tokens: usize, out: &mut [f32]) {
    for (token, out) in out.chunks_exact_mut(width).enumerate().take(tokens) {
        of_token(x, tokens, token, 0, out);
    }
}

/// The products of one token with the rows from `first` on, as many as `out` holds.
pub fn of_token(x: &[f32], tokens: usize, token: usize, first: usize, out: &mut [f32]) {
    let (mut panel, mut row) = (first / ROWS, first % ROWS);
    let mut out = out;
    while !out.is_empty() {
        let count = (ROWS - row).min(out.len());
        let (piece, rest) = out.split_at_mut(count);
        let at = (panel * tokens + token) * ROWS + row;
        piece.copy_from_slice(&x[at..at + count]);
        (panel, row, out) = (panel + 1, 0, rest);
    }
}

/// `stream[token][row] += x`, for rows of width `width`.
pub fn add(x: &[f32], width: usize, tokens: usize, stream: &mut [f32]) {
    for (token, stream) in stream.chunks_exact_mut(width).enumerate().take(tokens) {
        for (stream, x) in stream.chunks_mut(ROWS).zip(x.chunks_exact(ROWS).skip(token).step_by(tokens)) {
            for (stream, x) in stream.iter_mut().zip(x) {
                *stream += x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn products_are_read_where_they_lie() {
        for (width, tokens) in [(1, 1), (16, 3), (40, 1), (40, 5), (33, 2)] {
            // The product of row r and token t is 1000 t + r.
            let panels = padded(width) / ROWS;
            let x: Vec<f32> = (0..panels * tokens * ROWS)
                .map(|i| (i / ROWS % tokens * 1000 + i / ROWS / tokens * ROWS + i % ROWS) as f32)
                .collect();
            let mut out = alloc::vec![0.0; width * tokens];
            by_token(&x, width, tokens, &mut out);
            for (i, value) in out.iter().enumerate() {
                assert_eq!(*value, (i / width * 1000 + i % width) as f32, "{width} {tokens}");
            }
            let mut sum = out.clone();
            add(&x, width, tokens, &mut sum);
            assert!(sum.iter().zip(&out).all(|(sum, value)| *sum == 2.0 * value));
            let mut one = [0.0];
            of_token(&x, tokens, tokens - 1, width - 1, &mut one);
            assert_eq!(one[0], out[width * tokens - 1]);
        }
    }
}
