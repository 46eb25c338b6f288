//! Whether the model writes man pages that read like English: samples to be read, and figures beside them.
//!
//! The same figures are taken of as much text by the 3-gram, which knows the words and not the sentence, and of the beginnings
//! of real pages that were held out. A figure below theirs shows a fault (invented words, going round in circles); none can
//! show sense, for which the samples are there.

use std::collections::HashSet;

use anyhow::Result;
use llm::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};

use super::held_out::{Data, HeldOut};
use super::ngram::END;
use super::subject::Subject;
use super::writer::{Ask, Writer};

/// Beginnings that are continued, one after the other. None ends in a blank: that belongs to the token behind it.
const PROMPTS: [&str; 5] = [
    "NAME\n ",
    "NAME\n  mount -",
    "NAME\n  pthread_create -",
    "DESCRIPTION\n  The",
    "DESCRIPTION\n  This program",
];
/// Tokens of a sample.
pub const TOKENS: usize = 80;
/// Samples that the report shows.
pub const SHOWN: usize = PROMPTS.len();
/// Below 1, so that what is unlikely is seldom said; above 0, so that samples differ.
const TEMPERATURE: f32 = 0.7;

/// A sample with its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What was given.
    pub prompt: String,
    /// What was written.
    pub text: String,
}

/// Figures of some texts together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Words that were looked at.
    pub words: u64,
    /// Share of the words that stand in the training data at least twice.
    pub known_words: f64,
    /// Different sequences of three words, as a share of all.
    pub distinct_3: f64,
    /// Share of the sequences of four words that stood in the same text before.
    pub repeated_4: f64,
}

/// What was written, and what its figures are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The first samples.
    pub samples: Vec<Sample>,
    /// Of all samples.
    pub figures: Figures,
}

/// The words that stand in the training data at least twice.
pub struct Vocabulary(HashSet<Vec<u8>>);

impl Vocabulary {
    /// Reads them out of the tokens.
    pub fn of(train: &[u16], tokenizer: &Tokenizer<'_>) -> Self {
        let (mut once, mut twice) = (HashSet::new(), HashSet::new());
        let mut text = Vec::new();
        for document in train.split(|&token| token == END) {
            text.clear();
            document.iter().for_each(|&token| tokenizer.decode(u32::from(token), &mut text));
            for word in words(&text) {
                if !twice.contains(&word) && !once.insert(word.clone()) {
                    twice.insert(word);
                }
            }
        }
        Vocabulary(twice)
    }
}

/// Has `writer` write `count` samples and measures them.
pub fn ask(writer: &dyn Writer, vocabulary: &Vocabulary, count: usize, seed: u64) -> Result<Found> {
    let ask = |(number, prompt): (u64, &&str)| Ask {
        prompt: (*prompt).to_owned(),
        tokens: TOKENS,
        line: false,
        temperature: TEMPERATURE,
        seed: seed.wrapping_mul(1_000_003).wrapping_add(number),
    };
    let asks: Vec<Ask> = (0..).zip(PROMPTS.iter().cycle()).take(count).map(ask).collect();
    let written = writer.write(&asks, "samples")?;
    let figures = figures(written.iter().map(|written| written.text.as_bytes()), vocabulary);
    let samples = asks.into_iter().zip(written).take(SHOWN);
    let samples = samples.map(|(ask, written)| Sample { prompt: ask.prompt, text: written.text }).collect();
    Ok(Found { samples, figures })
}

/// The figures of `count` real pages (of other prose, where there are no man pages), each from its beginning and as long as
/// a sample.
pub fn real(data: &Data, subject: &Subject, vocabulary: &Vocabulary, count: usize) -> Result<Figures> {
    let pages = |source: &str| data.test.iter().filter(|d| d.source == source).collect::<Vec<_>>();
    let man = pages("man");
    let pages = if man.is_empty() { data.test.iter().filter(|d| d.is_prose()).collect() } else { man };
    let pages: Vec<&HeldOut> = pages.into_iter().take(count).collect();
    let texts = subject.each(&pages, &super::bar(pages.len() as u64, "real pages"), |engine, page| {
        let mut text = Vec::new();
        let tokens = page.tokens.iter().take(TOKENS);
        tokens.for_each(|&token| engine.tokenizer().decode(u32::from(token), &mut text));
        Ok(text)
    })?;
    Ok(figures(texts.iter().map(Vec::as_slice), vocabulary))
}

fn figures<'t>(texts: impl Iterator<Item = &'t [u8]>, vocabulary: &Vocabulary) -> Figures {
    let (mut all, mut known) = (0usize, 0usize);
    let (mut threes, mut three_kinds) = (0usize, HashSet::new());
    let (mut fours, mut repeated) = (0usize, 0usize);
    for text in texts {
        let words: Vec<Vec<u8>> = words(text).collect();
        all += words.len();
        known += words.iter().filter(|word| vocabulary.0.contains(*word)).count();
        for three in words.windows(3) {
            threes += 1;
            three_kinds.insert(three.to_vec());
        }
        let mut seen = HashSet::new();
        for four in words.windows(4) {
            fours += 1;
            repeated += usize::from(!seen.insert(four));
        }
    }
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    Figures {
        words: all as u64,
        known_words: share(known, all),
        distinct_3: share(three_kinds.len(), threes),
        repeated_4: share(repeated, fours),
    }
}

/// Runs of letters, in small ones; single letters are names of options and variables rather than words.
fn words(text: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let runs = text.split(|byte| !byte.is_ascii_alphabetic() && byte.is_ascii());
    runs.filter(|run| run.len() > 1).map(<[u8]>::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(text: &str) -> Vocabulary {
        Vocabulary(words(text.as_bytes()).collect())
    }

    #[test]
    fn words_are_runs_of_letters() {
        let found: Vec<Vec<u8>> = words("The `ls -l` of 2 Wörter, x_y".as_bytes()).collect();
        let found: Vec<&str> = found.iter().map(|w| std::str::from_utf8(w).unwrap()).collect();
        assert_eq!(found, ["the", "ls", "of", "wörter"]);
    }

    #[test]
    fn circles_and_invented_words_show() {
        let known = vocabulary("the file is read from a disk and written to another one");
        let good = figures([&b"the file is read from the disk"[..]].into_iter(), &known);
        assert_eq!((good.words, good.known_words, good.distinct_3, good.repeated_4), (7, 1.0, 1.0, 0.0));
        let round = "the file is read ".repeat(5);
        let round = figures([round.as_bytes()].into_iter(), &known);
        assert_eq!(round.known_words, 1.0);
        assert!(
            (round.distinct_3 - 4.0 / 18.0).abs() < 1e-12 && (round.repeated_4 - 13.0 / 17.0).abs() < 1e-12
        );
        let invented = figures([&b"the fyle is"[..]].into_iter(), &known);
        assert!((invented.known_words - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(figures([].into_iter(), &known).words, 0);
    }
}
