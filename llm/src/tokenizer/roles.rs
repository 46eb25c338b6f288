//! Which tokens begin, end and structure a text: by the file's word where it gives one, else by their texts.
//!
//! The lists of texts are llama.cpp's, and so is what follows from them: a token that ends an answer is a control
//! token even where a converter has left it an ordinary one.

use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::TokenizerError;
use crate::gguf::Gguf;

/// The metadata keys that name a token, as `gguf`'s `constants.py` and llama.cpp's `llama-arch.cpp` list them, beside
/// those below.
const OTHER_KEYS: [&str; 6] = [
    // The format's own spelling, and the right one.
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.separator_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.mask_token_id",
    UNKNOWN,
];
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const EOT: &str = "tokenizer.ggml.eot_token_id";
const EOM: &str = "tokenizer.ggml.eom_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";

/// Tokens by which models end a turn.
const EOT_TEXTS: [&str; 11] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Tokens by which models end an answer, whatever the file calls its end; beside [`EOT_TEXTS`].
const END_TEXTS: [&str; 11] = [
    "</s>",
    "<|eom_id|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

/// A role in filling gaps: the keys that name its token (the second is deprecated), and the texts it goes by.
struct Gap {
    keys: [&'static str; 2],
    texts: &'static [&'static str],
    /// Whether it ends an answer.
    ends: bool,
}

const GAPS: [Gap; 6] = [
    Gap {
        keys: ["tokenizer.ggml.prefix_token_id", "tokenizer.ggml.fim_pre_token_id"],
        texts: &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        ends: false,
    },
    Gap {
        keys: ["tokenizer.ggml.suffix_token_id", "tokenizer.ggml.fim_suf_token_id"],
        texts: &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        ends: false,
    },
    Gap {
        keys: ["tokenizer.ggml.middle_token_id", "tokenizer.ggml.fim_mid_token_id"],
        texts: &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        ends: false,
    },
    Gap {
        keys: ["tokenizer.ggml.fim_pad_token_id"; 2],
        texts: &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
        ends: true,
    },
    Gap {
        keys: ["tokenizer.ggml.fim_rep_token_id"; 2],
        texts: &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
        ends: true,
    },
    Gap { keys: ["tokenizer.ggml.fim_sep_token_id"; 2], texts: &["<|file_sep|>"], ends: true },
];

/// Texts that a model of OpenAI's open weights prints as its answer's structure.
const SHOWN_TEXTS: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Room for every token that may end an answer.
const MAX_ENDS: usize = EOT_TEXTS.len() + END_TEXTS.len() + GAPS.len() + 3;

/// The tokens with a role, and which of them end an answer.
pub(super) struct Roles {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub eot: Option<u32>,
    pub unknown: Option<u32>,
    ends: [Option<u32>; MAX_ENDS],
}

impl Roles {
    /// Reads the keys, all of which are checked, and corrects the kinds of tokens whose texts tell their role.
    /// `defaults`: beginning, end and unknown of the scheme, for files that do not name them.
    pub fn new(
        gguf: &Gguf<'_>,
        vocabulary: &mut Vocabulary<'_>,
        defaults: [Option<u32>; 3],
    ) -> Result<Self, TokenizerError> {
        let tokens = vocabulary.len();
        let id = |key| token_id(gguf, key, tokens);
        // Also those that are not used: a number outside the vocabulary is a sign of a damaged file.
        for key in OTHER_KEYS {
            id(key)?;
        }
        let [bos, eos, unknown] = defaults.map(|id| id.filter(|&id| (id as usize) < tokens));
        let mut roles = Self {
            bos: id(BOS)?.or(bos),
            eos: id(EOS)?.or(eos),
            eot: id(EOT)?,
            unknown: id(UNKNOWN)?.or(unknown),
            ends: [None; MAX_ENDS],
        };
        let eom = id(EOM)?;
        for gap in &GAPS {
            let [old, new] = gap.keys;
            let named = id(new)?.or(id(old)?);
            let found = || gap.texts.iter().find_map(|text| vocabulary.find(text.as_bytes()));
            let by_text = if named.is_none() { found() } else { None };
            if let Some(id) = by_text {
                vocabulary.correct(id, TokenKind::Control);
            }
            if gap.ends {
                roles.end_with(named.or(by_text));
            }
        }
        for text in EOT_TEXTS.into_iter().chain(END_TEXTS) {
            if let Some(id) = vocabulary.find(text.as_bytes()) {
                vocabulary.correct(id, TokenKind::Control);
                roles.end_with(Some(id));
            }
        }
        for text in SHOWN_TEXTS {
            if let Some(id) = vocabulary.find(text.as_bytes()) {
                vocabulary.correct(id, TokenKind::UserDefined);
            }
        }
        roles.eot =
            roles.eot.or_else(|| EOT_TEXTS.into_iter().find_map(|text| vocabulary.find(text.as_bytes())));
        for id in [roles.eos, roles.eot, eom] {
            roles.end_with(id);
        }
        roles.take_back(vocabulary);
        Ok(roles)
    }

    /// Two texts that end an answer in most vocabularies, and not in some: told by other tokens of those.
    fn take_back(&mut self, vocabulary: &mut Vocabulary<'_>) {
        let find = |text: &str| vocabulary.find(text.as_bytes()).filter(|&id| self.is_end(id));
        let has = |text| find(text).is_some();
        let (end, sentence) = (find("<|end|>"), find("</s>"));
        let harmony = has("<|return|>") && (has("<|call|>") || has("<|calls|>"));
        let solar = has("<|flush|>") && (has("<|call|>") || has("<|calls|>"));
        let ordinary_sentence = has("<|tool_response>") || has("<|plamo:eos|>");
        if let Some(id) = end.filter(|_| harmony || solar) {
            vocabulary.correct(id, TokenKind::UserDefined);
            self.ends.iter_mut().filter(|end| **end == Some(id)).for_each(|end| *end = None);
        }
        if let Some(id) = sentence.filter(|_| ordinary_sentence) {
            vocabulary.correct(id, TokenKind::Normal);
            self.ends.iter_mut().filter(|end| **end == Some(id)).for_each(|end| *end = None);
        }
    }

    /// Whether `id` ends an answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&Some(id))
    }

    fn end_with(&mut self, id: Option<u32>) {
        if let Some(slot) = self.ends.iter_mut().find(|end| end.is_none() || **end == id) {
            *slot = id;
        }
    }
}

/// The token number that metadata `key` gives, which must be inside the vocabulary; `None` where the file has none.
fn token_id(gguf: &Gguf<'_>, key: &'static str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
    /// llama.cpp's `LLAMA_TOKEN_NULL`, which its converters write for "none".
    const NONE: u64 = u32::MAX as u64;
    let Some(value) = gguf.get(key) else { return Ok(None) };
    match value.as_u64().ok_or(TokenizerError::Missing { key, wanted: "a token number" })? {
        NONE => Ok(None),
        id if id >= tokens as u64 => Err(TokenizerError::IdOutOfRange { key, id, tokens }),
        id => Ok(Some(id as u32)),
    }
}
