//! A chain of operators and the loop that steps them.

use super::channel::{Channel, Edge};
use super::operator::{Input, Operator, Output, Step};
use super::picture::{OperatorState, Picture};
use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use thiserror::Error;

/// Operators joined by channels: channel `i` lies between the operators `i` and `i + 1`.
pub struct Graph<'a> {
    stages: Vec<Stage<'a>>,
    channels: Vec<Channel>,
}

struct Stage<'a> {
    operator: Box<dyn Operator + 'a>,
    done: bool,
    state: OperatorState,
}

/// What happened in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// No operator did anything: all wait for the world outside.
    pub idle: bool,
    /// Chunks dropped in it.
    pub dropped: u64,
}

/// How a graph ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphEnd {
    /// All operators were done.
    Complete,
    /// It was told to stop.
    Stopped,
}

/// An operator could not go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the graph ended at {operator}: {reason}")]
pub struct GraphError {
    /// Its name.
    pub operator: String,
    /// Why: a clause.
    pub reason: String,
}

impl<'a> Graph<'a> {
    /// A graph of one operator, which has nothing to take.
    pub fn new(source: impl Operator + 'a) -> Self {
        let mut graph = Self { stages: Vec::new(), channels: Vec::new() };
        graph.push(source);
        graph
    }

    /// Adds an operator behind the last one.
    ///
    /// # Errors
    /// There is no memory for the channel between them.
    pub fn then(mut self, edge: Edge, operator: impl Operator + 'a) -> Result<Self, TryReserveError> {
        self.channels.push(Channel::new(edge)?);
        self.push(operator);
        Ok(self)
    }

    fn push(&mut self, operator: impl Operator + 'a) {
        let state = OperatorState::new(operator.name());
        self.stages.push(Stage { operator: Box::new(operator), done: false, state });
    }

    /// Steps the operators in turn until all are done, `watch` says stop, or one fails. `now` is a clock in nanoseconds. `watch` is called
    /// after each round; where that was [idle](Round::idle) it should wait a moment.
    ///
    /// # Errors
    /// An operator failed.
    pub fn run(
        &mut self,
        now: &dyn Fn() -> u64,
        watch: &mut dyn FnMut(Round) -> ControlFlow<()>,
    ) -> Result<GraphEnd, GraphError> {
        loop {
            let before = self.dropped();
            let mut idle = true;
            for at in 0..self.stages.len() {
                idle &= !self.step(at, now).inspect_err(|_| self.stop())?;
            }
            let flow = watch(Round { idle, dropped: self.dropped() - before });
            if self.stages.iter().all(|stage| stage.done) {
                return Ok(GraphEnd::Complete);
            }
            if flow.is_break() {
                self.stop();
                return Ok(GraphEnd::Stopped);
            }
        }
    }

    /// One step of one operator; whether it did anything.
    fn step(&mut self, at: usize, now: &dyn Fn() -> u64) -> Result<bool, GraphError> {
        let border = at.min(self.channels.len());
        let (before, behind) = self.channels.split_at_mut(border);
        let Some(stage) = self.stages.get_mut(at).filter(|stage| !stage.done) else { return Ok(false) };
        let mut channel = behind.first_mut();
        if channel.as_ref().is_some_and(|channel| !channel.accepts()) {
            stage.state.held_up += 1;
            return Ok(false);
        }
        let start = now();
        // The last operator has all the channels before it.
        let mut input = Input::new(if at == 0 { None } else { before.last_mut() }, start);
        let mut output = Output::default();
        let step = stage.operator.step(&mut input, &mut output);
        let (taken, chunk) = (input.taken(), output.into_chunk());
        let (state, made) = (&mut stage.state, u64::from(chunk.is_some()));
        state.busy_ns += now().saturating_sub(start);
        state.taken += taken;
        state.made += made;
        if let (Some(chunk), Some(channel)) = (chunk, &mut channel) {
            channel.put(chunk);
        }
        let step = step.map_err(|reason| GraphError { operator: state.name.clone(), reason })?;
        let moved = step != Step::Idle || taken + made > 0;
        state.steps += u64::from(moved);
        if step == Step::Done {
            self.end(at);
        }
        Ok(moved)
    }

    /// An operator is done: nothing more comes through its channel, and nobody reads those before it, as with a pipe whose reader has ended.
    fn end(&mut self, at: usize) {
        for stage in self.stages.iter_mut().take(at).filter(|stage| !stage.done) {
            stage.operator.stop();
            stage.done = true;
        }
        if let Some(stage) = self.stages.get_mut(at) {
            stage.done = true;
        }
        self.channels.iter_mut().take(at + 1).for_each(|channel| channel.closed = true);
    }

    fn stop(&mut self) {
        for stage in self.stages.iter_mut().filter(|stage| !stage.done) {
            stage.operator.stop();
            stage.done = true;
        }
    }

    fn dropped(&self) -> u64 {
        self.channels.iter().map(|channel| channel.state().dropped).sum()
    }

    /// The graph with its counters.
    pub fn picture(&self) -> Picture {
        Picture {
            operators: self.stages.iter().map(|stage| stage.state.clone()).collect(),
            channels: self.channels.iter().map(Channel::state).collect(),
        }
    }
}
