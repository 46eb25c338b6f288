//! A byte-level BPE tokenizer of the `tokenizers` crate in the terms of GGUF: tokens, their kinds, merges.
//!
//! GGUF names a pre-tokenizer instead of describing it, so only the one that `auton tokenizer train --kind bpe` sets up
//! is taken: digits apart, then GPT-2's byte level, which llama.cpp and the kernel call "smollm".

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// llama.cpp's name of the pre-tokenizer.
pub const PRE_TOKENIZER: &str = "smollm";

/// llama.cpp's kinds of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The text by which the end of a document is known.
const END: &str = "<|endoftext|>";

/// A vocabulary as GGUF holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Token texts in GPT-2's byte alphabet; the index is the id.
    pub tokens: Vec<String>,
    /// Their kinds, by llama.cpp's numbers.
    pub kinds: Vec<i32>,
    /// Merges by rank, the two parts apart by a space.
    pub merges: Vec<String>,
    /// The id of `<|endoftext|>`.
    pub end: u32,
}

impl Vocabulary {
    /// Reads a `tokenizer.json` for a model whose embedding has `rows` rows; rows without a token get an unused one.
    pub fn parse(json: &str, rows: usize) -> Result<Vocabulary> {
        let file: Value = serde_json::from_str(json).context("it is not JSON")?;
        check(&file)?;
        let listed = file["model"]["vocab"].as_object().context("model.vocab is no object")?;
        let added = file["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut slots = vec![None; rows];
        let mut put = |text: &str, id: &Value, kind: i32| -> Result<()> {
            let id = id.as_u64().with_context(|| format!("token {text:?} has no id"))?;
            let slot = usize::try_from(id).ok().and_then(|id| slots.get_mut(id)).with_context(|| {
                format!("token {text:?} has id {id}, but the model's embedding has {rows} rows: they do not belong together")
            })?;
            match slot {
                Some((other, _)) if other != text => bail!("tokens {other:?} and {text:?} share id {id}"),
                _ => *slot = Some((text.to_owned(), kind)),
            }
            Ok(())
        };
        for (text, id) in listed {
            put(text, id, NORMAL)?;
        }
        for token in added {
            let text = token["content"].as_str().context("an added token has no content")?;
            let special = token["special"].as_bool() == Some(true);
            put(text, &token["id"], if special { CONTROL } else { USER_DEFINED })?;
        }
        let filled = slots.into_iter().enumerate();
        let (tokens, kinds): (Vec<String>, Vec<i32>) =
            filled.map(|(id, slot)| slot.unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED))).unzip();
        let end = tokens.iter().position(|text| text == END);
        let end = end.with_context(|| format!("it has no token {END}, which ends a document"))? as u32;
        Ok(Vocabulary { merges: merges(&file)?, tokens, kinds, end })
    }
}

/// Refuses what GGUF would silently take for something else.
fn check(file: &Value) -> Result<()> {
    let model = &file["model"];
    let kind = model["type"].as_str().unwrap_or("of an unknown kind");
    ensure!(
        kind == "BPE",
        "the tokenizer is {kind}, but GGUF export is for byte-level BPE: train one with `auton tokenizer train --kind bpe`"
    );
    for key in ["ignore_merges", "byte_fallback", "fuse_unk"] {
        ensure!(
            model[key].as_bool() != Some(true),
            "model.{key} is set, which GGUF's \"{PRE_TOKENIZER}\" does not do"
        );
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let empty = model[key].as_str().is_none_or(str::is_empty);
        ensure!(empty, "model.{key} is set, which GGUF's \"{PRE_TOKENIZER}\" does not do");
    }
    ensure!(file["normalizer"].is_null(), "it normalises texts, which the kernel's tokenizer does not");
    let stages = file["pre_tokenizer"]["pretokenizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = match stages {
        [digits, bytes] => {
            digits["type"] == "Digits"
                && digits["individual_digits"] == true
                && bytes["type"] == "ByteLevel"
                && bytes["add_prefix_space"] == false
                && bytes["use_regex"] != false
        }
        _ => false,
    };
    ensure!(
        fits,
        "its pre-tokenizer is not the one that GGUF calls \"{PRE_TOKENIZER}\" (each digit apart, then byte level without a space in front)"
    );
    Ok(())
}

/// The merges, which the crate writes as pairs, and wrote as texts in the past.
fn merges(file: &Value) -> Result<Vec<String>> {
    let listed = file["model"]["merges"].as_array().context("model.merges is no list")?;
    let text = |merge: &Value| match merge {
        Value::String(text) => Some(text.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
            _ => None,
        },
        _ => None,
    };
    let of_two = |text: &String| text.split(' ').count() == 2;
    let read = |(rank, merge)| {
        text(merge).filter(of_two).with_context(|| format!("merge {rank} is {merge}, not two texts"))
    };
    listed.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "added_tokens": [{"id": 0, "content": "<|endoftext|>", "special": true}, {"id": 3, "content": "AUTON", "special": false}],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "model": {"type": "BPE", "byte_fallback": false, "ignore_merges": false, "continuing_subword_prefix": null,
            "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 4}, "merges": [["a", "b"]]}
    }"#;

    #[test]
    fn tokens_stand_at_their_ids_and_holes_are_filled() {
        let found = Vocabulary::parse(GOOD, 6).unwrap();
        assert_eq!(found.tokens, ["<|endoftext|>", "a", "b", "AUTON", "ab", "[PAD5]"]);
        assert_eq!(found.kinds, [CONTROL, NORMAL, NORMAL, USER_DEFINED, NORMAL, UNUSED]);
        assert_eq!((found.merges, found.end), (vec!["a b".to_owned()], 0));
        let old = GOOD.replace(r#"["a", "b"]"#, r#""a b""#);
        assert_eq!(Vocabulary::parse(&old, 6).unwrap().merges, ["a b"]);
    }

    #[test]
    fn what_gguf_cannot_say_is_refused_with_the_reason() {
        let fault = |from: &str, to: &str| {
            let changed = GOOD.replace(from, to);
            assert_ne!(changed, GOOD);
            format!("{:#}", Vocabulary::parse(&changed, 6).unwrap_err())
        };
        assert!(fault(r#""type": "BPE""#, r#""type": "WordPiece""#).contains("WordPiece"));
        assert!(fault(r#""individual_digits": true"#, r#""individual_digits": false"#).contains("smollm"));
        assert!(fault(r#""add_prefix_space": false"#, r#""add_prefix_space": true"#).contains("smollm"));
        assert!(fault(r#""normalizer": null"#, r#""normalizer": {"type": "NFC"}"#).contains("normalises"));
        assert!(fault(r#""ab": 4"#, r#""ab": 9"#).contains("id 9"));
        assert!(fault(r#""ab": 4"#, r#""ab": 2"#).contains("share id 2"));
        assert!(fault(r#"["a", "b"]"#, r#"["a", "b", "c"]"#).contains("merge 0"));
        assert!(fault("<|endoftext|>", "<end>").contains("<|endoftext|>"));
        assert!(Vocabulary::parse("{", 6).unwrap_err().to_string().contains("not JSON"));
    }
}
