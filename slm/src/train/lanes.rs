//! A batch divided among threads, each with its own sequences and its own sums.
//!
//! Threads that share every product wait for each other a thousand times an update; lanes meet once.

use anyhow::{Result, anyhow};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::batches::Batch;
use super::model::{Gradient, Model};
use super::parameters::Parameters;
use super::settings::Settings;
use crate::shape::Shape;

/// The threads.
pub struct Lanes {
    model: Model,
    length: usize,
    micro_batch: usize,
    /// Of one thread each: what candle would divide among threads stays in its lane.
    pools: Vec<ThreadPool>,
}

impl Lanes {
    /// Threads for these settings.
    pub fn new(shape: &Shape, settings: &Settings) -> Result<Self> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build();
        let pools = (0..settings.lanes).map(pool).collect::<Result<Vec<_>, _>>()?;
        Ok(Lanes {
            model: Model::new(shape, settings.precision),
            length: shape.context as usize,
            micro_batch: settings.micro_batch,
            pools,
        })
    }

    /// The mean loss of a batch in nats per token, and its gradient.
    pub fn gradient(&self, parameters: &Parameters, batch: &Batch) -> Result<(f64, Gradient)> {
        let scale = 1.0 / batch.tokens.len() as f32;
        let parts = self.each(batch, |lane| {
            let mut gradient = Gradient::zero(parameters);
            let mut loss = 0.0;
            for (tokens, targets) in lane {
                loss +=
                    self.model.gradient(parameters, tokens, targets, self.length, scale, &mut gradient)?;
            }
            Ok((loss, gradient))
        })?;
        let mut parts = parts.into_iter();
        let (mut loss, mut gradient) = parts.next().ok_or_else(|| anyhow!("there is no lane"))?;
        for (more_loss, more) in parts {
            loss += more_loss;
            gradient.add(&more);
        }
        Ok((loss / batch.tokens.len() as f64, gradient))
    }

    /// The mean loss of a batch in nats per token.
    pub fn loss(&self, parameters: &Parameters, batch: &Batch) -> Result<f64> {
        let parts = self.each(batch, |lane| {
            lane.iter()
                .map(|(tokens, targets)| self.model.loss(parameters, tokens, targets, self.length))
                .sum()
        })?;
        Ok(parts.iter().sum::<f64>() / batch.tokens.len() as f64)
    }

    /// Runs `f` in each lane over that lane's micro-batches; the results in the lanes' order.
    fn each<R: Send>(
        &self,
        batch: &Batch,
        f: impl Fn(&[(&[u32], &[u32])]) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let size = self.length * self.micro_batch;
        let pieces: Vec<(&[u32], &[u32])> =
            batch.tokens.chunks(size).zip(batch.targets.chunks(size)).collect();
        let share = pieces.len().div_ceil(self.pools.len()).max(1);
        std::thread::scope(|scope| {
            let started = pieces.chunks(share).zip(&self.pools).map(|(lane, pool)| {
                let f = &f;
                scope.spawn(move || pool.install(|| f(lane)))
            });
            let started: Vec<_> = started.collect();
            started
                .into_iter()
                .map(|t| t.join().map_err(|_| anyhow!("a lane of the training broke down"))?)
                .collect()
        })
    }
}
