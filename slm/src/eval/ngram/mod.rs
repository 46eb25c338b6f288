//! What the model is measured against: 3-grams over the same tokens, fitted on the same training data.
//!
//! Two classic ones, since either may be the better: interpolated modified Kneser-Ney ([`kneser_ney`], Chen and Goodman 1998)
//! and interpolation by weights that held-out data decide ([`jelinek_mercer`], Jelinek and Mercer 1980). Both give every
//! token of the vocabulary some probability after every history, and the probabilities after a history add up to 1.
//!
//! A document begins behind two [`END`] tokens, and the [`END`] that closes it is predicted like any other token.

pub mod counts;
pub mod jelinek_mercer;
pub mod kneser_ney;

/// `<|endoftext|>`: ends each document of the data, and stands for what is before its first token.
pub const END: u16 = 0;

/// The two tokens before the one that is to be predicted, the nearer one last.
pub type History = (u16, u16);

/// A 3-gram that was fitted.
pub trait Ngram: Sync {
    /// The probability of `token` after `history`: above 0 for every token of the vocabulary.
    fn probability(&self, history: History, token: u16) -> f64;

    /// The probabilities of all tokens after `history`; `out` has one place for each.
    fn distribution(&self, history: History, out: &mut [f64]);
}

/// The documents of a stream of tokens, each without the token that ends it.
pub fn documents(tokens: &[u16]) -> impl Iterator<Item = &[u16]> {
    let whole = tokens.strip_suffix(&[END]).unwrap_or(tokens);
    whole.split(|&token| token == END).filter(|document| !document.is_empty())
}

/// Every prediction of a document: the history and the token, the closing [`END`] last.
pub fn predictions(document: &[u16]) -> impl Iterator<Item = (History, u16)> + '_ {
    let mut history = (END, END);
    document.iter().copied().chain([END]).map(move |token| {
        let before = history;
        history = (history.1, token);
        (before, token)
    })
}

/// The negative logarithms of the probabilities of a document's tokens, in nats.
pub fn surprises(ngram: &dyn Ngram, document: &[u16]) -> impl Iterator<Item = f64> {
    predictions(document).map(|(history, token)| -ngram.probability(history, token).ln())
}

#[cfg(test)]
mod tests {
    use super::jelinek_mercer::JelinekMercer;
    use super::kneser_ney::KneserNey;
    use super::*;
    use proptest::prelude::*;

    const VOCABULARY: usize = 9;

    proptest! {
        #[test]
        fn probabilities_after_every_history_add_up_to_one(
            corpus in prop::collection::vec(prop::collection::vec(1..VOCABULARY as u16 - 1, 0..40), 1..12),
            held_out in prop::collection::vec(prop::collection::vec(1..VOCABULARY as u16, 0..20), 0..4),
        ) {
            let corpus = || corpus.iter().map(Vec::as_slice);
            let held_out = held_out.iter().map(Vec::as_slice);
            let models: [&dyn Ngram; 2] = [
                &KneserNey::fit(corpus(), VOCABULARY),
                &JelinekMercer::fit(corpus(), held_out, VOCABULARY),
            ];
            for model in models {
                let mut all = [0.0; VOCABULARY];
                for history in (0..VOCABULARY as u16).flat_map(|u| (0..VOCABULARY as u16).map(move |v| (u, v))) {
                    model.distribution(history, &mut all);
                    prop_assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{history:?}: {all:?}");
                    for (token, &probability) in (0u16..).zip(&all) {
                        prop_assert!(probability > 0.0);
                        prop_assert!((model.probability(history, token) - probability).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn documents_are_apart_and_their_ends_are_predicted() {
        let stream = [5, 6, END, 7, END, END, 8];
        let found: Vec<&[u16]> = documents(&stream).collect();
        assert_eq!(found, [&[5, 6][..], &[7], &[8]]);
        let all: Vec<_> = predictions(&[5, 6]).collect();
        assert_eq!(all, [((0, 0), 5), ((0, 5), 6), ((5, 6), 0)]);
        assert_eq!(documents(&[]).count(), 0);
    }
}
