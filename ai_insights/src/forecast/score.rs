//! Keeping score: predictions wait here until their time has come.

/// Predictions that may wait at once. At one a second and a horizon of 10 s, eleven do.
const WAITING: usize = 64;

/// A prediction and its rival, for one moment to come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prediction {
    /// The moment that it speaks of.
    pub due_ns: u64,
    /// What was free when it was made: the forecast of persistence.
    pub persistence: f64,
    /// The change that the trend, trusted wholly, would bring.
    pub trend_change: f64,
    /// What was predicted.
    pub predicted: f64,
}

/// Predictions waiting, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    ring: [Prediction; WAITING],
    first: usize,
    len: usize,
}

impl Waiting {
    pub const fn new() -> Self {
        let none = Prediction { due_ns: 0, persistence: 0.0, trend_change: 0.0, predicted: 0.0 };
        Waiting { ring: [none; WAITING], first: 0, len: 0 }
    }

    /// Adds a prediction. Returns false, and drops it, where too many wait.
    pub fn push(&mut self, prediction: Prediction) -> bool {
        let slot = self.ring.get_mut((self.first + self.len) % WAITING);
        match slot {
            Some(slot) if self.len < WAITING => {
                *slot = prediction;
                self.len += 1;
                true
            }
            _ => false,
        }
    }

    /// Takes the oldest prediction if it is due at `now_ns`.
    pub fn due(&mut self, now_ns: u64) -> Option<Prediction> {
        let oldest = *self.ring.get(self.first)?;
        if self.len == 0 || oldest.due_ns > now_ns {
            return None;
        }
        self.first = (self.first + 1) % WAITING;
        self.len -= 1;
        Some(oldest)
    }

    /// Forgets everything that waits; returns how many.
    pub fn clear(&mut self) -> usize {
        core::mem::take(&mut self.len)
    }
}

/// How good the predictions have been, against "it stays as it is".
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// Predictions resolved against what happened.
    pub resolved: u64,
    /// Predictions that could not be resolved: the clock jumped or samples were missing.
    pub unresolved: u64,
    /// Mean absolute error of the predictions, in bytes.
    pub mae: f64,
    /// Mean absolute error of persistence over the same moments, in bytes.
    pub mae_persistence: f64,
}

impl Score {
    /// `1 − mae / mae_persistence`: 1 is perfect, 0 as good as persistence, below 0 worse. `None` until
    /// something has been resolved, or where nothing has ever changed.
    pub fn skill(&self) -> Option<f64> {
        (self.resolved > 0 && self.mae_persistence > 0.0).then(|| 1.0 - self.mae / self.mae_persistence)
    }

    /// Takes the absolute errors of one resolved prediction into the means.
    pub(crate) fn add(&mut self, error: f64, error_persistence: f64) {
        self.resolved += 1;
        let share = 1.0 / self.resolved as f64;
        self.mae += share * (error - self.mae);
        self.mae_persistence += share * (error_persistence - self.mae_persistence);
    }
}
