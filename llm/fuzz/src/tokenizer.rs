//! Text on small vocabularies, one for each known pre-tokenizer: no panic, known tokens, and decoding gives the text
//! back. The first byte of an input chooses the vocabulary, the rest is the text.

use crate::random::Random;
use crate::run::Target;
use llm::gguf::Gguf;
use llm::gguf::write::GgufWriter;
use llm::pool::Pool;
use llm::tokenizer::{Special, Tokenizer, pre_tokenizers};

/// What decoding the tokens of a text gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    /// The text.
    Same,
    /// The text, with a space for each `▁`.
    Spaces,
    /// The same, behind a space.
    SpaceBefore,
}

/// Tokenizers with every byte, so that nothing may be lost.
pub struct TokenizerTarget {
    tokenizers: Vec<(Tokenizer<'static>, Back)>,
}

impl TokenizerTarget {
    /// Builds the vocabularies; they live as long as the program.
    pub fn new() -> Self {
        let build = |(file, back): (Vec<u8>, Back)| {
            let gguf = Gguf::parse(Box::leak(file.into_boxed_slice())).expect("a valid file");
            let memory = Box::leak(vec![0; 64 << 10].into_boxed_slice());
            (Tokenizer::from_gguf(&gguf, &mut Pool::new(memory)).expect("a valid vocabulary"), back)
        };
        let by_merges = pre_tokenizers().map(|pre| match pre {
            "gemma4" | "granite-embed-multi-311m" | "sarvam-moe" => (characters(pre), Back::Spaces),
            _ => (bpe(pre), Back::Same),
        });
        let by_scores = ["llama", "Phi-3"].map(|name| (spm(name), Back::SpaceBefore));
        Self { tokenizers: by_scores.into_iter().chain(by_merges).map(build).collect() }
    }
}

impl Target for TokenizerTarget {
    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let texts = [
            "hello world",
            "I'll 12345 x86_64 ²³ ⅷ",
            "你好，世界 🙂",
            "<|im_start|>user\nhi<|im_end|>",
            "aaaaaaaaaaaaaaaa",
            "  \t\n\r\n x ",
            "camelCase HTTPServer's #include <a>",
            "e\u{301} 가나다 ひらがな ไทย नमस्ते",
            "",
        ];
        let seed = |choice: usize, text: &str| [&[choice as u8], text.as_bytes()].concat();
        let choices = 0..self.tokenizers.len();
        choices.flat_map(|choice| texts.map(|text| seed(choice, text))).collect()
    }

    fn words(&self) -> Vec<&'static [u8]> {
        vec![
            b"<|im_start|>",
            b"<user>",
            b"'ll",
            b"\xc2\xa0",
            b"\xe2\x96\x81",
            b"aaaaaaaa",
            b"  ",
            b"\xd9\xa3",
            b"\xe4\xbd\xa0",
            b"\xe3\x80\x80",
            b"\xcc\x81",
            b"\r\n",
            b"12345678",
            b"'LL",
            b"#include",
            b"<sentinel:1>",
            b"IMGIMGABZ",
        ]
    }

    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let length = random.below(64);
        let choice = random.below(self.tokenizers.len()) as u8;
        let text: String = (0..length)
            .filter_map(|_| {
                char::from_u32((random.next() >> 11) as u32 & random.pick(&[0x7f, 0x7ff, 0xffff, 0x1f_ffff]))
            })
            .collect();
        Some([&[choice], text.as_bytes()].concat())
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let Some((&choice, bytes)) = input.split_first() else { return "nothing".into() };
        let text = String::from_utf8_lossy(bytes);
        let (tokenizer, back) = &self.tokenizers[usize::from(choice) % self.tokenizers.len()];
        let (mut ids, mut parsed) = (Vec::new(), Vec::new());
        tokenizer.encode(&text, Special::None, &mut ids);
        tokenizer.encode(&text, Special::Parse, &mut parsed);
        assert!(ids.iter().chain(&parsed).all(|&id| (id as usize) < tokenizer.vocab_size()));
        let mut decoded = Vec::new();
        ids.iter().for_each(|&id| tokenizer.decode(id, &mut decoded));
        let expected = match back {
            Back::Same => text.to_string(),
            Back::Spaces => text.replace('▁', " "),
            Back::SpaceBefore if text.is_empty() => String::new(),
            Back::SpaceBefore => format!(" {text}").replace('▁', " "),
        };
        assert_eq!(decoded, expected.as_bytes(), "decoding gives the text back");
        if text.len() == bytes.len() { "text".into() } else { "text with replaced bytes".into() }
    }
}

fn alphabet() -> Vec<String> {
    let printable = |b: &u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut other = 0x100..;
    (0..256u32)
        .map(|b| if printable(&b) { b } else { other.next().unwrap_or(0) })
        .filter_map(char::from_u32)
        .map(String::from)
        .collect()
}

/// A byte-level vocabulary: every byte, a few words, control tokens.
pub fn bpe(pre: &str) -> Vec<u8> {
    let mut tokens = alphabet();
    tokens.extend(
        ["he", "ll", "hell", "hello", "aa", "aaaa", "aaaaaaaa", "<|im_start|>", "<|im_end|>", "<user>"]
            .map(String::from),
    );
    let mut kinds = vec![1; 263];
    kinds.extend([3, 3, 4]);
    let mut file = GgufWriter::new();
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre);
    file.strings("tokenizer.ggml.tokens", tokens).i32s("tokenizer.ggml.token_type", kinds);
    file.strings("tokenizer.ggml.merges", ["h e", "l l", "he ll", "hell o", "a a", "aa aa", "aaaa aaaa"]);
    file.finish()
}

/// A vocabulary of characters, with the raw bytes for what it lacks.
fn characters(pre: &str) -> Vec<u8> {
    let mut tokens: Vec<String> = ["<pad>", "<eos>", "<bos>"].map(String::from).into();
    let mut kinds = vec![3; 3];
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    kinds.extend([6; 256]);
    tokens.extend(["▁", "a", "l", "ll", "aa", "▁a", "aaaa", "\n", "\n\n", "é"].map(String::from));
    kinds.extend([1; 10]);
    let mut file = GgufWriter::new();
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre);
    file.strings("tokenizer.ggml.tokens", tokens).i32s("tokenizer.ggml.token_type", kinds);
    file.strings("tokenizer.ggml.merges", ["l l", "a a", "▁ a", "aa aa", "\n \n"]);
    file.u32("tokenizer.ggml.bos_token_id", 2);
    file.finish()
}

fn spm(name: &str) -> Vec<u8> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    tokens.extend(["▁", "a", "l", "ll", "aa", "▁a", "aaaa"].map(String::from));
    let mut kinds = vec![2, 3, 3];
    kinds.extend([6; 256]);
    kinds.extend([1; 7]);
    let mut file = GgufWriter::new();
    file.string("general.name", name);
    file.string("tokenizer.ggml.model", "llama")
        .f32s("tokenizer.ggml.scores", (0..tokens.len()).map(|id| -(id as f32)));
    file.strings("tokenizer.ggml.tokens", tokens).i32s("tokenizer.ggml.token_type", kinds);
    file.u32("tokenizer.ggml.bos_token_id", 1);
    file.finish()
}
