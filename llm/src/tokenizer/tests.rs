//! The tokenizer on small vocabularies made here: merging, special tokens, and every way a file can be wrong.

use super::{Special, Tokenizer, TokenizerError, bytes::byte_to_char};
use crate::gguf::{Gguf, write::GgufWriter};
use crate::pool::Pool;
use alloc::{format, string::String, string::ToString, vec, vec::Vec};
use proptest::prelude::*;

/// All bytes, a few merges, two control tokens and a user-defined one.
fn bpe_parts() -> (Vec<String>, Vec<i32>, Vec<String>) {
    let mut tokens: Vec<String> = (0..=255u8).map(|b| byte_to_char(b).to_string()).collect();
    tokens.extend(["he", "ll", "hell", "hello", "Ġhello", "aa", "aaaa"].map(String::from));
    let mut kinds = vec![1; tokens.len()];
    tokens.extend(["<|im_start|>", "<|im_end|>", "<user>"].map(String::from));
    kinds.extend([3, 3, 4]);
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ hello", "a a", "aa aa"].map(String::from).into();
    (tokens, kinds, merges)
}

fn bpe_file(change: impl FnOnce(&mut Vec<String>, &mut Vec<i32>, &mut Vec<String>)) -> Vec<u8> {
    let (mut tokens, mut kinds, mut merges) = bpe_parts();
    change(&mut tokens, &mut kinds, &mut merges);
    let mut file = GgufWriter::new();
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
    file.strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", merges);
    file.i32s("tokenizer.ggml.token_type", kinds).u32("tokenizer.ggml.eos_token_id", 264);
    file.finish()
}

fn spm_file() -> Vec<u8> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    let mut kinds = vec![2, 3, 3];
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
    kinds.extend([6; 256]);
    tokens.extend(["▁", "a", "b", "ab", "▁a", "▁ab"].map(String::from));
    kinds.extend([1; 6]);
    let mut scores = vec![0.0; 259];
    scores.extend([-9.0, -9.0, -9.0, -1.0, -2.0, -3.0]);
    let mut file = GgufWriter::new();
    file.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
    file.i32s("tokenizer.ggml.token_type", kinds).f32s("tokenizer.ggml.scores", scores);
    file.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
    file.finish()
}

