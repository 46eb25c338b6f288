//! A grammar's text: a sentence about what is wrong, or a grammar whose masks hold exactly the tokens that it goes on with.

use crate::random::Random;
use crate::run::Target;
use crate::tokenizer::bpe;
use llm::gguf::Gguf;
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::pool::Pool;
use llm::tokenizer::Tokenizer;
use std::sync::Arc;

/// The vocabulary that grammars are held over.
pub struct GrammarTarget {
    tokenizer: Tokenizer<'static>,
    trie: Arc<TokenTrie>,
    texts: Vec<Vec<u8>>,
}

/// Tokens of each text that is followed.
const TOKENS: usize = 6;

impl GrammarTarget {
    /// The target; its vocabulary lives as long as the program.
    pub fn new() -> Self {
        let gguf = Gguf::parse(Box::leak(bpe("smollm").into_boxed_slice())).expect("a valid file");
        let memory = Box::leak(vec![0; 64 << 10].into_boxed_slice());
        let tokenizer = Tokenizer::from_gguf(&gguf, &mut Pool::new(memory)).expect("a valid vocabulary");
        let trie = Arc::new(TokenTrie::new(&tokenizer).expect("a small vocabulary"));
        let text = |token| {
            let mut text = Vec::new();
            tokenizer.decode(token, &mut text);
            text
        };
        let texts = (0..tokenizer.vocab_size() as u32).map(text).collect();
        Self { tokenizer, trie, texts }
    }

    /// Follows one text under `grammar`, choosing by the bytes of `input`: how it ended.
    fn follow(&self, grammar: Arc<Grammar>, input: &[u8]) -> String {
        let mut constraint = match Constraint::with_limit(grammar.clone(), self.trie.clone(), 256) {
            Ok(constraint) => constraint,
            Err(error) => return error.to_string(),
        };
        let mut text = Vec::new();
        for &choice in input.iter().rev().take(TOKENS) {
            let mask = match constraint.mask() {
                Ok(mask) => mask,
                Err(error) => return format!("mask: {error}"),
            };
            let allowed: Vec<u32> =
                (0..self.texts.len() as u32).filter(|&token| mask.contains(token)).collect();
            assert_eq!(mask.allowed(), allowed.len());
            // Every byte is a token: what may go on or end has a way to. Only at the limit of depth there is none.
            let Some(&token) = allowed.get(usize::from(choice) % allowed.len().max(1)) else {
                return "stuck".into();
            };
            let other = (u32::from(choice)..self.texts.len() as u32).find(|token| !allowed.contains(token));
            if let Some(other) = other {
                assert!(constraint.accept(other, &self.tokenizer).is_err(), "{other} is not in the mask");
            }
            assert_eq!(constraint.accept(token, &self.tokenizer), Ok(()));
            text.extend_from_slice(&self.texts[token as usize]);
        }
        assert_eq!(grammar.matches(&text), constraint.may_end());
        "a text".into()
    }
}

const WORDS: [&[u8]; 20] = [
    b"root ::= ",
    b"\na ::= ",
    b"\nb ::= ",
    b" a ",
    b" b ",
    b" root ",
    b"\"he\"",
    b"[a-z]",
    b"[^\"\\\\]",
    b"(",
    b")",
    b" | ",
    b"*",
    b"+",
    b"?",
    b"{2,3}",
    b"{9999}",
    b".",
    b"\\U0001F642",
    b"# x\n",
];

impl Target for GrammarTarget {
    fn seeds(&mut self) -> Vec<Vec<u8>> {
        [
            "root ::= \"yes\" | \"no\"",
            "root ::= a (\",\" a)* \"\\n\" # list\na ::= [a-z]+ | \"(\" root \")\" | [^\\x00-\\x7F]{2,3}",
            "root ::= root \"a\"",
            "root ::= ((\"a\" | b)? .){1,} b\nb ::= | \"b\" b",
            "root ::= [\\]\\-a-c-] \"\\u00e9\\\"\\\\\" ",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    }

    fn words(&self) -> Vec<&'static [u8]> {
        WORDS.into()
    }

    fn generate(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let mut text = b"root ::= ".to_vec();
        (0..random.below(16)).for_each(|_| text.extend_from_slice(random.pick(&WORDS)));
        Some(text)
    }

    fn execute(&mut self, input: &[u8]) -> String {
        let text = String::from_utf8_lossy(input);
        match Grammar::parse(&text) {
            Ok(grammar) => {
                assert!(grammar.nodes() <= llm::grammar::MAX_NODES);
                self.follow(Arc::new(grammar), input)
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                assert!(error.line <= 1 + text.matches('\n').count());
                let fault = format!("{:?}", error.fault);
                fault.split([' ', '(']).next().unwrap_or_default().into()
            }
        }
    }
}
