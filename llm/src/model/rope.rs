//! Rotary position embedding (Su et al. 2021) and the ways to stretch it over longer contexts: linear interpolation,
//! YaRN (Peng et al. 2023) and tensors of divisors (llama 3, LongRoPE), as llama.cpp computes them.

use super::architecture::{Architecture, Pairing, RopeFactors};
use super::error::LoadError;
use super::keys::Keys;
use alloc::string::String;

/// How queries and keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Leading dimensions of a head that are rotated.
    pub dims: usize,
    /// Which of them belong together.
    pub pairing: Pairing,
    /// Base of the frequencies.
    pub base: f64,
    /// Positions are divided by this.
    pub scale: f64,
    /// YaRN: pairs up to the first number keep their frequency, those from the second on are divided by
    /// [`scale`](Self::scale), those between are mixed.
    pub ramp: Option<[f32; 2]>,
    /// Rotated dimensions are multiplied by this.
    pub magnitude: f32,
    /// Context before it was stretched.
    pub original_context: usize,
    /// Tensors of divisors.
    pub factors: RopeFactors,
}

impl Rope {
    /// Reads and checks the metadata.
    pub(super) fn read(keys: &Keys<'_>, head_dim: usize, context: usize) -> Result<Self, LoadError> {
        let architecture = keys.architecture;
        let dims = keys.count("rope.dimension_count", 2..=head_dim, Some(head_dim))?;
        if !dims.is_multiple_of(2) {
            return Err(keys.bad("rope.dimension_count", "even".into()));
        }
        let base = keys.number("rope.freq_base", 1.0..=1e12, Some(10_000.0))?;
        let original_context =
            keys.count("rope.scaling.original_context_length", 1..=1 << 24, Some(context))?;
        let attention_factor = keys.number("rope.scaling.attn_factor", 1e-3..=1e3, Some(1.0))?;
        let kind = keys.text("rope.scaling.type", &["none", "linear", "yarn", "longrope"], "linear")?;
        let old = keys.number("rope.scale_linear", 1e-3..=1e6, Some(1.0))?;
        let factor = keys.number("rope.scaling.factor", 1e-3..=1e6, Some(old))?;
        let (mut ramp, mut magnitude) = (None, attention_factor);
        if kind == "yarn" {
            if base <= 1.0 {
                return Err(keys.bad("rope.freq_base", String::from("above 1 where the scaling is yarn")));
            }
            let [fast, slow, multiplier] = yarn_numbers(keys)?;
            ramp = Some(yarn_ramp(dims, original_context, base as f32, fast as f32, slow as f32));
            magnitude *= yarn_magnitude(factor, multiplier);
        }
        Ok(Self {
            dims,
            pairing: architecture.pairing,
            base,
            scale: if kind == "none" { 1.0 } else { factor },
            ramp,
            magnitude: magnitude as f32,
            original_context,
            factors: if kind == "longrope" { stretched(architecture) } else { architecture.factors },
        })
    }

    /// The rotation frequencies, one for each pair: `base^(-2i/dims) / scale`, or YaRN's mixture, divided by
    /// `factors[i]` where the model has such factors.
    pub fn frequencies(&self, factors: &[f32], out: &mut [f64]) {
        let pairs = out.len().max(1) as f64;
        for (i, out) in out.iter_mut().enumerate() {
            let factor = f64::from(factors.get(i).copied().unwrap_or(1.0));
            let unscaled = libm::pow(self.base, -(i as f64) / pairs);
            let interpolated = unscaled / (self.scale * factor);
            *out = match self.ramp {
                None => interpolated,
                Some([low, high]) => {
                    let along = (i as f32 - low) / (high - low).max(0.001);
                    let kept = f64::from(1.0 - along.clamp(0.0, 1.0));
                    interpolated * (1.0 - kept) + unscaled / factor * kept
                }
            };
        }
    }

    /// Cosine and sine of `position * frequency`, times the magnitude.
    pub fn rotation(&self, position: usize, frequencies: &[f64], out: &mut [[f32; 2]]) {
        for (out, frequency) in out.iter_mut().zip(frequencies) {
            let (sin, cos) = libm::sincos(position as f64 * frequency);
            *out = [cos as f32 * self.magnitude, sin as f32 * self.magnitude];
        }
    }

    /// Rotates one head; `rotation` has an entry for each pair, or none where the layer does not rotate.
    pub fn rotate(&self, head: &mut [f32], rotation: &[[f32; 2]]) {
        match self.pairing {
            Pairing::Interleaved => {
                for (pair, [cos, sin]) in head.chunks_exact_mut(2).zip(rotation) {
                    let (a, b) = (pair[0], pair[1]);
                    pair[0] = a * cos - b * sin;
                    pair[1] = a * sin + b * cos;
                }
            }
            Pairing::Halves => {
                let (first, second) = head.split_at_mut(rotation.len());
                for ((first, second), [cos, sin]) in first.iter_mut().zip(second).zip(rotation) {
                    let (a, b) = (*first, *second);
                    *first = a * cos - b * sin;
                    *second = a * sin + b * cos;
                }
            }
        }
    }
}

/// Which divisors a file of scaling type longrope has: a llama file then has those of phi3.
fn stretched(architecture: &Architecture) -> RopeFactors {
    match architecture.factors {
        RopeFactors::None => RopeFactors::None,
        _ => RopeFactors::LongShort,
    }
}

/// Where the ramp begins and ends in rotations over the original context, and the logarithm's multiplier (0: unset).
fn yarn_numbers(keys: &Keys<'_>) -> Result<[f64; 3], LoadError> {
    let defaults = [32.0, 1.0, 0.0];
    if !keys.architecture.yarn_keys {
        return Ok(defaults);
    }
    Ok([
        keys.number("rope.scaling.yarn_beta_fast", 1e-3..=1e6, Some(defaults[0]))?,
        keys.number("rope.scaling.yarn_beta_slow", 1e-3..=1e6, Some(defaults[1]))?,
        keys.number("rope.scaling.yarn_log_multiplier", 0.0..=1e3, Some(defaults[2]))?,
    ])
}

/// The pairs between which frequencies are mixed: those that turn `fast` and `slow` times over the original context. In f32,
/// as llama.cpp does it, for the results are rounded to whole pairs.
fn yarn_ramp(dims: usize, context: usize, base: f32, fast: f32, slow: f32) -> [f32; 2] {
    let pair = |turns: f32| {
        dims as f32 * libm::logf(context as f32 / (turns * 2.0 * core::f32::consts::PI))
            / (2.0 * libm::logf(base))
    };
    [libm::floorf(pair(fast)).max(0.0), libm::ceilf(pair(slow)).min(dims as f32 - 1.0)]
}

/// `0.1 ln(factor) + 1`, over the same with the multiplier where the file gives one (DeepSeek's "mscale").
fn yarn_magnitude(factor: f64, multiplier: f64) -> f64 {
    let magnitude =
        |multiplier: f64| if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * libm::log(factor) + 1.0 };
    if multiplier == 0.0 { magnitude(1.0) } else { magnitude(1.0) / magnitude(multiplier) }
}
