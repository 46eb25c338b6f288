//! Token numbers equal llama.cpp's: the recorded strings and prompts on the real model, and llama.cpp's own
//! vocabulary vectors.

mod common;

use common::{data_folder, golden, medium_model, vocabularies};
use llm::answer::plan;
use llm::gguf::Gguf;
use llm::pool::Pool;
use llm::template::Template;
use llm::tokenizer::{Special, Tokenizer};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Builds the tokenizer of a GGUF file's bytes and runs `check` on it.
fn with_tokenizer(file: &[u8], check: impl FnOnce(&Tokenizer<'_>)) {
    let mut memory = vec![0; 64 << 20];
    check(&Tokenizer::from_gguf(&Gguf::parse(file).unwrap(), &mut Pool::new(&mut memory)).unwrap());
}

fn encode(tokenizer: &Tokenizer<'_>, text: &str, special: Special) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer.encode(text, special, &mut ids);
    ids
}

fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32]) -> Vec<u8> {
    let mut text = Vec::new();
    ids.iter().for_each(|&id| tokenizer.decode(id, &mut text));
    text
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn strings_and_prompts_equal_llama_cpp() {
    let strings = golden("tokenizer.json");
    let prompts = golden("q4_1-avx512-kvf16.json");
    let Some(model) = medium_model() else { return };
    let cases: Vec<&Value> =
        strings.as_array().unwrap().iter().chain(prompts["prompts"].as_array().unwrap()).collect();
    assert_eq!(cases.len(), 46);
    with_tokenizer(&model, |tokenizer| {
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let plain = encode(tokenizer, text, Special::None);
            assert_eq!(plain, ids(&case["tokens_plain"]), "plain {text:?}");
            assert_eq!(
                encode(tokenizer, text, Special::Parse),
                ids(&case["tokens_special"]),
                "special {text:?}"
            );
            assert_eq!(decode(tokenizer, &plain), text.as_bytes());
        }
    });
}

#[test]
fn the_model_s_own_numbers() {
    let Some(model) = medium_model() else { return };
    with_tokenizer(&model, |tokenizer| {
        assert_eq!(tokenizer.vocab_size(), 49152);
        assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.eot()), (Some(1), Some(2), Some(2)));
        assert!(tokenizer.is_end(2) && tokenizer.is_end(0) && !tokenizer.is_end(1) && !tokenizer.is_end(17));
    });
}

/// The vocabulary lacks 21 single bytes, none of which common text has; llama.cpp leaves them out, and so do we.
#[test]
fn every_character_with_known_bytes_comes_back() {
    let Some(model) = medium_model() else { return };
    with_tokenizer(&model, |tokenizer| {
        let known: Vec<bool> = (0..=255u8)
            .map(|byte| {
                (0..tokenizer.vocab_size() as u32).any(|id| {
                    let mut out = Vec::new();
                    tokenizer.decode(id, &mut out);
                    out == [byte]
                })
            })
            .collect();
        let mut lost = 0;
        for c in (0..=char::MAX as u32).filter_map(char::from_u32) {
            let text = format!("a {c}b");
            if text.bytes().all(|byte| known[usize::from(byte)]) {
                assert_eq!(
                    decode(tokenizer, &encode(tokenizer, &text, Special::None)),
                    text.as_bytes(),
                    "{c:?}"
                );
            } else {
                lost += 1;
            }
        }
        println!(
            "{} of 256 bytes known, {lost} characters cannot be written",
            known.iter().filter(|k| **k).count()
        );
        assert!(
            (' '..='~')
                .chain("\n\t\réß你🙂".chars())
                .all(|c| c.to_string().bytes().all(|b| known[usize::from(b)]))
        );
    });
}

/// Checks every line of the `.inp` and `.out` files beside llama.cpp's vocabulary `name`; gives their number.
fn check_vectors(folder: &Path, name: &str) -> usize {
    let path = folder.join(format!("ggml-vocab-{name}.gguf"));
    let inputs = fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
    let outputs = fs::read_to_string(path.with_extension("gguf.out")).unwrap();
    let inputs: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let outputs: Vec<&str> = outputs.lines().collect();
    // The file of inputs ends with a separator, behind which nothing is tested.
    assert!(outputs.len() > 40 && (outputs.len()..=outputs.len() + 1).contains(&inputs.len()), "{name}");
    with_tokenizer(&fs::read(&path).unwrap(), |tokenizer| {
        for (text, line) in inputs.iter().zip(&outputs) {
            let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(encode(tokenizer, text, Special::None), expected, "{name}: {text:?}");
        }
    });
    outputs.len()
}

/// The vocabularies that lie with the recorded data.
#[test]
fn vocabulary_vectors_equal_llama_cpp() {
    let Some(folder) = data_folder("gguf_tok") else { return };
    for name in ["gpt-2", "llama-spm", "phi-3"] {
        check_vectors(&folder, name);
    }
}

/// All vocabularies of a scheme that we have in llama.cpp's source, which `xtask model vocabularies` fetches.
#[test]
fn every_vocabulary_of_llama_cpp_s_source() {
    let Some(folder) = vocabularies() else { return };
    const NAMES: [&str; 14] = [
        "command-r",
        "deepseek-coder",
        "deepseek-llm",
        "falcon",
        "gemma-4",
        "gpt-2",
        "llama-bpe",
        "llama-spm",
        "mpt",
        "phi-3",
        "qwen2",
        "qwen35",
        "refact",
        "starcoder",
    ];
    let mut checked = 0;
    for name in NAMES {
        let lines = check_vectors(&folder, name);
        println!("{name:<16} {lines} lines equal");
        checked += lines;
    }
    println!("{checked} lines in all");
}

/// The chat prompts that llama.cpp was given are what our template makes of the questions, token for token.
#[test]
fn chat_prompts_equal_the_recorded_ones() {
    let prompts = golden("q4_1-avx512-kvf16.json");
    let Some(model) = medium_model() else { return };
    let template = Template::from_gguf(&Gguf::parse(&model).unwrap());
    let mut chats = 0;
    with_tokenizer(&model, |tokenizer| {
        for prompt in prompts["prompts"].as_array().unwrap() {
            let text = prompt["text"].as_str().unwrap();
            let Some((_, rest)) = text.split_once("<|im_start|>user\n") else { continue };
            let question = rest.split_once("<|im_end|>").unwrap().0;
            let plan = plan(question, &[]);
            assert_eq!(
                plan.prompt_tokens(tokenizer, &template),
                ids(&prompt["tokens_special"]),
                "{question}"
            );
            assert_eq!(decode(tokenizer, &plan.forced_tokens(tokenizer)), plan.forced().as_bytes());
            chats += 1;
        }
    });
    assert_eq!(chats, 3);
}
