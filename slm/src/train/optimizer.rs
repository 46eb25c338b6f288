//! The update of the weights: Muon for the matrices inside blocks, AdamW for the rest.
//!
//! Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>) makes the momentum of a matrix orthogonal by
//! five Newton–Schulz steps, so that all its directions are learned at the same pace; at this size it needs about a
//! third fewer tokens than AdamW (Loshchilov and Hutter 2019). Its step is scaled by 0.2·√(larger side), which gives
//! it AdamW's usual size, so that one learning rate serves both (Liu et al. 2025, "Muon is scalable").

use anyhow::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::model::Gradient;
use super::parameters::{Kind, Parameters, read};
use super::precision::Precision;
use super::vector::{self, vectorised};

/// Momentum of Muon.
const MOMENTUM: f32 = 0.95;
/// Decay of AdamW's two averages.
const BETAS: [f32; 2] = [0.9, 0.95];
/// Keeps AdamW's step finite.
const EPSILON: f32 = 1e-8;

/// What the optimiser remembers.
#[derive(Debug, Clone)]
pub struct Optimizer {
    /// Muon's momentum, or AdamW's average of gradients; one slice for each parameter.
    pub first: Vec<Vec<f32>>,
    /// AdamW's average of squares; empty for what Muon updates.
    pub second: Vec<Vec<f32>>,
    /// Updates so far.
    pub steps: u64,
}

/// The sizes of one update.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Learning rate.
    pub rate: f32,
    /// Weight decay of matrices.
    pub decay: f32,
    /// Gradients with a greater norm are scaled down to it.
    pub clip: f32,
    /// Precision of Muon's products.
    pub precision: Precision,
}

impl Optimizer {
    /// An optimiser that has seen nothing.
    pub fn new(parameters: &Parameters) -> Self {
        let sizes = parameters.all.iter().map(|p| (p.kind, p.rows() * p.columns));
        let second =
            sizes.clone().map(|(kind, n)| if kind == Kind::Hidden { Vec::new() } else { vec![0.0; n] });
        Optimizer { first: sizes.map(|(_, n)| vec![0.0; n]).collect(), second: second.collect(), steps: 0 }
    }

    /// Updates the parameters; returns the gradient's norm before it was clipped.
    pub fn update(
        &mut self,
        parameters: &mut Parameters,
        mut gradient: Gradient,
        rates: Rates,
    ) -> Result<f32> {
        let norm = gradient.norm();
        if norm > rates.clip {
            let factor = rates.clip / norm;
            gradient.0.iter_mut().flatten().for_each(|g| *g *= factor);
        }
        self.steps += 1;
        let steps = self.steps;
        let states = self.first.par_iter_mut().zip(&mut self.second);
        parameters.all.par_iter_mut().zip(states).zip(&gradient.0).try_for_each(
            |((p, state), gradient)| {
                let mut values = read(&p.values, <[f32]>::to_vec)?;
                match p.kind {
                    Kind::Hidden => {
                        let mut at = 0;
                        for part in &p.parts {
                            let range = at..at + part.rows * p.columns;
                            at = range.end;
                            let (first, gradient) = (&mut state.0[range.clone()], &gradient[range.clone()]);
                            muon(&mut values[range], first, gradient, part.rows, p.columns, rates)?;
                        }
                    }
                    Kind::Embedding => adam(&mut values, state.0, state.1, gradient, steps, rates),
                    Kind::Norm => {
                        adam(&mut values, state.0, state.1, gradient, steps, Rates { decay: 0.0, ..rates })
                    }
                }
                p.values = Tensor::from_vec(values, (p.rows(), p.columns), &Device::Cpu)?;
                anyhow::Ok(())
            },
        )?;
        Ok(norm)
    }
}

fn adam(
    values: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    gradient: &[f32],
    steps: u64,
    rates: Rates,
) {
    // The averages begin at zero: they are too small by these factors.
    let [short, long] = BETAS.map(|beta| 1.0 - beta.powf(steps as f32));
    vectorised!({
        for (((value, m), v), g) in
            values.iter_mut().zip(first.iter_mut()).zip(second.iter_mut()).zip(gradient)
        {
            *m += (1.0 - BETAS[0]) * (g - *m);
            *v += (1.0 - BETAS[1]) * (g * g - *v);
            let step = (*m / short) / ((*v / long).sqrt() + EPSILON);
            *value -= rates.rate * (step + rates.decay * *value);
        }
    });
}

