//! Every pre-tokenizer on texts of all scripts, emoji, code, and white space of all kinds: token numbers equal those
//! that llama.cpp gave (`tests/golden/pretokenizers.json`). The vocabularies are llama.cpp's, which
//! `cargo xtask model vocabularies` fetches.

mod common;

use common::{copy_value, golden, vocabularies};
use llm::gguf::{Gguf, write::GgufWriter};
use llm::pool::Pool;
use llm::tokenizer::{Special, Tokenizer, TokenizerError, pre_tokenizers};
use serde_json::Value;
use std::fs;
use std::path::Path;

const PRE: &str = "tokenizer.ggml.pre";

/// The recorded texts.
fn texts(recorded: &Value) -> Vec<&str> {
    let texts: Vec<&str> =
        recorded["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert!(texts.len() > 100);
    texts
}

fn vocabulary(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(format!("ggml-vocab-{name}.gguf"))).unwrap()
}

/// `file` with another pre-tokenizer's name.
fn renamed(file: &[u8], pre: &str) -> Vec<u8> {
    let mut copy = GgufWriter::new();
    for (key, value) in Gguf::parse(file).unwrap().metadata() {
        if key != PRE {
            copy_value(&mut copy, key, value);
        }
    }
    copy.string(PRE, pre);
    copy.finish()
}

fn encode_all(file: &[u8], texts: &[&str]) -> Result<Vec<Vec<u32>>, TokenizerError> {
    let mut memory = vec![0; 64 << 20];
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(file).unwrap(), &mut Pool::new(&mut memory))?;
    let encode = |text: &&str| {
        let mut ids = Vec::new();
        tokenizer.encode(text, Special::None, &mut ids);
        ids
    };
    Ok(texts.iter().map(encode).collect())
}

/// FNV-1a over the numbers of each text, `u32::MAX` behind each.
fn hash(ids: &[Vec<u32>]) -> String {
    let bytes = ids.iter().flat_map(|ids| ids.iter().chain([&u32::MAX])).flat_map(|id| id.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

#[test]
fn recorded_texts_on_four_vocabularies() {
    let Some(folder) = vocabularies() else { return };
    let recorded = golden("pretokenizers.json");
    let texts = texts(&recorded);
    for name in ["llama-bpe", "deepseek-llm", "falcon", "gemma-4"] {
        let found = encode_all(&vocabulary(&folder, name), &texts).unwrap();
        let expected = recorded["vocabularies"][name].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for ((text, found), expected) in texts.iter().zip(found).zip(expected) {
            let expected = expected.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
            assert_eq!(found, expected.collect::<Vec<_>>(), "{name}: {text:?}");
        }
    }
}

/// Qwen 2's vocabulary with each known name as its pre-tokenizer.
#[test]
fn every_name_cuts_as_llama_cpp_does() {
    let Some(folder) = vocabularies() else { return };
    let recorded = golden("pretokenizers.json");
    let texts = texts(&recorded);
    let names = recorded["names"].as_object().unwrap();
    let mut known: Vec<&str> = pre_tokenizers().collect();
    known.sort_unstable();
    assert!(names.keys().eq(known), "a name was recorded that we do not know, or the reverse");
    let qwen2 = vocabulary(&folder, "qwen2");
    for (name, expected) in names {
        let found = encode_all(&renamed(&qwen2, name), &texts).unwrap();
        assert_eq!(hash(&found), expected.as_str().unwrap(), "{name}");
    }
}

/// The names that llama.cpp's source compares with: known here, but for one that goes with a scheme of its own.
#[test]
fn no_name_of_llama_cpp_is_unknown() {
    let Some(folder) = vocabularies() else { return };
    let Ok(source) = fs::read_to_string(folder.join("../src/llama-vocab.cpp")) else { return };
    let names = source.split("tokenizer_pre == \"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut count = 0;
    for name in names {
        assert!(name == "whitespace" || pre_tokenizers().any(|known| known == name), "{name}");
        count += 1;
    }
    assert!(count > 90, "{count} names");
}

/// Without a name llama.cpp takes its default; another name, and another scheme, are refused in a sentence.
#[test]
fn vocabularies_without_a_name_or_of_other_schemes() {
    let Some(folder) = vocabularies() else { return };
    for name in ["aquila", "gpt-neox"] {
        let file = vocabulary(&folder, name);
        assert!(Gguf::parse(&file).unwrap().get(PRE).is_none());
        let text = ["x=`12345` wörld  \n"];
        assert_eq!(encode_all(&file, &text).unwrap(), encode_all(&renamed(&file, "default"), &text).unwrap());
    }
    let unknown =
        encode_all(&renamed(&vocabulary(&folder, "gpt-2"), "unheard-of"), &[]).unwrap_err().to_string();
    assert!(unknown.starts_with("pre-tokenizer \"unheard-of\" is not supported; known are default, gpt-2, "));
    for (name, scheme) in
        [("bert-bge", "\"bert\" (WordPiece)"), ("nomic-bert-moe", "\"t5\" (SentencePiece's Unigram)")]
    {
        let error = encode_all(&vocabulary(&folder, name), &[]).unwrap_err().to_string();
        assert!(error.contains(scheme), "{error}");
    }
}
