//! Element types of tensors: ggml's type numbers, with how many values a block holds and its bytes.

/// One row per type: name, ggml number, values per block, bytes per block.
macro_rules! ggml_types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $block:literal, $bytes:literal;)*) => {
        /// The element type of a tensor, as numbered by ggml (`enum ggml_type`).
        ///
        /// A tensor's row is a whole number of *blocks*: [`GgmlType::block_size`] values stored in
        /// [`GgmlType::type_size`] bytes. Numbers that ggml has withdrawn (4, 5, 31–33, 36–38) are not
        /// types: a file that uses one is refused.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum GgmlType {
            $($(#[$doc])* $name,)*
        }

        impl GgmlType {
            /// Every type this reader knows.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The type with ggml number `id`, or `None` where ggml has no such type (any more).
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// ggml's number of this type, as stored in files.
            pub const fn id(self) -> u32 {
                match self { $(Self::$name => $id,)* }
            }

            /// Values per block (1 for plain types).
            pub const fn block_size(self) -> usize {
                match self { $(Self::$name => $block,)* }
            }

            /// Bytes per block.
            pub const fn type_size(self) -> usize {
                match self { $(Self::$name => $bytes,)* }
            }

            /// The name that model files and their authors use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

ggml_types! {
    /// 32-bit float.
    F32 = 0, 1, 4;
    /// 16-bit IEEE float.
    F16 = 1, 1, 2;
    /// 4 bits, one f16 scale per 32.
    Q4_0 = 2, 32, 18;
    /// 4 bits, f16 scale and minimum per 32.
    Q4_1 = 3, 32, 20;
    /// 5 bits, one f16 scale per 32.
    Q5_0 = 6, 32, 22;
    /// 5 bits, f16 scale and minimum per 32.
    Q5_1 = 7, 32, 24;
    /// 8 bits, one f16 scale per 32.
    Q8_0 = 8, 32, 34;
    /// 8 bits, f16 scale and f16 sum per 32.
    Q8_1 = 9, 32, 36;
    /// K-quant of 2 bits, blocks of 256.
    Q2_K = 10, 256, 84;
    /// K-quant of 3 bits, blocks of 256.
    Q3_K = 11, 256, 110;
    /// K-quant of 4 bits, blocks of 256.
    Q4_K = 12, 256, 144;
    /// K-quant of 5 bits, blocks of 256.
    Q5_K = 13, 256, 176;
    /// K-quant of 6 bits, blocks of 256.
    Q6_K = 14, 256, 210;
    /// 8 bits, f32 scale per 256: ggml's intermediate type.
    Q8_K = 15, 256, 292;
    /// Codebook quant, 2.06 bits.
    IQ2_XXS = 16, 256, 66;
    /// Codebook quant, 2.31 bits.
    IQ2_XS = 17, 256, 74;
    /// Codebook quant, 3.06 bits.
    IQ3_XXS = 18, 256, 98;
    /// Codebook quant, 1.56 bits.
    IQ1_S = 19, 256, 50;
    /// Non-linear 4 bits, one f16 scale per 32.
    IQ4_NL = 20, 32, 18;
    /// Codebook quant, 3.44 bits.
    IQ3_S = 21, 256, 110;
    /// Codebook quant, 2.56 bits.
    IQ2_S = 22, 256, 82;
    /// Non-linear 4 bits, blocks of 256.
    IQ4_XS = 23, 256, 136;
    /// 8-bit integer.
    I8 = 24, 1, 1;
    /// 16-bit integer.
    I16 = 25, 1, 2;
    /// 32-bit integer.
    I32 = 26, 1, 4;
    /// 64-bit integer.
    I64 = 27, 1, 8;
    /// 64-bit float.
    F64 = 28, 1, 8;
    /// Codebook quant, 1.75 bits.
    IQ1_M = 29, 256, 56;
    /// bfloat16.
    BF16 = 30, 1, 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, 256, 54;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, 256, 66;
    /// Microscaling FP4: E2M1 values, E8M0 scale per 32.
    MXFP4 = 39, 32, 17;
    /// NVIDIA FP4: E2M1 values, four UE4M3 scales per 64.
    NVFP4 = 40, 64, 36;
    /// 1 bit, one f16 scale per 128.
    Q1_0 = 41, 128, 18;
    /// 2 bits, one f16 scale per 64.
    Q2_0 = 42, 64, 18;
}

impl core::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_removed_ones_are_no_types() {
        for &kind in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(kind.id()), Some(kind));
            assert!(kind.block_size() > 0 && kind.type_size() > 0);
        }
        for removed in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(GgmlType::from_id(removed), None);
        }
    }

    #[test]
    fn bytes_per_block_follow_from_the_layouts() {
        // f16 scale(s) + packed values, computed from the layout instead of quoted.
        assert_eq!(GgmlType::Q4_0.type_size(), 2 + 32 / 2);
        assert_eq!(GgmlType::Q4_1.type_size(), 2 + 2 + 32 / 2);
        assert_eq!(GgmlType::Q5_0.type_size(), 2 + 4 + 32 / 2);
        assert_eq!(GgmlType::Q5_1.type_size(), 2 + 2 + 4 + 32 / 2);
        assert_eq!(GgmlType::Q8_0.type_size(), 2 + 32);
        // Super-blocks: scales of 16 (Q6_K) or 6-bit scales and minima of 8 groups (Q4_K, Q5_K).
        assert_eq!(GgmlType::Q4_K.type_size(), 2 + 2 + 12 + 256 / 2);
        assert_eq!(GgmlType::Q5_K.type_size(), 2 + 2 + 12 + 256 / 8 + 256 / 2);
        assert_eq!(GgmlType::Q6_K.type_size(), 256 / 2 + 256 / 4 + 256 / 16 + 2);
    }
}
