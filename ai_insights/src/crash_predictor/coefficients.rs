//! Written by `cargo xtask fit crash`; do not edit.
//!
//! Data: 22 runs of the training families, recorded on Linux machines (`mem_oom`); none simulated.
//! Runs by family: bigheap (9), brk (2), cpu (1), dentry (1), fork (1), mmap (5), pagemove (1), qsort (1), switch (1).
//! Threshold and penalty by leave-one-family-out cross-validation on these families alone. Deterministic.

use super::model::Coefficients;

/// The fitted model.
pub const FITTED: Coefficients = Coefficients {
    bias: -2.65215,
    weights: [
        0.00000,  // end is near at this pace
        -2.13086, // end is far at this pace
        0.00000,  // end is near at the 10 s pace
        -0.52156, // fall is too young
        1.71040,  // fall is older than any before
        2.87523,  // straightness of the fall
        2.76870,  // growth without frees
        0.00000,  // little left
        -1.68719, // depth of the fall
        -1.69528, // recent recovery
        -1.91656, // slowing down
        0.00000,  // stall
        0.00000,  // refused allocations
        0.00000,  // fruitless reclaim
        0.00000,  // large blocks run out
        0.00000,  // fragmentation
    ],
    time_low: 0.4068,
    time_mid: 1.0006,
    time_high: 1.2852,
    threshold: 0.45,
    base_rate: 0.0982,
};
