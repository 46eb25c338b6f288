//! Grammars: what the notation means, what is refused, and the masks over a vocabulary against a simple matcher.

mod common;

use common::simple_grammar::{Simple, grammars};
use llm::gguf::{Gguf, write::GgufWriter};
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::pool::Pool;
use llm::random::SplitMix64;
use llm::tokenizer::Tokenizer;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// `tests/vectors/grammar/cases.json`; its `check.py` shows that llama.cpp gives the same verdicts.
#[test]
fn the_notation_means_what_it_does_in_llama_cpp() {
    let cases = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/grammar/cases.json"));
    let cases: serde_json::Value = serde_json::from_slice(&cases.unwrap()).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 70);
    for case in cases {
        let text = case["grammar"].as_str().unwrap();
        match (Grammar::parse(text), case["error"].as_str()) {
            (Err(error), Some(wanted)) => {
                assert!(error.to_string().contains(wanted), "{text}\n{error}\n{wanted}")
            }
            (Ok(grammar), None) => {
                for (key, verdict) in [("yes", true), ("no", false)] {
                    for text in case[key].as_array().unwrap() {
                        let text = text.as_str().unwrap();
                        assert_eq!(
                            grammar.matches(text.as_bytes()),
                            verdict,
                            "{text:?} under {}",
                            case["grammar"]
                        );
                    }
                }
            }
            (found, _) => panic!("{text}\n{:?}", found.map(|_| "is a grammar")),
        }
    }
}

/// All of llama.cpp's own grammars are grammars here, where `cargo xtask bench llm` has fetched its source.
#[test]
fn grammars_of_llama_cpp_parse() {
    let found = std::env::home_dir().and_then(|home| {
        let mut folders =
            std::fs::read_dir(home.join(".cache/auton")).ok()?.flatten().map(|entry| entry.path());
        let source = folders.find(|path| path.to_string_lossy().contains("llama.cpp-"))?;
        let package = std::fs::read_dir(source)
            .ok()?
            .flatten()
            .map(|entry| entry.path().join("vendor/llama.cpp/grammars"));
        package.into_iter().find(|folder| folder.exists())
    });
    let Some(folder) = found else {
        eprintln!("skipped: llama.cpp's source is not there (cargo xtask bench llm fetches it)");
        return;
    };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "gbnf") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let grammar = Grammar::parse(&text).unwrap_or_else(|error| panic!("{:?}: {error}", entry.path()));
            println!("{:?}: {} nodes", entry.file_name(), grammar.nodes());
            count += 1;
        }
    }
    assert!(count >= 8, "{count} grammars");
}

#[test]
fn hostile_grammars_are_refused_or_bounded() {
    let refused = |text: &str| Grammar::parse(text).unwrap_err().to_string();
    assert!(refused(&"(".repeat(100)).contains("expected a rule's name"));
    assert!(refused(&format!("root ::= {}", "(".repeat(10_000))).contains("nested deeper"));
    assert!(refused(&format!("root ::= \"a\"{}", "*".repeat(10_000))).contains("nested deeper"));
    assert!(refused(&format!("root ::= \"{}\"", "a".repeat(70_000))).contains("65536 bytes"));
    assert!(refused("root ::= ((\"\"{60000}){60000}){60000}").contains("make it simpler"));
    assert!(refused("root ::= (([a-z]{60000}){60000}){60000}").contains("make it simpler"));
    let many: String = (0..2000).map(|i| format!("r{i} ::= \"a\"\n")).collect();
    assert!(refused(&format!("root ::= r1\n{many}")).contains("1024 rules"));
    // A chain of rules that may be empty, and ends where it began.
    let chain: String = (0..1000).map(|i| format!("r{i} ::= r{} | \"\"\n", (i + 1) % 1000)).collect();
    assert!(refused(&format!("root ::= r0 \"a\"\n{chain}")).contains("begin with itself"));

    // Highly ambiguous: all ways at once are few places all the same.
    let ambiguous = Grammar::parse("root ::= (\"a\" | \"a\" | \"aa\" | \"a\"*)* \"b\"").unwrap();
    assert!(ambiguous.matches(&[&[b'a'; 5000][..], b"b"].concat()));
    // Deep nesting ends at the limit of depth, and is only as slow as it is long.
    let nested = Grammar::parse("root ::= \"(\" root \")\" | \"x\"").unwrap();
    let deep = |n: usize| [vec![b'('; n], b"x".to_vec(), vec![b')'; n]].concat();
    assert!(nested.matches(&deep(512)) && !nested.matches(&deep(513)));
    // By recursion at the end there is no depth.
    let list = Grammar::parse("root ::= \"a\" root | \"b\"").unwrap();
    assert!(list.matches(&[&[b'a'; 100_000][..], b"b"].concat()));
    // More states than are kept.
    let counted = Grammar::parse("root ::= [ab]{0,9000} \"c\"").unwrap();
    assert!(counted.matches(&[&[b'a'; 9000][..], b"c"].concat()));
    assert!(!counted.matches(&[&[b'a'; 9001][..], b"c"].concat()));
}

