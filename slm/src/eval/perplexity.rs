//! How surprised the model is by the held-out documents, and the 3-grams by the very same tokens.
//!
//! Every document stands alone, from its beginning: `<|endoftext|>` is read first, as it is what stands before a document in
//! training, and every token of the document and the `<|endoftext|>` that closes it is predicted once. Where a document is
//! longer than the context, the next window begins half a context later, and only what the window before it did not predict
//! is counted: every token but the first of a document has at least half a context to go by, or all there is.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use llm::engine::Engine;
use llm::tokenizer::Special;
use serde::{Deserialize, Serialize};

use super::bar;
use super::held_out::HeldOut;
use super::ngram::{END, Ngram, surprises};
use super::subject::Subject;

/// What three models make of some documents. Perplexities are `e` to the mean surprise of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Whose documents: a source, `prose` or `all`.
    pub source: String,
    /// Documents.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// The model's perplexity.
    pub perplexity: f64,
    /// The model's surprise in bits per byte of text, which does not depend on the tokenizer.
    pub bits_per_byte: f64,
    /// Perplexity of the 3-gram by Kneser and Ney.
    pub kneser_ney: f64,
    /// Perplexity of the 3-gram by Jelinek and Mercer.
    pub jelinek_mercer: f64,
    /// Perplexity of the better 3-gram over the model's.
    pub ratio: f64,
}

/// Sums of surprise, in nats, of one document by one model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surprise {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Sum of the negative logarithms of their probabilities.
    pub nats: f64,
}

/// What the two 3-grams make of each document.
pub fn by_ngrams(documents: &[HeldOut], ngrams: [&dyn Ngram; 2]) -> [Vec<Surprise>; 2] {
    ngrams.map(|ngram| {
        let one = |document: &HeldOut| {
            surprises(ngram, &document.tokens).fold(Surprise::default(), |sum, nats| Surprise {
                tokens: sum.tokens + 1,
                nats: sum.nats + nats,
            })
        };
        documents.iter().map(one).collect()
    })
}

/// What the model makes of each document. Fails where its tokenizer does not give the documents' tokens.
pub fn by_model(documents: &[HeldOut], subject: &Subject) -> Result<Vec<Surprise>> {
    let bar = bar(documents.len() as u64, "perplexity");
    subject.each(documents, &bar, |engine, document| {
        check_tokens(engine, document)?;
        let mut tokens = vec![u32::from(END)];
        tokens.extend(document.tokens.iter().map(|&token| u32::from(token)));
        tokens.push(u32::from(END));
        let mut sum = Surprise::default();
        for window in windows(tokens.len(), engine.info().context) {
            let fed = &tokens[window.from..window.to];
            engine.logits_each(fed, window.counted - window.from, &mut |at, logits| {
                let token = tokens[window.from + at + 1];
                sum.tokens += 1;
                sum.nats += surprise(logits, token as usize);
            })?;
        }
        ensure!(sum.nats.is_finite(), "the model's output is not finite in `{}`", document.name);
        Ok(sum)
    })
}

/// The tokens of the data are those that the kernel would make of the text.
fn check_tokens(engine: &Engine<'_>, document: &HeldOut) -> Result<()> {
    let mut tokens = Vec::new();
    // In conversations the marks of a turn are tokens, elsewhere they are text; there is no beginning-of-sequence token.
    let special = if document.source == "chat" { Special::Parse } else { Special::None };
    engine.tokenizer().encode(&document.text, special, &mut tokens);
    let same = tokens.iter().copied().eq(document.tokens.iter().map(|&token| u32::from(token)));
    ensure!(
        same,
        "the file's tokenizer does not give the tokens of data/test.bin for `{}`; export the model of this run",
        document.name
    );
    Ok(())
}

/// Tokens that are read together.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    from: usize,
    to: usize,
    /// The first token whose prediction of its successor is counted.
    counted: usize,
}

/// The windows of a document of `tokens` tokens, whose last is predicted and not read.
fn windows(tokens: usize, context: usize) -> impl Iterator<Item = Window> {
    let read = tokens.saturating_sub(1);
    let stride = (context / 2).max(1);
    let count = if read <= context { usize::from(read > 0) } else { 1 + (read - context).div_ceil(stride) };
    (0..count).map(move |number| {
        let from = number * stride;
        let counted = if number == 0 { 0 } else { from - stride + context };
        Window { from, to: (from + context).min(read), counted }
    })
}

