//! Who continues a text: the model under test, or a 3-gram over the same tokens that is asked the same.

use anyhow::Result;
use llm::engine::{Engine, Flow, Sampling};
use llm::random::SplitMix64;
use llm::tokenizer::Special;

use super::bar;
use super::ngram::{END, History, Ngram};
use super::subject::Subject;

/// A text to be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// What stands there.
    pub prompt: String,
    /// Most tokens of the continuation.
    pub tokens: usize,
    /// The continuation ends with its first line.
    pub line: bool,
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Of the choice of tokens.
    pub seed: u64,
}

impl Ask {
    /// The likeliest continuation, to the end of the line.
    pub fn line(prompt: impl Into<String>, tokens: usize) -> Self {
        Ask { prompt: prompt.into(), tokens, line: true, temperature: 0.0, seed: 0 }
    }

    /// Whether nothing more is wanted after `text`. White space before the answer is no end.
    fn is_answered(&self, text: &[u8]) -> bool {
        self.line && text.trim_ascii_start().contains(&b'\n')
    }

    /// What is asked for of a continuation.
    fn cut(&self, text: &[u8]) -> String {
        let text = String::from_utf8_lossy(text).into_owned();
        if !self.line {
            return text;
        }
        text.trim_start().lines().next().unwrap_or_default().trim_end().to_owned()
    }
}

/// A continuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What follows the prompt; of a line, without the white space around it.
    pub text: String,
    /// It came to its end before its tokens ran out.
    pub ended: bool,
}

/// Continues texts.
pub trait Writer {
    /// The continuations, in the order of `asks`; `label` names the work where its progress is shown.
    fn write(&self, asks: &[Ask], label: &'static str) -> Result<Vec<Written>>;
}

impl Writer for Subject {
    fn write(&self, asks: &[Ask], label: &'static str) -> Result<Vec<Written>> {
        self.each(asks, &bar(asks.len() as u64, label), |engine, ask| {
            let prompt = encoded(engine, &ask.prompt);
            let sampling = Sampling { temperature: ask.temperature, seed: ask.seed, ..Sampling::greedy() };
            let mut text = Vec::new();
            let done = engine.generate(&prompt, &[], &sampling, ask.tokens, &mut |piece| {
                text.extend_from_slice(piece.bytes);
                if ask.is_answered(&text) { Flow::Stop } else { Flow::Continue }
            })?;
            let ended = ask.is_answered(&text) || done.generated_tokens < ask.tokens;
            Ok(Written { text: ask.cut(&text), ended })
        })
    }
}

/// A 3-gram with the tokenizer of a model.
pub struct NgramWriter<'a> {
    /// Whose tokenizer.
    pub subject: &'a Subject,
    /// Who says what comes next.
    pub ngram: &'a dyn Ngram,
}

impl Writer for NgramWriter<'_> {
    fn write(&self, asks: &[Ask], label: &'static str) -> Result<Vec<Written>> {
        self.subject.each(asks, &bar(asks.len() as u64, label), |engine, ask| {
            let mut history = (END, END);
            for token in encoded(engine, &ask.prompt) {
                history = (history.1, u16::try_from(token)?);
            }
            let mut all = vec![0.0; engine.info().vocabulary];
            let mut random = SplitMix64::new(ask.seed);
            let (mut text, mut ended) = (Vec::new(), false);
            for _ in 0..ask.tokens {
                let token = next(self.ngram, history, ask.temperature, &mut random, &mut all);
                ended = engine.tokenizer().is_end(u32::from(token));
                if ended {
                    break;
                }
                engine.tokenizer().decode(u32::from(token), &mut text);
                history = (history.1, token);
                if ask.is_answered(&text) {
                    ended = true;
                    break;
                }
            }
            Ok(Written { text: ask.cut(&text), ended })
        })
    }
}

/// The tokens of a prompt, as the kernel makes them.
fn encoded(engine: &Engine<'_>, prompt: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    engine.tokenizer().encode(prompt, Special::Parse, &mut tokens);
    tokens
}

/// The 3-gram's next token: the likeliest, or drawn with probabilities to the power of 1 / `temperature`.
fn next(
    ngram: &dyn Ngram,
    history: History,
    temperature: f32,
    random: &mut SplitMix64,
    all: &mut [f64],
) -> u16 {
    ngram.distribution(history, all);
    let likeliest = (0u16..).zip(all.iter()).max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    let likeliest = likeliest.map_or(END, |(token, _)| token);
    if temperature <= 0.0 {
        return likeliest;
    }
    all.iter_mut().for_each(|probability| *probability = probability.powf(1.0 / f64::from(temperature)));
    let mut rest = random.next_f64() * all.iter().sum::<f64>();
    for (token, probability) in (0u16..).zip(all.iter()) {
        rest -= probability;
        if rest < 0.0 {
            return token;
        }
    }
    likeliest
}

#[cfg(test)]
mod tests {
    use super::super::ngram::kneser_ney::KneserNey;
    use super::*;

    #[test]
    fn a_line_is_cut_and_a_text_is_not() {
        let ask = Ask::line("x", 5);
        assert_eq!(ask.cut(b" the Intel \nmore"), "the Intel");
        assert_eq!(ask.cut(b"\nthe Intel"), "the Intel");
        assert!(ask.is_answered(b"a\n") && !ask.is_answered(b"\n a"));
        let ask = Ask { line: false, ..ask };
        assert_eq!(ask.cut(b" a \n"), " a \n");
        assert!(!ask.is_answered(b"a\nb"));
    }

    #[test]
    fn the_3_gram_says_the_likeliest_or_draws_by_seed() {
        let ngram = KneserNey::fit([&[1u16, 2, 3][..], &[1, 2, 3], &[1, 2, 4]].into_iter(), 6);
        let mut all = vec![0.0; 6];
        let mut draw =
            |temperature, seed| next(&ngram, (1, 2), temperature, &mut SplitMix64::new(seed), &mut all);
        assert_eq!(draw(0.0, 1), 3);
        let drawn: Vec<u16> = (0..200).map(|seed| draw(1.0, seed)).collect();
        assert_eq!(drawn, (0..200).map(|seed| draw(1.0, seed)).collect::<Vec<_>>());
        let threes = drawn.iter().filter(|&&token| token == 3).count();
        assert!((60..160).contains(&threes), "{threes}");
        assert!(drawn.contains(&4));
        assert!((0..50).all(|seed| draw(0.05, seed) == 3));
    }
}
