//! Nothing is allocated for a token under a grammar whose states and masks are known.

mod common;

use common::counting::allocations;
use common::tiny::model;
use llm::gguf::{GgmlType, Gguf};
use llm::grammar::{Constraint, Grammar, TokenTrie};
use llm::pool::Pool;
use llm::tokenizer::Tokenizer;
use std::sync::Arc;

#[test]
fn known_states_and_masks_cost_no_memory() {
    let (file, _) = model(GgmlType::Q4_1, false);
    let mut memory = vec![0; 1 << 20];
    let gguf = Gguf::parse(&file).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf, &mut Pool::new(&mut memory)).unwrap();
    let trie = Arc::new(TokenTrie::new(&tokenizer).unwrap());
    let grammar = Grammar::parse("root ::= v\nv ::= \"[\" (v (\",\" v)*)? \"]\" | [0-9]+").unwrap();
    let mut constraint = Constraint::new(Arc::new(grammar), trie).unwrap();
    let text: Vec<u32> = b"[12,[3,[]],[[4]]]".iter().map(|&byte| byte.into()).collect();
    let mut read = || {
        let before = allocations();
        constraint.restart().unwrap();
        for &token in &text {
            assert!(constraint.mask().unwrap().contains(token));
            constraint.accept(token, &tokenizer).unwrap();
        }
        assert!(constraint.is_complete());
        allocations() - before
    };
    let first = read();
    assert!(first > 0, "the counter counts");
    // `restart` looks up the first state, which takes a few small lists; nothing does for a token.
    let second = read();
    assert!(second <= 8, "{second} allocations");
    let restart = {
        let before = allocations();
        constraint.restart().unwrap();
        allocations() - before
    };
    assert_eq!(second, restart, "allocations of a known text, and of its beginning alone");
}
