//! Orders and draws that are the same for the same seed.

use llm::random::SplitMix64;

/// A number below `bound`; 0 if that is 0. Lemire's multiplication: the bias is below 2^-32 for any list there is.
pub fn below(random: &mut SplitMix64, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

/// The list in random order (Fisher and Yates).
pub fn shuffled<T>(mut list: Vec<T>, random: &mut SplitMix64) -> Vec<T> {
    for last in (1..list.len()).rev() {
        list.swap(last, below(random, last + 1));
    }
    list
}

/// A number that depends on every byte of `parts` and on `seed`: FNV-1a, mixed.
pub fn hash(seed: u64, parts: &[&str]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325 ^ seed;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    SplitMix64::new(state).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_everything_and_depends_on_the_seed() {
        let order = |seed| shuffled((0..100).collect::<Vec<u32>>(), &mut SplitMix64::new(seed));
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
        assert_ne!(hash(0, &["ab", "c"]), hash(0, &["a", "bc"]));
        assert_eq!(below(&mut SplitMix64::new(0), 0), 0);
    }
}