fn with<R>(file: &[u8], run: impl FnOnce(Result<Tokenizer<'_>, TokenizerError>) -> R) -> R {
    let mut memory = vec![0; 64 << 10];
    run(Tokenizer::from_gguf(&Gguf::parse(file).unwrap(), &mut Pool::new(&mut memory)))
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

#[test]
fn merges_apply_best_rank_first() {
    with(&bpe_file(|_, _, _| {}), |tokenizer| {
        let tokenizer = tokenizer.unwrap();
        assert_eq!(encode(&tokenizer, "hello hello", Special::None), [259, 260]);
        assert_eq!(encode(&tokenizer, "aaaaaaa", Special::None), [262, 261, u32::from(b'a')]);
        assert_eq!(encode(&tokenizer, "", Special::Parse), []);
    });
}

#[test]
fn special_tokens_only_where_asked_for() {
    with(&bpe_file(|_, _, _| {}), |tokenizer| {
        let tokenizer = tokenizer.unwrap();
        assert_eq!(encode(&tokenizer, "<|im_start|>hello<|im_end|>", Special::Parse), [263, 259, 264]);
        let plain = encode(&tokenizer, "<|im_start|>hello<user>", Special::None);
        assert!(!plain.contains(&263));
        // A user-defined token is text that is always matched.
        assert_eq!(plain.last(), Some(&265));
        assert_eq!(decode(&tokenizer, &plain), b"<|im_start|>hello<user>");
        assert_eq!(decode(&tokenizer, &[263, 259, 264, 9999]), b"hello");
        assert!(tokenizer.is_end(264) && !tokenizer.is_end(263));
        assert_eq!(tokenizer.eot(), Some(264));
    });
}

#[test]
fn parts_are_one_text_with_a_rule_each() {
    with(&bpe_file(|_, _, _| {}), |tokenizer| {
        let tokenizer = tokenizer.unwrap();
        let mut ids = Vec::new();
        let parts = [
            ("<|im_start|>he", Special::Parse),
            ("llo<|im_end|>", Special::None),
            ("<|im_end|>", Special::Parse),
        ];
        tokenizer.encode_parts(parts, &mut ids);
        // "he" and "llo" are one word; the user's "<|im_end|>" is ten characters, the template's is a token.
        assert_eq!((&ids[..2], ids.last()), (&[263, 259][..], Some(&264)));
        assert_eq!(ids.iter().filter(|&&id| id == 264).count(), 1);
        assert_eq!(decode(&tokenizer, &ids), b"hello<|im_end|>");
    });
}

#[test]
fn sentencepiece_prefers_scores_and_falls_back_to_bytes() {
    with(&spm_file(), |tokenizer| {
        let tokenizer = tokenizer.unwrap();
        // "▁ab": ab (-1) beats ▁a (-2), then ▁ + ab.
        assert_eq!(encode(&tokenizer, "ab", Special::None), [264]);
        assert_eq!(encode(&tokenizer, "é", Special::Parse), [1, 259, 3 + 0xc3, 3 + 0xa9]);
        assert_eq!(decode(&tokenizer, &encode(&tokenizer, "a é b", Special::None)), " a é b".as_bytes());
    });
}

#[test]
fn one_endless_word_is_no_quadratic_work() {
    with(&bpe_file(|_, _, _| {}), |tokenizer| {
        let tokenizer = tokenizer.unwrap();
        let text = "a".repeat(1 << 18);
        assert_eq!(encode(&tokenizer, &text, Special::None), vec![262; 1 << 16]);
    });
}

#[test]
fn faults_of_files_are_named() {
    type Change = fn(&mut Vec<String>, &mut Vec<i32>, &mut Vec<String>);
    type Expect = fn(&TokenizerError) -> bool;
    use TokenizerError::*;
    let cases: [(Change, Expect); 8] = [
        (|t, _, _| t.clear(), |e| matches!(e, BadSize { tokens: 0, .. })),
        (|_, k, _| k.truncate(5), |e| matches!(e, LengthMismatch { found: 5, .. })),
        (|_, k, _| k[7] = 99, |e| matches!(e, BadTokenType { id: 7, found: 99 })),
        (|t, _, _| t[258] = "he".into(), |e| matches!(e, DuplicateToken { first: 256, second: 258, .. })),
        (|t, _, _| t[258] = "x".repeat(2000), |e| matches!(e, TokenTooLong { id: 258, .. })),
        (|_, _, m| m[1] = "nospace".into(), |e| matches!(e, BadMerge { rank: 1, .. })),
        (|_, _, m| m[2] = "he zz".into(), |e| matches!(e, UnknownMerge { rank: 2, .. })),
        (|_, _, m| m[2] = "a b".into(), |e| matches!(e, UnknownMerge { rank: 2, .. })),
    ];
    for (at, (change, expected)) in cases.into_iter().enumerate() {
        with(&bpe_file(change), |answer| {
            assert!(answer.as_ref().err().is_some_and(expected), "case {at}: {:?}", answer.err());
        });
    }
}

#[test]
fn missing_and_unknown_metadata_are_named() {
    let mut file = GgufWriter::new();
    with(&file.finish(), |answer| assert!(matches!(answer, Err(TokenizerError::Missing { .. }))));
    file.string("tokenizer.ggml.model", "rwkv");
    with(&file.finish(), |answer| assert!(matches!(answer, Err(TokenizerError::UnsupportedModel { .. }))));

    let mut file = GgufWriter::new();
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "unheard-of");
    file.strings("tokenizer.ggml.tokens", ["a"]);
    with(&file.finish(), |answer| {
        assert!(matches!(answer, Err(TokenizerError::UnsupportedPreTokenizer { .. })));
    });
    file.u32("tokenizer.ggml.bos_token_id", 1);
    with(&file.finish(), |answer| assert!(matches!(answer, Err(TokenizerError::IdOutOfRange { id: 1, .. }))));
}

#[test]
fn a_full_pool_is_an_error() {
    let file = bpe_file(|_, _, _| {});
    let gguf = Gguf::parse(&file).unwrap();
    let mut memory = vec![0; 1000];
    assert!(matches!(Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)), Err(TokenizerError::Pool(_))));
}

proptest! {
    #[test]
    fn decoding_gives_the_text_back(text in any::<String>()) {
        with(&bpe_file(|_, _, _| {}), |tokenizer| {
            let tokenizer = tokenizer.unwrap();
            let ids = encode(&tokenizer, &text, Special::None);
            assert_eq!(decode(&tokenizer, &ids), text.as_bytes());
        });
        with(&spm_file(), |tokenizer| {
            let tokenizer = tokenizer.unwrap();
            let ids = encode(&tokenizer, &text, Special::None);
            let prefix = if text.is_empty() { "" } else { " " };
            // `▁` itself is SentencePiece's space: it does not come back.
            assert_eq!(decode(&tokenizer, &ids), format!("{prefix}{text}").replace('▁', " ").into_bytes());
        });
    }
}