/// Texts of tokens of the vocabulary: every byte, and pieces that begin or end inside a character.
const PIECES: [&[u8]; 22] = [
    b"ab",
    b"abc",
    b"bc",
    b"aa",
    b"(a",
    b"((",
    b"))",
    b"a)",
    b")b",
    b"a,",
    b",a",
    b"\xe8\xaa\x9e\xe8",
    b"\xc3\xa9",
    b"\xa9a",
    b"\xe8\xaa",
    b"\xe8\xaa\x9e",
    b"a\xe8",
    b"\xf0\x9f",
    b"\x99\x82",
    b"\xc3\xa9\xe8\xaa\x9eb",
    b"cab",
    b"  ",
];

/// A byte-level vocabulary: 256 bytes, [`PIECES`], a control token and the end of text.
fn vocabulary() -> Vec<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = 0x100u32..;
    let letters: Vec<char> = (0..256u32)
        .map(|b| char::from_u32(if printable(b) { b } else { others.next().unwrap() }).unwrap())
        .collect();
    let spell = |bytes: &[u8]| bytes.iter().map(|&b| letters[usize::from(b)]).collect::<String>();
    let mut tokens: Vec<String> = (0..=255u8).map(|b| spell(&[b])).collect();
    tokens.extend(PIECES.iter().map(|piece| spell(piece)));
    tokens.extend(["<control>", "<|endoftext|>"].map(String::from));
    let size = tokens.len();
    let mut file = GgufWriter::new();
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
    file.i32s("tokenizer.ggml.token_type", (0..size).map(|i| if i < size - 2 { 1 } else { 3 }));
    file.strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", ["a b"; 0]);
    file.u32("tokenizer.ggml.eos_token_id", size as u32 - 1);
    file.finish()
}

fn bytes_of(tokenizer: &Tokenizer<'_>, token: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokenizer.decode(token, &mut bytes);
    bytes
}

/// Bounds are for one token: many texts under one constraint, with its masks known or forgotten, never reach them.
#[test]
fn a_constraint_does_not_wear_out() {
    let file = vocabulary();
    let mut memory = vec![0; 1 << 20];
    let gguf = Gguf::parse(&file).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)).unwrap();
    let trie = Arc::new(TokenTrie::new(&tokenizer).unwrap());
    let grammar = Grammar::parse("root ::= [ab]{0,20000} \"c\"").unwrap();
    let mut constraint = Constraint::new(Arc::new(grammar), trie).unwrap();
    for _ in 0..100_000 {
        constraint.restart().unwrap();
        assert!(constraint.mask().unwrap().contains(b'c'.into()));
        constraint.accept(b'c'.into(), &tokenizer).unwrap();
        assert!(constraint.is_complete());
    }
    // Without masks, through more states than are kept.
    constraint.restart().unwrap();
    for _ in 0..10_000 {
        constraint.accept(b'b'.into(), &tokenizer).unwrap();
    }
    assert!(constraint.mask().unwrap().contains(b'c'.into()));
    assert!(constraint.state_bytes() < 4 << 20, "{}", constraint.state_bytes());
}

