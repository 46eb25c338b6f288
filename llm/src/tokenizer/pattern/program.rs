//! An alternative of a pattern as a list of operations, which the matcher walks.

use super::class::Class;
use super::parse::{Node, UNBOUNDED};
use alloc::vec::Vec;

/// What is done next; where nothing else is said, the following operation comes after it.
#[derive(Debug)]
pub(super) enum Operation {
    /// Consumes as many characters of the class as there are, between `least` and `most`; fewer on second thought.
    Run { class: Class, least: u32, most: u32 },
    /// Goes on, and, should that fail, at this place instead.
    OrElse(usize),
    /// Goes on at this place.
    Jump(usize),
    /// Fails unless the next character is of the class.
    Followed(Class),
    /// Fails if the next character is of the class.
    NotFollowed(Class),
    /// Fails unless the text is at its end.
    End,
}

/// Longest list: the patterns are ours and short, so more is a mistake in one.
const LIMIT: usize = 256;

/// One alternative.
#[derive(Debug)]
pub(super) struct Program {
    pub operations: Vec<Operation>,
    /// Bit n: whether a match may begin with ASCII character n.
    pub first: u128,
}

impl Program {
    /// `None` where the alternative is too long, or could match nothing.
    pub fn new(node: &Node) -> Option<Self> {
        let mut operations = Vec::new();
        emit(node, &mut operations)?;
        let (first, empty) = first(node);
        (!empty).then_some(Self { operations, first })
    }

    /// Whether it begins with a run without an upper bound.
    pub fn begins_with_a_run(&self) -> bool {
        matches!(self.operations.first(), Some(Operation::Run { most: UNBOUNDED, .. }))
    }
}

fn emit(node: &Node, out: &mut Vec<Operation>) -> Option<()> {
    if out.len() > LIMIT {
        return None;
    }
    match node {
        Node::One(class) => out.push(Operation::Run { class: class.clone(), least: 1, most: 1 }),
        Node::Followed(class) => out.push(Operation::Followed(class.clone())),
        Node::NotFollowed(class) => out.push(Operation::NotFollowed(class.clone())),
        Node::End => out.push(Operation::End),
        Node::Sequence(nodes) => nodes.iter().try_for_each(|node| emit(node, out))?,
        Node::Choice(nodes) => emit_choice(nodes, out)?,
        Node::Repeat { node, least, most } => match &**node {
            Node::One(class) => {
                out.push(Operation::Run { class: class.clone(), least: *least, most: *most });
            }
            node => emit_repeat(node, *least, *most, out)?,
        },
    }
    Some(())
}

fn emit_choice(nodes: &[Node], out: &mut Vec<Operation>) -> Option<()> {
    let (last, others) = nodes.split_last()?;
    let mut jumps = Vec::new();
    for node in others {
        let choice = hold(out);
        emit(node, out)?;
        jumps.push(hold(out));
        let next = out.len();
        *out.get_mut(choice)? = Operation::OrElse(next);
    }
    emit(last, out)?;
    let end = out.len();
    for jump in jumps {
        *out.get_mut(jump)? = Operation::Jump(end);
    }
    Some(())
}

/// A repeated group: written out as often as it must match, then as a loop or as often as it may.
fn emit_repeat(node: &Node, least: u32, most: u32, out: &mut Vec<Operation>) -> Option<()> {
    // A group that matches nothing would be repeated for ever.
    if first(node).1 {
        return None;
    }
    for _ in 0..least {
        emit(node, out)?;
    }
    let mut choices = Vec::new();
    if most == UNBOUNDED {
        let choice = hold(out);
        emit(node, out)?;
        out.push(Operation::Jump(choice));
        choices.push(choice);
    } else {
        for _ in least..most {
            choices.push(hold(out));
            emit(node, out)?;
        }
    }
    let end = out.len();
    for choice in choices {
        *out.get_mut(choice)? = Operation::OrElse(end);
    }
    Some(())
}

/// Keeps a place for an operation whose target is not known yet.
fn hold(out: &mut Vec<Operation>) -> usize {
    out.push(Operation::End);
    out.len() - 1
}

/// The ASCII characters that a match of `node` may begin with, and whether it may be empty.
fn first(node: &Node) -> (u128, bool) {
    match node {
        Node::One(class) => (class.ascii(), false),
        Node::Followed(_) | Node::NotFollowed(_) | Node::End => (0, true),
        Node::Choice(nodes) => nodes.iter().map(first).fold((0, false), |a, b| (a.0 | b.0, a.1 || b.1)),
        Node::Sequence(nodes) => {
            let mut bits = 0;
            for node in nodes {
                let (more, empty) = first(node);
                bits |= more;
                if !empty {
                    return (bits, false);
                }
            }
            (bits, true)
        }
        Node::Repeat { node, least, .. } => {
            let (bits, empty) = first(node);
            (bits, empty || *least == 0)
        }
    }
}
