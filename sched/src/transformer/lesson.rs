//! One step of learning, taken away from the queue's lock: what it needs is copied out, and what comes of it is put back.

use super::decisions::Decision;
use super::network::Weights;
use super::quick::Quick;

/// Step of gradient descent, and its longest length.
const RATE: f32 = 0.001;
const LONGEST_STEP: f32 = 0.005;

/// A decision to learn from, and the weights to begin with.
#[derive(Debug, Clone)]
pub struct Lesson {
    decision: Decision,
    weights: Weights,
    /// Which weights these were.
    exchanged: u32,
    /// What came of it: the weights as a decision reads them, whether all are finite, and the loss before the step.
    outcome: Option<(Quick, bool, f32)>,
}

impl Lesson {
    pub(super) fn new(decision: Decision, weights: Weights, exchanged: u32) -> Self {
        Self { decision, weights, exchanged, outcome: None }
    }

    /// A step of gradient descent, in floating point: 50,000 instructions. Without a lock.
    pub fn learn(&mut self) {
        let (tokens, tasks) = self.decision.tokens();
        let pass = self.weights.forward(&tokens, tasks);
        let (loss, gradient) = self.weights.gradient(&tokens, &pass, &self.decision.target());
        if self.weights.descend(&gradient, RATE, LONGEST_STEP) {
            self.outcome = Some((Quick::new(&self.weights), self.weights.finite(), loss));
        }
    }

    /// What came of it, if the weights are still those that it began with.
    pub(super) fn outcome(&self, exchanged: u32) -> Option<(&Weights, &Quick, bool, f32)> {
        let (quick, finite, loss) = self.outcome.as_ref().filter(|_| self.exchanged == exchanged)?;
        Some((&self.weights, quick, *finite, *loss))
    }
}
