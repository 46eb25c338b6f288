//! Rules to an automaton over bytes: a network of nodes for each rule, which call each other.
//!
//! Characters become sequences of byte ranges, so that a token may end inside one. Equal nodes are one node; only the
//! beginning of a loop is a node of its own.

use super::error::GrammarFault;
use super::expression::{Expression, Range, Rule};
use super::utf8::sequences;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Most nodes of an automaton.
pub const MAX_NODES: usize = 1 << 16;
/// Most expressions compiled, those inside repetitions counted each time.
const MAX_WORK: usize = 4 * MAX_NODES;

/// A place in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    /// The rule ends.
    End,
    /// A byte of this range, then `next`.
    Byte {
        /// Lowest byte.
        first: u8,
        /// Highest byte.
        last: u8,
        /// The place behind it.
        next: u32,
    },
    /// Either of two places.
    Either(u32, u32),
    /// What a rule allows, then `next`.
    Call {
        /// Number of the rule.
        rule: u32,
        /// The place behind it.
        next: u32,
    },
}

/// The place where every rule ends.
pub(super) const END: u32 = 0;

/// The automaton of all rules.
#[derive(Debug)]
pub(super) struct Automaton {
    /// The places.
    pub nodes: Vec<Node>,
    /// Where each rule begins.
    pub starts: Vec<u32>,
    /// Bytes that no node tells apart have one class.
    pub class_of: [u8; 256],
    /// A byte of each class.
    pub classes: Vec<u8>,
}

impl Automaton {
    /// The node of this number.
    pub fn node(&self, at: u32) -> Node {
        self.nodes.get(at as usize).copied().unwrap_or(Node::End)
    }

    /// Where the rule of this number begins.
    pub fn start(&self, rule: u32) -> u32 {
        self.starts.get(rule as usize).copied().unwrap_or(END)
    }
}

/// The automaton of `rules`, or the fault and the rule that is at fault.
pub(super) fn compile(rules: &[Rule<'_>]) -> Result<Automaton, (usize, GrammarFault)> {
    let mut compiler = Compiler { nodes: vec![Node::End], known: BTreeMap::new(), work: 0 };
    let mut starts = Vec::with_capacity(rules.len());
    for (number, rule) in rules.iter().enumerate() {
        let start = rule.body.as_ref().map_or(Ok(END), |body| compiler.expression(body, END));
        starts.push(start.map_err(|fault| (number, fault))?);
    }
    let (class_of, classes) = byte_classes(&compiler.nodes);
    Ok(Automaton { nodes: compiler.nodes, starts, class_of, classes })
}

struct Compiler {
    nodes: Vec<Node>,
    known: BTreeMap<Node, u32>,
    work: usize,
}

impl Compiler {
    fn push(&mut self, node: Node) -> Result<u32, GrammarFault> {
        if self.nodes.len() == MAX_NODES {
            return Err(GrammarFault::TooLarge { what: "states", limit: MAX_NODES });
        }
        self.nodes.push(node);
        Ok(self.nodes.len() as u32 - 1)
    }

    /// The number of a node that is never changed.
    fn node(&mut self, node: Node) -> Result<u32, GrammarFault> {
        if let Some(&known) = self.known.get(&node) {
            return Ok(known);
        }
        let number = self.push(node)?;
        self.known.insert(node, number);
        Ok(number)
    }

    /// Where a text of `expression` begins that `next` follows.
    fn expression(&mut self, expression: &Expression, next: u32) -> Result<u32, GrammarFault> {
        self.work += 1;
        if self.work > MAX_WORK {
            return Err(GrammarFault::TooLarge { what: "items, repeated ones counted,", limit: MAX_WORK });
        }
        match expression {
            Expression::Literal(text) => text
                .bytes()
                .rev()
                .try_fold(next, |next, byte| self.node(Node::Byte { first: byte, last: byte, next })),
            Expression::Class(ranges) => self.class(ranges, next),
            Expression::Rule(rule) => self.node(Node::Call { rule: *rule as u32, next }),
            Expression::Sequence(items) => {
                items.iter().rev().try_fold(next, |next, item| self.expression(item, next))
            }
            Expression::Choice(items) => {
                let mut starts =
                    items.iter().map(|item| self.expression(item, next)).collect::<Result<Vec<_>, _>>()?;
                let last = starts.pop().unwrap_or(next);
                starts.into_iter().rev().try_fold(last, |rest, start| self.node(Node::Either(start, rest)))
            }
            Expression::Repeat { item, least, most } => {
                let mut at = match most {
                    None => {
                        let again = self.push(Node::End)?;
                        let body = self.expression(item, again)?;
                        if let Some(node) = self.nodes.get_mut(again as usize) {
                            *node = Node::Either(body, next);
                        }
                        again
                    }
                    Some(most) => (*least..*most).try_fold(next, |at, _| {
                        let body = self.expression(item, at)?;
                        self.node(Node::Either(body, next))
                    })?,
                };
                for _ in 0..*least {
                    at = self.expression(item, at)?;
                }
                Ok(at)
            }
        }
    }

    fn class(&mut self, ranges: &[Range], next: u32) -> Result<u32, GrammarFault> {
        let mut starts = Vec::new();
        for &(first, last) in ranges {
            sequences(first, last, &mut |bytes| {
                let start = bytes
                    .iter()
                    .rev()
                    .try_fold(next, |next, &(first, last)| self.node(Node::Byte { first, last, next }))?;
                starts.push(start);
                Ok(())
            })?;
        }
        let last = starts.pop().unwrap_or(next);
        starts.into_iter().rev().try_fold(last, |rest, start| self.node(Node::Either(start, rest)))
    }
}

/// The class of each byte, and a byte of each class.
fn byte_classes(nodes: &[Node]) -> ([u8; 256], Vec<u8>) {
    let mut begins = [false; 257];
    for node in nodes {
        if let Node::Byte { first, last, .. } = *node {
            begins[usize::from(first)] = true;
            begins[usize::from(last) + 1] = true;
        }
    }
    let (mut class_of, mut classes) = ([0; 256], vec![0]);
    for byte in 1..=255u8 {
        if begins[usize::from(byte)] {
            classes.push(byte);
        }
        class_of[usize::from(byte)] = (classes.len() - 1) as u8;
    }
    (class_of, classes)
}
