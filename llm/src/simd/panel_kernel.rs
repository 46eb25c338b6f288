//! The product of panels and vectors, written once for all instruction sets that have panels.
//!
//! A 32-bit lane belongs to a row. Of each group of 32 columns a lane gets the four sums `code * a` of eight columns,
//! times their scales `da`. These, less the codes' offset, add up to an `i32` (see
//! [`max_scale`](crate::quant::activation::max_scale); what overflows on the way comes back), which times the row's
//! scale goes to 64-bit sums, in one register for the even and one for the odd rows. A product of one
//! vector streams through the weights; one of several vectors unpacks the codes of a group once for a tile of them.
//!
//! The macro's parameters are the intrinsics of a register width, and `quarter`, the one step in which the instruction
//! sets differ: `quarter::<BITS>(codes, a, da, sum)` is `sum + da * (sum of (code - SHIFTED) * a)` over eight columns.

macro_rules! panel_kernel {
    ($features:literal, $quarter:ident, $shifted:ident, $vector:ident, $single:ident, $bytes:literal, $tile:literal;
     $zero:ident, $set:ident, $mullo:ident, $add64:ident, $mul64:ident, $srl64:ident, $and:ident, $or:ident,
     $sll16:ident, $srl16:ident, $widen:ident, $half_to_single:ident, $scale:ident, $set_single:ident, $round:ident) => {
        use crate::quant::activation::{Activations, Factors};
        use crate::quant::panel::{Layout, Panels, ROWS, VECTOR};
        use crate::quant::scales::power_of_two;
        use crate::quant::{Format, GROUP};
        use crate::simd::finish;

        /// Rows in a register.
        const LANES: usize = $bytes / 4;
        /// Vectors in a tile: as many as leave registers for the codes.
        const TILE: usize = $tile;
        /// How far ahead of a product with one vector memory is asked for, in bytes.
        const AHEAD: usize = 8192;

        /// See [`crate::simd::multiply_panels`].
        #[target_feature(enable = $features)]
        pub fn multiply<F: Format>(panels: Panels<'_>, x: Activations<'_>, out: &mut [f32]) {
            if x.tokens == 0 {
                return;
            }
            let outputs = out.chunks_exact_mut(ROWS * x.tokens);
            for (panel, out) in panels.iter().zip(outputs) {
                let mut token = 0;
                while token + TILE <= x.tokens {
                    tile::<F, TILE>(panel, panels.shift, x, token, out);
                    token += TILE;
                }
                while token + 2 <= x.tokens {
                    tile::<F, 2>(panel, panels.shift, x, token, out);
                    token += 2;
                }
                while token < x.tokens {
                    tile::<F, 1>(panel, panels.shift, x, token, out);
                    token += 1;
                }
            }
        }

        /// One panel times `N` vectors, from vector `token` on.
        #[target_feature(enable = $features)]
        #[inline]
        fn tile<F: Format, const N: usize>(
            (scales, codes): (&[u8], &[u8]),
            shift: i32,
            x: Activations<'_>,
            token: usize,
            out: &mut [f32],
        ) {
            let groups = x.groups;
            let mut quads: [&[[i32; 8]]; N] = [&[]; N];
            let mut factors: [&[Factors]; N] = [&[]; N];
            for n in 0..N {
                let here = (token + n) * groups..(token + n + 1) * groups;
                let codes = &x.codes[here.start * GROUP..here.end * GROUP];
                quads[n] = bytemuck::cast_slice::<i8, i32>(codes).as_chunks::<8>().0;
                factors[n] = &x.factors[here];
            }
            let up = $set_single(power_of_two(shift));
            let offset = F::OFFSET - $shifted(Layout::<F>::BITS);
            // With registers of eight rows, the panel's first and then its second half.
            for half in 0..ROWS / LANES {
                let mut even = [$zero(); N];
                let mut odd = [$zero(); N];
                let mut group = 0;
                let scales = scales.chunks_exact(Layout::<F>::SCALES);
                for (scales, codes) in scales.zip(codes.chunks_exact(F::GROUPS * Layout::<F>::CODES)) {
                    let (floats, multipliers) = scales.split_at(Layout::<F>::FLOATS);
                    let d = whole(floats, half, up);
                    let m = if F::HAS_MIN { whole(&floats[2 * ROWS..], half, up) } else { d };
                    for (index, codes) in codes.chunks_exact(Layout::<F>::CODES).enumerate() {
                        let (mut first, mut second) = (d, m);
                        if F::GROUPS > 1 {
                            let multipliers = &multipliers[index * Layout::<F>::MULTIPLIERS..];
                            first = $mullo(d, multiplier(multipliers, half));
                            if F::ENTRIES > 1 {
                                second = $mullo(m, multiplier(&multipliers[ROWS..], half));
                            }
                        }
                        let (first_odd, second_odd) = ($srl64(first, 32), $srl64(second, 32));
                        if N == 1 {
                            prefetch(codes);
                        }
                        let codes = unpack::<F>(codes, half);
                        for n in 0..N {
                            let (a, f) = (&quads[n][group], &factors[n][group]);
                            let step = |quarter: usize, sum: $vector| {
                                let at = 2 * quarter;
                                $quarter::<F>(
                                    [codes[at], codes[at + 1]],
                                    [a[at], a[at + 1]],
                                    f.scales[quarter],
                                    sum,
                                )
                            };
                            let start = |sum: i32| {
                                if offset == 0 { $zero() } else { $set(sum.wrapping_mul(-offset)) }
                            };
                            if F::HALVES {
                                let lower = step(1, step(0, start(f.sums[0])));
                                let upper = step(3, step(2, start(f.sums[1])));
                                even[n] = $add64(even[n], $mul64(lower, first));
                                odd[n] = $add64(odd[n], $mul64($srl64(lower, 32), first_odd));
                                even[n] = $add64(even[n], $mul64(upper, second));
                                odd[n] = $add64(odd[n], $mul64($srl64(upper, 32), second_odd));
                            } else {
                                let sum = step(3, step(2, step(1, step(0, start(f.sum)))));
                                even[n] = $add64(even[n], $mul64(sum, first));
                                odd[n] = $add64(odd[n], $mul64($srl64(sum, 32), first_odd));
                            }
                            if F::HAS_MIN {
                                let sum = $set(f.sum);
                                even[n] = $add64(even[n], $mul64(sum, second));
                                odd[n] = $add64(odd[n], $mul64(sum, second_odd));
                            }
                        }
                        group += 1;
                    }
                }
                for n in 0..N {
                    let unit = power_of_two(-shift) * x.units[token + n];
                    let at = (token + n) * ROWS + half * LANES;
                    let (even, odd): ([i64; LANES / 2], [i64; LANES / 2]) =
                        (bytemuck::cast(even[n]), bytemuck::cast(odd[n]));
                    let pairs = out[at..at + LANES].as_chunks_mut::<2>().0;
                    for (out, (even, odd)) in pairs.iter_mut().zip(even.into_iter().zip(odd)) {
                        *out = [finish(even, unit), finish(odd, unit)];
                    }
                }
            }
        }

        /// The codes of a group, four columns in each register.
        #[target_feature(enable = $features)]
        #[inline]
        fn unpack<F: Format>(codes: &[u8], half: usize) -> [$vector; 8] {
            let mut out = [$zero(); 8];
            if Layout::<F>::BITS == 8 {
                for (out, vector) in out.iter_mut().zip(codes.chunks_exact(VECTOR)) {
                    *out = load(vector, half);
                }
                return out;
            }
            let nibbles = $set(0x0F0F_0F0F);
            for (index, vector) in codes.chunks_exact(VECTOR).take(4).enumerate() {
                let both = load(vector, half);
                out[index] = $and(both, nibbles);
                out[index + 4] = $and($srl16(both, 4), nibbles);
            }
            if Layout::<F>::BITS == 6 {
                let upper = $set(0x3030_3030);
                for (out, vector) in
                    out.as_chunks_mut::<4>().0.iter_mut().zip(codes[4 * VECTOR..].chunks_exact(VECTOR))
                {
                    let bits = load(vector, half);
                    out[0] = $or(out[0], $and($sll16(bits, 4), upper));
                    out[1] = $or(out[1], $and($sll16(bits, 2), upper));
                    out[2] = $or(out[2], $and(bits, upper));
                    out[3] = $or(out[3], $and($srl16(bits, 2), upper));
                }
            }
            out
        }

        /// The rows' half floats as whole numbers of the tensor's unit.
        #[target_feature(enable = $features)]
        #[inline]
        fn whole(floats: &[u8], half: usize, up: $single) -> $vector {
            let bytes = floats[2 * LANES * half..].first_chunk::<{ 2 * LANES }>();
            let halves = bytemuck::cast(bytes.copied().unwrap_or([0; 2 * LANES]));
            $round($scale($half_to_single(halves), up))
        }

        /// A signed byte for each row.
        #[target_feature(enable = $features)]
        #[inline]
        fn multiplier(bytes: &[u8], half: usize) -> $vector {
            let mut lanes = [0u8; 16];
            lanes[..LANES].copy_from_slice(&bytes[LANES * half..][..LANES]);
            $widen(bytemuck::cast(lanes))
        }

        /// Asks for the codes that come some groups later: a product with one vector reads faster than the CPU looks ahead
        /// by itself. They go to the second-level cache, for which more requests can be under way.
        #[target_feature(enable = $features)]
        #[inline]
        fn prefetch(codes: &[u8]) {
            for at in (0..codes.len()).step_by(64) {
                _mm_prefetch::<_MM_HINT_T1>(codes.as_ptr().wrapping_add(AHEAD + at).cast());
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn load(vector: &[u8], half: usize) -> $vector {
            bytemuck::cast(vector[$bytes * half..].first_chunk::<$bytes>().copied().unwrap_or([0; $bytes]))
        }
    };
}
pub(super) use panel_kernel;
