//! Choosing the next token from logits: greedy, or by temperature with top-k and top-p, from a seeded generator.
//!
//! A logit of negative infinity is a token that may not be chosen (a grammar forbids it). Before anything else tokens that were used
//! lately may be made less likely ([`penalise`]). The order of steps is then top-k,
//! temperature, top-p (Holtzman et al. 2020), draw. Ties go to the lower token number. The same seed gives the same tokens on
//! every machine.

use crate::model::math::exp;
use crate::random::SplitMix64;
pub use crate::sampling::{PENALTY_WINDOW, Sampling};

/// A token under consideration.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Candidate {
    /// Its logit, then its unnormalised probability.
    weight: f32,
    /// Its number.
    token: u32,
}

/// The most likely token; the lowest of equals. `None` if no logit is a number above negative infinity.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, &logit) in (0u32..).zip(logits) {
        if logit > f32::NEG_INFINITY && best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}

/// Makes each token of `recent` less likely, once: a positive logit is divided by `penalty`, a negative one multiplied
/// (Keskar et al. 2019, CTRL). A penalty that is not a finite number above 0 counts as 1.
pub fn penalise(logits: &mut [f32], recent: &[u32], penalty: f32) {
    if penalty == 1.0 || !penalty.is_finite() || penalty <= 0.0 {
        return;
    }
    for (at, token) in recent.iter().enumerate() {
        let seen_before = recent[..at].contains(token);
        if let Some(logit) = logits.get_mut(*token as usize).filter(|_| !seen_before) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// Draws a token. `scratch` has room for all logits. `None` if a logit is undefined or infinitely high, or no token
/// may be chosen.
pub fn sample(
    logits: &[f32],
    sampling: &Sampling,
    random: &mut SplitMix64,
    scratch: &mut [Candidate],
) -> Option<u32> {
    if !logits.iter().all(|&logit| logit < f32::INFINITY) {
        return None;
    }
    // NaN counts as greedy.
    if sampling.temperature.partial_cmp(&0.0) != Some(core::cmp::Ordering::Greater) || sampling.top_k == 1 {
        return argmax(logits);
    }
    let allowed = (0u32..).zip(logits).filter(|(_, logit)| **logit > f32::NEG_INFINITY);
    let mut n = 0;
    for (candidate, (token, &weight)) in scratch.iter_mut().zip(allowed) {
        *candidate = Candidate { weight, token };
        n += 1;
    }
    let candidates = &mut scratch[..n];
    let likelier = |a: &Candidate, b: &Candidate| b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token));
    let candidates = if (1..n).contains(&sampling.top_k) {
        candidates.select_nth_unstable_by(sampling.top_k - 1, likelier);
        &mut candidates[..sampling.top_k]
    } else {
        candidates
    };
    candidates.sort_unstable_by(likelier);

    let highest = candidates.first()?.weight;
    let mut total = 0.0f32;
    for candidate in candidates.iter_mut() {
        candidate.weight = exp((candidate.weight - highest) / sampling.temperature);
        total += candidate.weight;
    }
    let (mut kept, mut kept_total) = (0, 0.0f32);
    for candidate in candidates.iter() {
        kept += 1;
        kept_total += candidate.weight;
        if kept_total >= sampling.top_p * total {
            break;
        }
    }
    let mut left = random.next_f32() * kept_total;
    for candidate in &candidates[..kept] {
        left -= candidate.weight;
        if left < 0.0 {
            return Some(candidate.token);
        }
    }
    // Rounding may leave a remainder: the last candidate's.
    candidates[..kept].last().map(|candidate| candidate.token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use bytemuck::Zeroable;

    fn draw(logits: &[f32], sampling: &Sampling, times: usize) -> Vec<usize> {
        let mut counts = alloc::vec![0; logits.len()];
        let mut scratch = alloc::vec![Candidate::zeroed(); logits.len()];
        let mut random = SplitMix64::new(sampling.seed);
        for _ in 0..times {
            counts[sample(logits, sampling, &mut random, &mut scratch).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn recent_tokens_are_penalised_once_each() {
        let mut logits = [4.0, -4.0, 4.0, 1.0];
        penalise(&mut logits, &[0, 1, 0, 99], 2.0);
        assert_eq!(logits, [2.0, -8.0, 4.0, 1.0]);
        for odd in [1.0, 0.0, -3.0, f32::NAN, f32::INFINITY] {
            penalise(&mut logits, &[0, 1, 2, 3], odd);
        }
        assert_eq!(logits, [2.0, -8.0, 4.0, 1.0]);
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        assert_eq!(argmax(&[1.0, 3.0, f32::NAN, 3.0]), Some(1));
        assert_eq!(argmax(&[f32::NAN]), None);
        assert_eq!(draw(&[0.0, 2.0, 2.0], &Sampling::greedy(), 5), [0, 5, 0]);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        // ln of 0.5, 0.3, 0.2
        let logits = [-core::f32::consts::LN_2, -1.203_972_8, -1.609_438];
        let all = Sampling { temperature: 1.0, top_k: 0, seed: 7, ..Sampling::greedy() };
        for (count, p) in draw(&logits, &all, 10_000).into_iter().zip([0.5, 0.3, 0.2]) {
            // Four standard deviations of a binomial.
            assert!((count as f64 - 10_000.0 * p).abs() < 4.0 * (10_000.0 * p * (1.0 - p)).sqrt());
        }
        assert_eq!(draw(&logits, &Sampling { top_k: 2, ..all }, 1000)[2], 0);
        assert_eq!(draw(&logits, &Sampling { top_p: 0.45, ..all }, 1000), [1000, 0, 0]);
        assert_eq!(draw(&logits, &Sampling { top_p: 0.7, ..all }, 1000)[2], 0);
        assert_eq!(draw(&logits, &all, 50), draw(&logits, &all, 50));
    }

    #[test]
    fn damaged_logits_are_reported() {
        let mut scratch = [Candidate::zeroed(); 2];
        for bad in [f32::NAN, f32::INFINITY] {
            let chosen = sample(&[0.0, bad], &Sampling::greedy(), &mut SplitMix64::new(0), &mut scratch);
            assert_eq!(chosen, None);
        }
    }

    #[test]
    fn forbidden_tokens_are_never_chosen() {
        let no = f32::NEG_INFINITY;
        let wide = Sampling { temperature: 10.0, top_k: 0, seed: 3, ..Sampling::greedy() };
        for sampling in
            [Sampling::greedy(), wide, Sampling { top_k: 3, ..wide }, Sampling { top_p: 0.5, ..wide }]
        {
            let counts = draw(&[no, -30.0, no, -31.0, no], &sampling, 200);
            assert_eq!((counts[1] + counts[3], counts[1] > 0), (200, true), "{sampling:?}");
            let none = sample(&[no, no], &sampling, &mut SplitMix64::new(0), &mut [Candidate::zeroed(); 2]);
            assert_eq!(none, None, "{sampling:?}");
        }
        let mut logits = [no, 1.0];
        penalise(&mut logits, &[0, 1], 1.5);
        assert_eq!(logits[0], no);
    }
}
