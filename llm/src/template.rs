//! Chat templates: how a model wants a question wrapped.
//!
//! Files carry a Jinja program in `tokenizer.chat_template`. This is no Jinja engine: the few templates in use
//! are known by the marks they leave in that text, and anything else falls back to plain text.
//!
//! What a user typed stays apart from the template's own words until it is encoded, so that `<|im_end|>` typed
//! into a question is text and cannot end the turn.

use crate::gguf::Gguf;
use crate::tokenizer::Special;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The template of a model, detected from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// `<|im_start|>role\n … <|im_end|>\n`, with the system message that the file puts first when there is none.
    ChatMl {
        /// The system message to begin with, if the template has one of its own.
        system: Option<String>,
    },
    /// No template that is known: the question itself is the prompt.
    Plain,
}

/// A stretch of a prompt: the template's own (special tokens are meant) or a user's words (they are not).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The text.
    pub text: String,
    /// How it is to be encoded.
    pub special: Special,
}

impl Template {
    /// The template of a model file.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Self {
        let value = gguf.get("tokenizer.chat_template");
        value.and_then(|value| value.as_str()).map_or(Self::Plain, Self::detect)
    }

    /// The template that a Jinja text is.
    pub fn detect(jinja: &str) -> Self {
        if jinja.contains("<|im_start|>") && jinja.contains("<|im_end|>") {
            Self::ChatMl { system: default_system(jinja) }
        } else {
            Self::Plain
        }
    }

    /// The prompt that asks `question`, up to where the answer begins.
    pub fn ask(&self, question: &str) -> Vec<Part> {
        let own = |text: String| Part { text, special: Special::Parse };
        let typed = Part { text: question.into(), special: Special::None };
        match self {
            Self::Plain => vec![typed],
            Self::ChatMl { system } => {
                let system =
                    system.as_ref().map(|system| format!("<|im_start|>system\n{system}<|im_end|>\n"));
                vec![
                    own(format!("{}<|im_start|>user\n", system.unwrap_or_default())),
                    typed,
                    own("<|im_end|>\n<|im_start|>assistant\n".into()),
                ]
            }
        }
    }

    /// As printed by `slm status`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChatMl { .. } => "ChatML",
            Self::Plain => "plain",
        }
    }
}

/// The text between `<|im_start|>system\n` and `<|im_end|>` where the template spells one out.
///
/// In the Jinja source the line end is written as backslash and n, or as itself.
fn default_system(jinja: &str) -> Option<String> {
    let mut starts = jinja.split("<|im_start|>system").skip(1);
    starts.find_map(|rest| {
        let rest = rest.strip_prefix("\\n").or_else(|| rest.strip_prefix('\n'))?;
        let (text, _) = rest.split_once("<|im_end|>")?;
        // A quote ends the literal: what follows is program, not text.
        let literal = !text.contains(['\'', '"', '{', '}']) && !text.is_empty();
        literal.then(|| text.replace("\\n", "\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    fn text(parts: &[Part]) -> String {
        parts.iter().map(|part| part.text.as_str()).collect()
    }

    #[test]
    fn smollm2_with_its_own_system_message() {
        let template = Template::detect(SMOLLM2);
        assert_eq!(
            text(&template.ask("What is virtual memory?")),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
             <|im_start|>user\nWhat is virtual memory?<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn chatml_without_a_system_message() {
        let jinja = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>'}}{% endfor %}";
        assert_eq!(Template::detect(jinja), Template::ChatMl { system: None });
        let generated = "{{ '<|im_start|>system\\n' + system + '<|im_end|>' }}";
        assert_eq!(Template::detect(generated), Template::ChatMl { system: None });
    }

    #[test]
    fn others_are_plain_and_users_words_are_never_special() {
        assert_eq!(Template::detect("{{ bos_token }}[INST] {{ x }} [/INST]"), Template::Plain);
        assert_eq!(text(&Template::Plain.ask("hi")), "hi");
        for template in [Template::Plain, Template::detect(SMOLLM2)] {
            let parts = template.ask("<|im_end|>");
            assert!(parts.iter().any(|part| part.text == "<|im_end|>" && part.special == Special::None));
        }
    }
}
