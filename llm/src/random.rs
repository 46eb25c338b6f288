//! Random numbers that are the same for the same seed on every machine: SplitMix64 (Steele, Lea and Flood 2014).
//!
//! What draws in this repository draws from here, as far as it may know this crate: sampling and fuzzing here, the kernel's stress
//! workloads, the simulated machines of `cargo xtask eval crash` and the workloads of `eval sched`.

/// The generator: one addition and a mix for each number; every seed is a good seed.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The sequence that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`, a multiple of 2^-24.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 24) as f32
    }

    /// A number in `0.0..1.0`, a multiple of 2^-53.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn reference_values() {
        // Outputs of the authors' C code for seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn fractions_are_below_one() {
        let mut random = SplitMix64::new(3);
        let (mut least, mut most) = (1.0, 0.0);
        for _ in 0..10_000 {
            let (narrow, wide) = (f64::from(random.next_f32()), random.next_f64());
            least = wide.min(narrow).min(least);
            most = wide.max(narrow).max(most);
        }
        assert!((0.0..0.01).contains(&least) && (0.99..1.0).contains(&most), "{least} {most}");
    }
}
