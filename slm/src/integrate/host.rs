//! What the host's engine answers: the tokens that the kernel must give too.

use anyhow::{Context, Result};
use llm::clock::StdClock;
use llm::engine::{Engine, Flow, LEAST_CONTEXT, LoadOptions, Origin};
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::sample::Sampling;
use llm::threads::Threads;
use llm::tokenizer::Special;

/// Memory beside the weights; the test's answers are short.
const POOL: usize = 64 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The tokens that the model chose.
    pub tokens: Vec<u32>,
    /// Their text as the kernel's shell shows it: without control characters, which reach no terminal.
    pub text: String,
}

/// Gives the answers of the model in `file` to prompts, each with the most tokens that it may have.
pub type Host = dyn Fn(&[u8], &[(&str, usize)]) -> Result<Vec<Answer>>;

/// The answers of the `llm` crate, always taking the most likely token.
pub fn continue_greedily(file: &[u8], prompts: &[(&str, usize)]) -> Result<Vec<Answer>> {
    let gguf = Gguf::parse(file).context("the host cannot read the file")?;
    // Some types are repacked at load: room for the weights once more.
    let mut memory = vec![0u8; POOL + 2 * file.len()];
    let threads = Threads::new(std::thread::available_parallelism().map_or(1, usize::from).min(8));
    let clock = StdClock::new();
    let options = LoadOptions { context: Some(LEAST_CONTEXT), ..LoadOptions::default() };
    let mut engine = Engine::load(gguf, Pool::new(&mut memory), &threads, &clock, options)
        .context("the host cannot load the model")?;
    let mut answers = Vec::with_capacity(prompts.len());
    for (prompt, most) in prompts {
        let mut ids = Vec::new();
        engine.tokenizer().encode(prompt, Special::Parse, &mut ids);
        let (mut tokens, mut text) = (Vec::new(), Vec::new());
        engine.generate(&ids, &[], &Sampling::greedy(), *most, &mut |piece| {
            if piece.origin == Origin::Model {
                tokens.push(piece.token);
            }
            text.extend_from_slice(piece.bytes);
            Flow::Continue
        })?;
        let shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        answers.push(Answer { tokens, text: String::from_utf8_lossy(&text).chars().filter(shown).collect() });
    }
    Ok(answers)
}
