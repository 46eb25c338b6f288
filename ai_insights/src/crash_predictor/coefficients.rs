//! Written by `cargo xtask fit crash`; do not edit. A first guess, until the first fit replaces it.

use super::features::FEATURES;
use super::model::Coefficients;

/// The fitted model.
pub const FITTED: Coefficients = Coefficients {
    bias: -6.0,
    weights: [0.0, 0.5, 1.0, 1.0, 0.5, 0.5, 0.3, 0.3, 0.0, -0.5, -0.5, 1.0, 0.5, 0.5, 0.3, 0.5],
    time_low: 0.5,
    time_mid: 1.0,
    time_high: 2.0,
    threshold: 0.5,
    base_rate: 0.1,
};
const _: () = assert!(FITTED.weights.len() == FEATURES);