/// Lets `random` choose among the allowed tokens, and compares every mask with what the simple matcher says of each token.
fn follow(simple: &Simple, seed: u64, cache: usize, tokens: usize) -> Result<(), TestCaseError> {
    let file = vocabulary();
    let mut memory = vec![0; 1 << 20];
    let gguf = Gguf::parse(&file).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)).unwrap();
    let trie = Arc::new(TokenTrie::new(&tokenizer).unwrap());
    let written = simple.to_string();
    let grammar =
        Grammar::parse(&written).map_err(|error| TestCaseError::fail(format!("{error}\n{written}")))?;
    let grammar = Arc::new(grammar);
    let mut constraint = Constraint::with_limit(grammar.clone(), trie.clone(), cache).unwrap();
    let mut random = SplitMix64::new(seed);
    for _text in 0..2 {
        constraint.restart().unwrap();
        let mut text = Vec::new();
        for _ in 0..tokens {
            let may_end = simple.matches(&text);
            prop_assert_eq!(constraint.may_end(), may_end, "{:?} under\n{}", text, &written);
            let mask = constraint.mask().unwrap();
            let mut allowed = Vec::new();
            for token in 0..tokenizer.vocab_size() as u32 {
                let bytes = bytes_of(&tokenizer, token);
                let longer = [&text[..], &bytes].concat();
                let possible = if tokenizer.is_end(token) {
                    may_end
                } else {
                    !bytes.is_empty() && simple.begins(&longer)
                };
                prop_assert_eq!(
                    mask.contains(token),
                    possible,
                    "{:?} + {:?} under\n{}",
                    text,
                    bytes,
                    &written
                );
                if possible {
                    allowed.push(token);
                }
            }
            prop_assert_eq!(mask.allowed(), allowed.len());
            prop_assert_eq!(mask.only(), (allowed.len() == 1).then(|| allowed[0]));
            prop_assert!(!allowed.is_empty(), "every byte is a token, so there is always a way on");
            // What is not allowed is refused, and changes nothing.
            if let Some(other) = (0..tokenizer.vocab_size() as u32).find(|token| !allowed.contains(token)) {
                prop_assert!(constraint.accept(other, &tokenizer).is_err());
            }
            let token = allowed[(random.next_u64() % allowed.len() as u64) as usize];
            constraint.accept(token, &tokenizer).unwrap();
            if tokenizer.is_end(token) {
                prop_assert!(grammar.matches(&text) && String::from_utf8(text.clone()).is_ok());
                break;
            }
            text.extend(bytes_of(&tokenizer, token));
        }
    }
    let usage = constraint.masks();
    prop_assert!(usage.bytes <= usage.limit.max(trie.vocabulary().div_ceil(64) * 8));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Every mask along a random text holds exactly the tokens that keep the text possible.
    #[test]
    fn masks_hold_the_tokens_that_keep_the_text_possible(simple in grammars(), seed: u64, cache in 0usize..4096) {
        follow(&simple, seed, cache, 10)?;
    }

    #[test]
    fn texts_match_as_the_simple_matcher_says(
        simple in grammars(),
        texts in prop::collection::vec("[abc(),é語🙂 ]{0,8}", 12),
        seed: u64,
    ) {
        let written = simple.to_string();
        let grammar = Grammar::parse(&written).map_err(|error| TestCaseError::fail(format!("{error}\n{written}")))?;
        for text in &texts {
            prop_assert_eq!(grammar.matches(text.as_bytes()), simple.matches(text.as_bytes()), "{:?} under\n{}", text, &written);
        }
        let mut random = SplitMix64::new(seed);
        for _ in 0..12 {
            let text = simple.draw(&mut random);
            prop_assert!(simple.matches(text.as_bytes()) && grammar.matches(text.as_bytes()), "{:?} of\n{}", text, &written);
        }
    }

    #[test]
    fn any_text_is_a_grammar_or_an_error(text in "(root ::= )?[a-c\"\\[\\](){}|*+?.,0-9\\\\^ \n:=#é-]{0,40}") {
        match Grammar::parse(&text) {
            Ok(grammar) => drop(grammar.matches(b"abc")),
            Err(error) => {
                prop_assert!(!error.to_string().contains('\n'));
                let line = text.split('\n').nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{error}");
            }
        }
    }
}
