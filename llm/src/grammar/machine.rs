//! Runs an automaton: sets of places, with the places to return to, computed as they are needed and kept.
//!
//! A *state* is the set of places where a text can be: each a byte node and the stack of nodes that follow when rules
//! end. Stacks share their lower parts, equal ones are one, and equal states are one, so that a step that was taken before is
//! one look-up ("lazy" subset construction, as in RE2; for grammars that are not regular, over stacks). A rule called at the
//! end of another leaves nothing on the stack, so lists written by recursion take no depth.
//!
//! All tables are bounded. Between tokens, one that is half full begins anew; one that becomes full within a mask
//! is an error.

use super::compile::{Automaton, END, Node};
use super::error::ConstraintError;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Most states.
pub const MAX_STATES: usize = 4096;
/// Most places of all states together.
pub const MAX_PLACES: usize = 1 << 16;
/// Most nodes of all stacks together.
pub const MAX_CELLS: usize = 1 << 15;
/// Deepest stack. Rules nested deeper are not begun, so a text that needs more is not allowed.
pub const MAX_DEPTH: u16 = 512;
/// Most nodes looked at for one mask: about a tenth of a second.
pub const MAX_STEPS: usize = 1 << 18;

/// The state in which no text can be.
pub(super) const DEAD: u32 = 0;
const UNKNOWN: u32 = u32::MAX;
/// The stack with nothing on it.
const BOTTOM: u32 = u32::MAX;

/// A node to return to, and those below it.
#[derive(Debug, Clone, Copy)]
struct Cell {
    node: u32,
    below: u32,
    depth: u16,
}

/// A byte node and the stack behind it.
type Place = (u32, u32);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    places: Box<[Place]>,
    may_end: bool,
}

/// The states met so far.
#[derive(Debug, Default)]
pub(super) struct Machine {
    cells: Vec<Cell>,
    cell_of: BTreeMap<(u32, u32), u32>,
    states: Vec<State>,
    state_of: BTreeMap<State, u32>,
    /// Places of all states.
    places: usize,
    /// The state behind each state and class of bytes, [`UNKNOWN`] where nobody asked yet.
    steps: Vec<u32>,
    /// Nodes looked at since [`begin`](Self::begin).
    work: usize,
}

impl Machine {
    /// The state of a text that has not begun.
    pub fn start(&mut self, automaton: &Automaton, root: u32) -> Result<u32, ConstraintError> {
        self.close(automaton, &[(automaton.start(root), BOTTOM)])
    }

    /// The state behind `byte`; [`DEAD`] if no text goes on so.
    pub fn step(&mut self, automaton: &Automaton, state: u32, byte: u8) -> Result<u32, ConstraintError> {
        let class = automaton.class_of[usize::from(byte)];
        let slot = state as usize * automaton.classes.len() + usize::from(class);
        match self.steps.get(slot) {
            Some(&UNKNOWN) | None => {}
            Some(&known) => return Ok(known),
        }
        let places = self.states.get(state as usize).map(|state| &*state.places).unwrap_or_default();
        let mut behind = Vec::new();
        for &(node, stack) in places {
            if let Node::Byte { first, last, next } = automaton.node(node)
                && (first..=last).contains(&byte)
            {
                behind.push((next, stack));
            }
        }
        let next = self.close(automaton, &behind)?;
        if let Some(slot) = self.steps.get_mut(slot) {
            *slot = next;
        }
        Ok(next)
    }

    /// Whether a text in this state may end.
    pub fn may_end(&self, state: u32) -> bool {
        self.states.get(state as usize).is_some_and(|state| state.may_end)
    }

    /// Whether a text in this state cannot go on.
    pub fn must_end(&self, state: u32) -> bool {
        self.states.get(state as usize).is_none_or(|state| state.places.is_empty())
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.steps.len() * size_of::<u32>()
            + self.cells.len() * (size_of::<Cell>() + 3 * size_of::<u32>())
            + self.states.len() * 2 * size_of::<State>()
            + self.places * 2 * size_of::<Place>()
    }

