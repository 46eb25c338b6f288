//! A seeded choice from a list.

use llm::random::SplitMix64;

/// At most `count` of `list`, in random order; the same for the same seed.
pub fn draw<T: Clone>(list: &[T], count: usize, seed: u64) -> Vec<T> {
    let mut random = SplitMix64::new(seed);
    let mut rest: Vec<T> = list.to_vec();
    let mut drawn = Vec::new();
    while drawn.len() < count && !rest.is_empty() {
        // By multiplication rather than remainder: the bias is below 2^-32 for any list there is.
        let at = (u128::from(random.next_u64()) * rest.len() as u128) >> 64;
        drawn.push(rest.swap_remove(at as usize));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_seeded_and_without_repetition() {
        let list: Vec<u32> = (0..1000).collect();
        let mut some = draw(&list, 500, 1);
        assert_eq!(some, draw(&list, 500, 1));
        assert_ne!(some, draw(&list, 500, 2));
        some.sort_unstable();
        some.dedup();
        assert_eq!(some.len(), 500);
        assert_eq!(draw(&list[..3], 5, 1).len(), 3);
    }
}