/// `-ln softmax(logits)[token]`.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - highest).exp())).sum();
    let own = logits.get(token).copied().unwrap_or(f32::NEG_INFINITY);
    sum.ln() - f64::from(own - highest)
}

/// Rows by source, then of all prose, then of all.
pub fn rows(documents: &[HeldOut], model: &[Surprise], ngrams: &[Vec<Surprise>; 2]) -> Vec<Row> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, document) in documents.iter().enumerate() {
        groups.entry(&document.source).or_default().push(at);
    }
    let prose: Vec<usize> = (0..documents.len()).filter(|&at| documents[at].is_prose()).collect();
    let mut groups: Vec<(&str, Vec<usize>)> = groups.into_iter().collect();
    if !prose.is_empty() {
        groups.push(("prose", prose));
    }
    groups.push(("all", (0..documents.len()).collect()));
    groups.into_iter().map(|(source, members)| row(source, &members, documents, model, ngrams)).collect()
}

fn row(
    source: &str,
    members: &[usize],
    documents: &[HeldOut],
    model: &[Surprise],
    [kneser_ney, jelinek_mercer]: &[Vec<Surprise>; 2],
) -> Row {
    let nats = |of: &[Surprise]| members.iter().map(|&at| of[at].nats).sum::<f64>();
    let tokens: usize = members.iter().map(|&at| model[at].tokens).sum();
    let bytes: usize = members.iter().map(|&at| documents[at].text.len()).sum();
    let perplexity = |of: &[Surprise]| (nats(of) / tokens.max(1) as f64).exp();
    let [own, kneser_ney, jelinek_mercer] =
        [perplexity(model), perplexity(kneser_ney), perplexity(jelinek_mercer)];
    Row {
        source: source.to_owned(),
        documents: members.len() as u64,
        bytes: bytes as u64,
        tokens: tokens as u64,
        perplexity: own,
        bits_per_byte: nats(model) / std::f64::consts::LN_2 / bytes.max(1) as f64,
        kneser_ney,
        jelinek_mercer,
        ratio: kneser_ney.min(jelinek_mercer) / own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_token_is_predicted_once_with_half_a_context_to_go_by(tokens in 0usize..3000, context in 1usize..600) {
            let mut predicted = vec![0; tokens];
            for window in windows(tokens, context) {
                prop_assert!(window.to - window.from <= context && window.to <= tokens);
                for at in window.counted..window.to {
                    predicted[at + 1] += 1;
                    prop_assert!(at - window.from >= (context / 2).min(at) || context == 1);
                }
            }
            prop_assert!(predicted.iter().skip(1).all(|&times| times == 1), "{predicted:?}");
        }
    }

    #[test]
    fn a_long_document_is_read_in_overlapping_windows() {
        let all: Vec<Window> = windows(11, 4).collect();
        assert_eq!(all[0], Window { from: 0, to: 4, counted: 0 });
        assert_eq!(all[1], Window { from: 2, to: 6, counted: 4 });
        assert_eq!(all[3], Window { from: 6, to: 10, counted: 8 });
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn surprise_is_that_of_the_softmax() {
        assert!((surprise(&[0.5; 8], 3) - 8.0f64.ln()).abs() < 1e-6);
        assert!(surprise(&[20.0, 0.0], 0) < 1e-8);
        assert_eq!(surprise(&[0.0], 7), f64::INFINITY);
    }

    #[test]
    fn rows_add_up() {
        let document = |source: &str, text: &str| HeldOut {
            source: source.into(),
            name: String::new(),
            text: text.into(),
            tokens: vec![1],
        };
        let documents = [document("man", "abcd"), document("copy", "ab"), document("man", "ab")];
        let nats = |nats: f64| vec![Surprise { tokens: 2, nats }; 3];
        let two = 2.0f64.ln() * 2.0;
        let rows = rows(&documents, &nats(two), &[nats(2.0 * two), nats(3.0 * two)]);
        let names: Vec<&str> = rows.iter().map(|row| row.source.as_str()).collect();
        assert_eq!(names, ["copy", "man", "prose", "all"]);
        let all = &rows[3];
        assert_eq!((all.documents, all.tokens, all.bytes), (3, 6, 8));
        assert!((all.perplexity - 2.0).abs() < 1e-12 && (all.kneser_ney - 4.0).abs() < 1e-12);
        assert!((all.ratio - 2.0).abs() < 1e-12 && (all.bits_per_byte - 0.75).abs() < 1e-12);
    }
}