    /// Begins the account of the work for one mask (or one token). Where the tables are half full, they are emptied but for `state`: the
    /// number that it has then, and whether all others have become invalid.
    pub fn begin(&mut self, automaton: &Automaton, state: u32) -> Result<(u32, bool), ConstraintError> {
        self.work = 0;
        let full = self.states.len() > MAX_STATES / 2
            || self.places > MAX_PLACES / 2
            || self.cells.len() > MAX_CELLS / 2;
        if !full {
            return Ok((state, false));
        }
        let old = core::mem::take(self);
        let kept = old.states.get(state as usize);
        let may_end = kept.is_some_and(|state| state.may_end);
        let mut places = Vec::new();
        for &(node, stack) in kept.map(|state| &*state.places).unwrap_or_default() {
            let mut nodes = Vec::new();
            let mut at = stack;
            while let Some(cell) = old.cells.get(at as usize) {
                nodes.push(cell.node);
                at = cell.below;
            }
            let stack = nodes
                .into_iter()
                .rev()
                .try_fold(BOTTOM, |below, node| self.cell(node, below).map(|cell| cell.unwrap_or(below)));
            places.push((node, stack?));
        }
        places.sort_unstable();
        Ok((self.state(automaton, places, may_end)?, true))
    }

    /// The state of all places that these lead to without a byte.
    fn close(&mut self, automaton: &Automaton, from: &[Place]) -> Result<u32, ConstraintError> {
        let mut waiting = from.to_vec();
        let mut seen = BTreeSet::new();
        let (mut places, mut may_end) = (Vec::new(), false);
        while let Some((node, stack)) = waiting.pop() {
            if !seen.insert((node, stack)) {
                continue;
            }
            self.work += 1;
            if self.work > MAX_STEPS {
                return Err(ConstraintError::TooComplex { what: "steps", limit: MAX_STEPS });
            }
            match automaton.node(node) {
                Node::Byte { .. } => places.push((node, stack)),
                Node::Either(left, right) => waiting.extend([(right, stack), (left, stack)]),
                Node::Call { rule, next: END } => waiting.push((automaton.start(rule), stack)),
                Node::Call { rule, next } => {
                    if let Some(stack) = self.cell(next, stack)? {
                        waiting.push((automaton.start(rule), stack));
                    }
                }
                Node::End => match self.cells.get(stack as usize) {
                    Some(cell) => waiting.push((cell.node, cell.below)),
                    None => may_end = true,
                },
            }
        }
        places.sort_unstable();
        self.state(automaton, places, may_end)
    }

    /// The stack of `node` on top of `below`; `None` where it would be too deep.
    fn cell(&mut self, node: u32, below: u32) -> Result<Option<u32>, ConstraintError> {
        if let Some(&known) = self.cell_of.get(&(node, below)) {
            return Ok(Some(known));
        }
        let depth = self.cells.get(below as usize).map_or(0, |cell| cell.depth) + 1;
        if depth > MAX_DEPTH {
            return Ok(None);
        }
        if self.cells.len() == MAX_CELLS {
            return Err(ConstraintError::TooComplex { what: "nodes on stacks", limit: MAX_CELLS });
        }
        self.cells.push(Cell { node, below, depth });
        self.cell_of.insert((node, below), self.cells.len() as u32 - 1);
        Ok(Some(self.cells.len() as u32 - 1))
    }

    /// The number of the state with these places, which are in order.
    fn state(
        &mut self,
        automaton: &Automaton,
        places: Vec<Place>,
        may_end: bool,
    ) -> Result<u32, ConstraintError> {
        if self.states.is_empty() {
            self.add(automaton, State { places: Box::default(), may_end: false })?;
        }
        let state = State { places: places.into_boxed_slice(), may_end };
        match self.state_of.get(&state) {
            Some(&known) => Ok(known),
            None => self.add(automaton, state),
        }
    }

    fn add(&mut self, automaton: &Automaton, state: State) -> Result<u32, ConstraintError> {
        if self.states.len() == MAX_STATES {
            return Err(ConstraintError::TooComplex { what: "states", limit: MAX_STATES });
        }
        self.places += state.places.len();
        if self.places > MAX_PLACES {
            return Err(ConstraintError::TooComplex { what: "places", limit: MAX_PLACES });
        }
        let classes = automaton.classes.len();
        let bytes = classes * size_of::<u32>();
        self.steps.try_reserve(classes).map_err(|_| ConstraintError::OutOfMemory { bytes })?;
        self.steps.resize(self.steps.len() + classes, UNKNOWN);
        let number = self.states.len() as u32;
        self.states.push(state.clone());
        self.state_of.insert(state, number);
        Ok(number)
    }
}
