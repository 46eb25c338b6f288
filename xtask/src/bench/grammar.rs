//! `cargo xtask bench grammar`: what a grammar costs for each token, over the default model's vocabulary.
//!
//! Texts are drawn at random from the masks themselves: any token that is allowed, up to a length. The first pass over them
//! computes masks, the second finds them; the logits are a vector of the vocabulary's size, to which each mask is applied.

use crate::machine_report::{host, median};
use crate::model::fetch;
use anyhow::{Context, Result};
use llm::gguf::Gguf;
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::pool::Pool;
use llm::random::SplitMix64;
use llm::tokenizer::Tokenizer;
use std::sync::Arc;
use std::time::Instant;

const TEXTS: u64 = 16;
const LONGEST: usize = 64;
/// Masks that are kept: all of these texts' (16 × 64 masks of 6 KiB).
const MASK_BYTES: usize = 8 << 20;

const JSON: &str = r#"root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}"
array ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1F\x7F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= " "?
"#;

/// What a scheduler may be asked to choose among.
const DECISIONS: &str = r#"root ::= "keep" | "run task " number | "move task " number " to cpu " [0-9] | "boost task " number | "policy " policy
number ::= [0-9]{1,4}
policy ::= "round-robin" | "fair" | "deadline" | "transformer"
"#;

/// Times of one pass, in microseconds each.
#[derive(Default)]
struct Pass {
    computed: Vec<f64>,
    found: Vec<f64>,
    applied: Vec<f64>,
    accepted: Vec<f64>,
}

/// Prints the table.
pub fn bench() -> Result<()> {
    let file = std::fs::read(fetch::fetch()?)?;
    let gguf = Gguf::parse(&file).context("the model cannot be read")?;
    let mut memory = vec![0; 64 << 20];
    let tokenizer = Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)).context("no tokenizer")?;
    let begun = Instant::now();
    let trie = Arc::new(TokenTrie::new(&tokenizer)?);
    println!("machine     {}", host());
    println!(
        "vocabulary  {} tokens, as a tree in {:.1} ms, {} KiB",
        trie.vocabulary(),
        begun.elapsed().as_secs_f64() * 1e3,
        trie.bytes() >> 10
    );
    println!("texts       {TEXTS} of each grammar, drawn from its masks, at most {LONGEST} tokens\n");
    println!(
        "{:<10} {:>10} {:>7} {:>7} {:>13} {:>13} {:>10} {:>8} {:>8} {:>8} {:>11}",
        "grammar",
        "compile us",
        "states",
        "masks",
        "cold us/token",
        "worst mask us",
        "cold hits",
        "found us",
        "apply us",
        "accept us",
        "warm us/tok"
    );
    let commands = shell::commands::grammar();
    for (name, text) in [("commands", commands.as_str()), ("JSON", JSON), ("decisions", DECISIONS)] {
        row(name, text, &trie, &tokenizer)?;
    }
    println!(
        "\nmasks: how many were computed; cold hits: of the first pass; found, apply, accept: medians of the second pass"
    );
    Ok(())
}

fn row(name: &str, text: &str, trie: &Arc<TokenTrie>, tokenizer: &Tokenizer<'_>) -> Result<()> {
    let begun = Instant::now();
    let grammar = Arc::new(Grammar::parse(text)?);
    let compile = micros(begun);
    let mut constraint = Constraint::with_limit(grammar.clone(), trie.clone(), MASK_BYTES)?;
    let cold = pass(&mut constraint, trie, tokenizer)?;
    let first = constraint.masks();
    let warm = pass(&mut constraint, trie, tokenizer)?;
    let tokens = cold.accepted.len() as f64;
    let sum = |pass: &Pass| {
        [&pass.computed, &pass.found, &pass.applied, &pass.accepted]
            .iter()
            .flat_map(|times| times.iter())
            .sum::<f64>()
    };
    let middle = |times: &[f64]| median(times).unwrap_or(0.0);
    let worst = cold.computed.iter().copied().fold(0.0, f64::max);
    println!(
        "{name:<10} {compile:>10.0} {:>7} {:>7} {:>13.1} {worst:>13.0} {:>9.0}% {:>8.2} {:>8.1} {:>9.2} {:>11.1}",
        grammar.nodes(),
        first.misses,
        sum(&cold) / tokens,
        first.hits as f64 * 100.0 / (first.hits + first.misses) as f64,
        middle(&warm.found),
        middle(&warm.applied),
        middle(&warm.accepted),
        sum(&warm) / tokens,
    );
    Ok(())
}

/// Draws all texts, the same in every pass.
fn pass(constraint: &mut Constraint, trie: &TokenTrie, tokenizer: &Tokenizer<'_>) -> Result<Pass> {
    let mut pass = Pass::default();
    let mut logits = vec![0.0f32; trie.vocabulary()];
    for text in 0..TEXTS {
        let mut random = SplitMix64::new(text);
        constraint.restart()?;
        for _ in 0..LONGEST {
            let before = constraint.masks().misses;
            let begun = Instant::now();
            let mask = constraint.mask()?;
            let took = micros(begun);
            let begun = Instant::now();
            mask.apply(&mut logits);
            pass.applied.push(micros(begun));
            let chosen = random.next_u64() % mask.allowed().max(1) as u64;
            let token =
                (0..trie.vocabulary() as u32).filter(|&token| mask.contains(token)).nth(chosen as usize);
            let hit = constraint.masks().misses == before;
            if hit {
                pass.found.push(took)
            } else {
                pass.computed.push(took)
            }
            let token = token.context("no token is allowed")?;
            if tokenizer.is_end(token) {
                break;
            }
            let begun = Instant::now();
            constraint.accept(token, tokenizer)?;
            pass.accepted.push(micros(begun));
            logits.fill(0.0);
        }
    }
    Ok(pass)
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}
