//! Written by `cargo xtask fit crash`; do not edit.
//!
//! Data: 134 runs of the training families: 22 recorded on Linux machines (`mem_oom`), 112 simulated around `mm`.
//! Runs by family: bigheap (9), brk (2), burst (28), cache-growth (28), cpu (1), dentry (1), fork (1), leak (28), mmap (5), pagemove (1), plateau (28), qsort (1), switch (1).
//! Threshold and penalty by leave-one-family-out cross-validation on these families alone. Deterministic.

use super::model::Coefficients;

/// The fitted model.
pub const FITTED: Coefficients = Coefficients {
    bias: 0.95255,
    weights: [
        0.00000,  // end is near at this pace
        -0.52642, // end is far at this pace
        0.00000,  // end is near at the 10 s pace
        0.00000,  // fall is too young
        0.47665,  // fall is older than any before
        0.00000,  // straightness of the fall
        2.23106,  // growth without frees
        0.01419,  // little left
        -0.69021, // depth of the fall
        -0.26170, // recent recovery
        -1.88159, // slowing down
        0.00000,  // stall
        0.82195,  // refused allocations
        0.00000,  // fruitless reclaim
        0.00000,  // large blocks run out
        1.21210,  // fragmentation
        -0.38356, // falls survived
        0.00000,  // within what was survived
        0.04514,  // lower than ever survived
        0.06108,  // deeper than any fall survived
        -0.87086, // faster than any fall survived
        1.43964,  // steady course to a near end
    ],
    time_low: 0.4839,
    time_mid: 0.9234,
    time_high: 1.4955,
    threshold: 0.75,
    base_rate: 0.1476,
};
