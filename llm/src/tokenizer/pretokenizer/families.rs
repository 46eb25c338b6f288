//! Which pre-tokenizer is behind each name of `tokenizer.ggml.pre`, with the settings that come with it: the names,
//! and what they stand for, are llama.cpp's (`llama_vocab::impl::load`).

use super::patterns::*;

/// One way to cut the pieces that the stage before left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// At the matches of a pattern.
    Pattern(&'static str),
    /// Runs of numbers in groups of three from the right ([`super::digits::groups_of_numbers`]).
    GroupsOfNumbers,
    /// Runs of 0 to 9 in groups of three from the right ([`super::digits::groups_of_digits`]).
    GroupsOfDigits,
}

/// What the words are merged from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tokenizer) enum Alphabet {
    /// Bytes, each written as one character of GPT-2's alphabet.
    Bytes,
    /// Characters, with `▁` for the space and `<0x0A>` for the bytes of what the vocabulary lacks. With
    /// `line_ends`, a word of line ends only is looked up before it is merged.
    Characters { line_ends: bool },
}

/// A pre-tokenizer with its names.
#[derive(Debug)]
pub(in crate::tokenizer) struct Family {
    pub names: &'static [&'static str],
    pub(super) stages: &'static [Stage],
    /// Whether a word that is a token is taken as it is, whatever its merges would make of it.
    pub ignore_merges: bool,
    /// Whether a text begins with the beginning-of-sequence token where the file does not say.
    pub add_bos: bool,
    pub alphabet: Alphabet,
}

impl Family {
    /// The family that GGUF files call `name`.
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.names.iter().any(|known| known.as_bytes() == name))
    }

    /// Every name that is known.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().flat_map(|family| family.names).copied()
    }
}

/// A family of one pattern.
const fn plain(names: &'static [&'static str], stages: &'static [Stage]) -> Family {
    Family { names, stages, ignore_merges: false, add_bos: false, alphabet: Alphabet::Bytes }
}

const fn whole_words(names: &'static [&'static str], stages: &'static [Stage]) -> Family {
    Family { ignore_merges: true, ..plain(names, stages) }
}

use Stage::{GroupsOfDigits, GroupsOfNumbers, Pattern as P};

pub(super) static FAMILIES: [Family; 33] = [
    plain(&["default"], &[P(DEFAULT_PUNCTUATION), P(GPT2), P(NUMBERS), P(DIGITS_BY_THREE)]),
    plain(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        &[P(GPT2)],
    ),
    plain(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[P(NUMBER), P(GPT2)],
    ),
    plain(&["falcon"], &[P(FALCON_PUNCTUATION), P(GPT2), P(DIGITS_BY_THREE)]),
    Family {
        add_bos: true,
        ..whole_words(
            &[
                "llama3",
                "llama-v3",
                "llama-bpe",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano",
            ],
            &[P(LLAMA3)],
        )
    },
    plain(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[P(LLAMA3)]),
    whole_words(&["glm4", "glm5"], &[P(LLAMA3)]),
    whole_words(&["minicpm5"], &[P(NUMBERS_BY_THREE), P(MINICPM5)]),
    plain(&["jais-2"], &[P(JAIS2)]),
    plain(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "stablelm2",
            "megrez",
            "hunyuan",
            "grok-2",
            "solar-open",
        ],
        &[P(QWEN2)],
    ),
    plain(&["qwen35"], &[P(QWEN35)]),
    plain(&["laguna"], &[P(LINES), P(QWEN2)]),
    plain(&["bailingmoe", "bailingmoe2", "llada-moe"], &[P(BAILING)]),
    plain(&["seed-coder"], &[P(SEED_CODER)]),
    plain(&["ufakzeka"], &[P(UFAKZEKA)]),
    plain(&["exaone-moe"], &[P(EXAONE_MOE)]),
    plain(&["kimi-k2"], &[P(KIMI_K2)]),
    plain(
        &["deepseek-llm"],
        &[
            P(LINE_ENDS),
            P(DEEPSEEK_LLM_LETTERS),
            P(DEEPSEEK_LLM_PUNCTUATION),
            P(DEEPSEEK_LLM_TAIL),
            P(DEEPSEEK_CJK),
            P(NUMBERS),
        ],
    ),
    plain(
        &["deepseek-coder"],
        &[P(LINE_ENDS), P(DEEPSEEK_CODER_LETTERS), P(DEEPSEEK_CODER_PUNCTUATION), P(DEEPSEEK_CJK), P(NUMBER)],
    ),
    plain(
        &["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"],
        &[P(NUMBERS_BY_THREE), P(DEEPSEEK3_CJK), P(DEEPSEEK3)],
    ),
    plain(&["spark2_5"], &[P(NUMBERS_BY_THREE), P(DEEPSEEK3_CJK), P(SPARK), P(NUMBER)]),
    plain(&["afmoe"], &[GroupsOfNumbers, P(AFMOE_SCRIPTS), P(DEEPSEEK3)]),
    whole_words(&["youtu"], &[P(YOUTU_SCRIPTS), P(YOUTU)]),
    Family { add_bos: true, ..whole_words(&["tekken"], &[P(TEKKEN)]) },
    plain(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[P(GPT4O)]),
    whole_words(&["granite-embed-multi-97m"], &[P(GRANITE_MULTI)]),
    plain(&["tiny_aya", "cohere2moe"], &[GroupsOfNumbers, P(TINY_AYA)]),
    plain(&["poro-chat", "bloom", "gpt3-finnish"], &[P(BLOOM)]),
    plain(&["viking"], &[P(BLOOM), P(NUMBER)]),
    plain(&["superbpe"], &[P(NUMBERS), GroupsOfDigits]),
    Family {
        add_bos: true,
        ..plain(
            &["chameleon"],
            &[
                P(CHAMELEON_SENTINEL),
                P(CHAMELEON_IMAGE),
                P(CHAMELEON_SPACES),
                P(NUMBER),
                P(CHAMELEON_PUNCTUATION),
                P(GPT2),
            ],
        )
    },
    Family {
        add_bos: true,
        alphabet: Alphabet::Characters { line_ends: true },
        ..plain(&["gemma4", "granite-embed-multi-311m"], &[P(LINES)])
    },
    Family { alphabet: Alphabet::Characters { line_ends: false }, ..plain(&["sarvam-moe"], &[P(LINES)]) },
];
