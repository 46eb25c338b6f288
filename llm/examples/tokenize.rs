//! Tokens of a text file, and how fast they come: `tokenize MODEL TEXT [ids]`.
//!
//! With `ids` the token numbers are printed, as `llama-tokenize --ids --no-bos --no-parse-special` does.

use llm::gguf::Gguf;
use llm::pool::{Pool, Purpose};
use llm::tokenizer::{Special, Tokenizer};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let file = std::fs::read(arguments.get(1).ok_or("no model file given")?)?;
    let text = std::fs::read_to_string(arguments.get(2).ok_or("no text file given")?)?;
    let mut memory = vec![0u8; 256 << 20];
    let mut pool = Pool::new(&mut memory);
    let begun = Instant::now();
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&file)?, &mut pool)?;
    let built = begun.elapsed();

    let mut ids = Vec::new();
    if arguments.get(3).is_some_and(|word| word == "ids") {
        tokenizer.encode(&text, Special::None, &mut ids);
        println!("{ids:?}");
        return Ok(());
    }
    // The best of several: what a quiet moment of the machine gives.
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        ids.clear();
        let begun = Instant::now();
        tokenizer.encode(&text, Special::None, &mut ids);
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let tables = pool.usage().used(Purpose::Tokenizer) as f64 / (1 << 20) as f64;
    println!("built in {:.1} ms, {tables:.1} MiB of tables", built.as_secs_f64() * 1e3);
    println!("{} bytes, {} tokens, {:.2} MB/s", text.len(), ids.len(), text.len() as f64 / best / 1e6);
    Ok(())
}