fn muon(
    values: &mut [f32],
    momentum: &mut [f32],
    gradient: &[f32],
    rows: usize,
    columns: usize,
    rates: Rates,
) -> Result<()> {
    let ahead: Vec<f32> = momentum
        .iter_mut()
        .zip(gradient)
        .map(|(m, g)| {
            *m = MOMENTUM * *m + g;
            MOMENTUM * *m + g
        })
        .collect();
    let step = orthogonal(ahead, rows, columns, rates.precision)?;
    let scale = 0.2 * (rows.max(columns) as f32).sqrt();
    read(&step, |step| {
        vectorised!({
            for (value, step) in values.iter_mut().zip(step) {
                *value -= rates.rate * (scale * step + rates.decay * *value);
            }
        })
    })
}

/// About the orthogonal matrix nearest to `values`: its singular values come to lie between 0.7 and 1.2.
fn orthogonal(mut values: Vec<f32>, rows: usize, columns: usize, precision: Precision) -> Result<Tensor> {
    const STEPS: usize = 5;
    const A: f64 = 3.4445;
    const B: f64 = -4.7750;
    const C: f64 = 2.0315;
    let size = vectorised!(vector::sum_of(&values, &values, |a, b| a * b)).sqrt();
    values.iter_mut().for_each(|v| *v /= size + 1e-12);
    let x = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
    let tall = rows > columns;
    let mut x = if tall { x.t()?.contiguous()? } else { x };
    for _ in 0..STEPS {
        let square = precision.product(&x, &x.t()?)?;
        let polynomial = ((&square * B)? + (precision.product(&square, &square)? * C)?)?;
        x = ((&x * A)? + precision.product(&polynomial, &x)?)?;
    }
    Ok(if tall { x.t()?.contiguous()? } else { x })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;
    use llm::random::SplitMix64;

    #[test]
    fn a_step_of_muon_is_nearly_orthogonal() {
        let mut random = SplitMix64::new(5);
        for (rows, columns) in [(16, 16), (48, 32), (32, 64)] {
            let values = (0..rows * columns).map(|_| random.next_f32() - 0.5).collect();
            let step = orthogonal(values, rows, columns, Precision::F32).unwrap();
            let small = if rows > columns {
                step.t().unwrap().matmul(&step)
            } else {
                step.matmul(&step.t().unwrap())
            };
            let squares: Vec<Vec<f32>> = small.unwrap().to_vec2().unwrap();
            for (i, row) in squares.iter().enumerate() {
                assert!((0.3..1.6).contains(&row[i]), "{row:?}");
                let others: f32 =
                    row.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, v)| v.abs()).fold(0.0, f32::max);
                assert!(others < 0.5, "{others}");
            }
        }
    }

    #[test]
    fn updates_go_down_a_slope_and_norms_are_not_decayed() {
        let text = "name='t'\nlayers=1\nwidth=32\nffn=32\nheads=2\nkv_heads=1\nvocabulary=32\ncontext=32";
        let mut parameters = Parameters::random(&Shape::from_toml(text).unwrap(), 1).unwrap();
        let mut optimizer = Optimizer::new(&parameters);
        let rates = Rates { rate: 0.01, decay: 0.1, clip: 1.0, precision: Precision::F32 };
        let size = |p: &Parameters, at: usize| {
            read(&p.all[at].values, |v| v.iter().map(|v| v * v).sum::<f32>()).unwrap()
        };
        let before = [size(&parameters, 0), size(&parameters, 2)];
        for _ in 0..50 {
            // The gradient of half the sum of squares is the weights themselves; nothing pulls at the norms.
            let mut gradient = Gradient::zero(&parameters);
            for (g, p) in gradient.0.iter_mut().zip(&parameters.all) {
                if p.kind != Kind::Norm {
                    *g = read(&p.values, <[f32]>::to_vec).unwrap();
                }
            }
            optimizer.update(&mut parameters, gradient, rates).unwrap();
        }
        assert!(size(&parameters, 0) < 0.2 * before[0] && size(&parameters, 2) < 0.5 * before[1]);
        assert_eq!(size(&parameters, 1), 32.0);
    }
}
