//! Finds rules that can begin with themselves: no text would ever tell how often they do.

use super::compile::{Automaton, END, Node};
use alloc::vec;
use alloc::vec::Vec;

/// A rule that can begin with itself, if there is one.
pub(super) fn left_recursive(automaton: &Automaton) -> Option<usize> {
    let rules = automaton.starts.len();
    let mut empty = vec![false; rules];
    let mut walk = Walk { automaton, seen: vec![0; automaton.nodes.len()], round: 0, work: Vec::new() };
    // Rules that may be empty, from those that are by themselves on.
    loop {
        let mut changed = false;
        for rule in 0..rules {
            if !empty.get(rule).copied().unwrap_or(true) && walk.beginnings(rule, &empty, &mut |_| ()) {
                changed = true;
                empty.iter_mut().skip(rule).take(1).for_each(|empty| *empty = true);
            }
        }
        if !changed {
            break;
        }
    }
    // Depth first along "can begin with"; a rule met again before it is left is the answer.
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Not,
        Entered,
        Left,
    }
    let mut visits = vec![Visit::Not; rules];
    let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
    for root in 0..rules {
        if visits.get(root) == Some(&Visit::Not) {
            path.push((root, walk.rules_at_the_beginning(root, &empty)));
            visits.iter_mut().skip(root).take(1).for_each(|visit| *visit = Visit::Entered);
        }
        while let Some((rule, rest)) = path.last_mut() {
            let Some(next) = rest.pop() else {
                visits.iter_mut().skip(*rule).take(1).for_each(|visit| *visit = Visit::Left);
                path.pop();
                continue;
            };
            match visits.get(next) {
                Some(Visit::Entered) => return Some(next),
                Some(Visit::Not) => {
                    visits.iter_mut().skip(next).take(1).for_each(|visit| *visit = Visit::Entered);
                    path.push((next, walk.rules_at_the_beginning(next, &empty)));
                }
                _ => {}
            }
        }
    }
    None
}

/// Walks the places of rules that come before any byte.
struct Walk<'a> {
    automaton: &'a Automaton,
    /// The round in which each node was last met.
    seen: Vec<u32>,
    round: u32,
    work: Vec<u32>,
}

impl Walk<'_> {
    /// Calls `called` with every rule that `rule` can begin with; true if it can end before any byte.
    fn beginnings(&mut self, rule: usize, empty: &[bool], called: &mut impl FnMut(usize)) -> bool {
        self.round += 1;
        let mut ends = false;
        self.work.push(self.automaton.start(rule as u32));
        while let Some(at) = self.work.pop() {
            let Some(seen) = self.seen.get_mut(at as usize).filter(|seen| **seen != self.round) else {
                continue;
            };
            *seen = self.round;
            match self.automaton.node(at) {
                Node::Byte { .. } => {}
                Node::End => ends |= at == END,
                Node::Either(left, right) => self.work.extend([left, right]),
                Node::Call { rule, next } => {
                    called(rule as usize);
                    if empty.get(rule as usize).copied().unwrap_or(false) {
                        self.work.push(next);
                    }
                }
            }
        }
        ends
    }

    fn rules_at_the_beginning(&mut self, rule: usize, empty: &[bool]) -> Vec<usize> {
        let mut called = Vec::new();
        self.beginnings(rule, empty, &mut |rule| called.push(rule));
        called
    }
}
