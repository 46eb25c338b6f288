//! Logarithms and powers of two in whole numbers, for what must be quick where floating point is emulated.
//!
//! A logarithm is a fixed-point number with 16 bits behind the point ([`ONE`]). Both functions read a table of 64 steps and go straight
//! between two of them: the logarithm is off by 0.00005 at most, the power by 0.003 %.

/// 1.0 as a logarithm.
pub(crate) const ONE: i32 = 1 << 16;

const STEPS: usize = 64;
/// log₂(1 + i / 64), 16 bits behind the point.
static LOGARITHMS: [u32; STEPS + 1] = logarithms();
/// 2^(i / 64), 30 bits behind the point.
static POWERS: [u32; STEPS + 1] = powers();

/// ln x of 1..=2 by its series in (x − 1) / (x + 1).
const fn ln(x: f64) -> f64 {
    let t = (x - 1.0) / (x + 1.0);
    let (mut sum, mut power, mut n) = (0.0, t, 1);
    while n < 40 {
        sum += power / n as f64;
        power *= t * t;
        n += 2;
    }
    2.0 * sum
}

/// e^x of 0..=1 by its series.
const fn exp(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1);
    while n < 25 {
        term *= x / n as f64;
        sum += term;
        n += 1;
    }
    sum
}

const fn logarithms() -> [u32; STEPS + 1] {
    let (mut table, mut i) = ([0; STEPS + 1], 0);
    while i <= STEPS {
        table[i] = (ln(1.0 + i as f64 / STEPS as f64) / ln(2.0) * ONE as f64 + 0.5) as u32;
        i += 1;
    }
    table
}

const fn powers() -> [u32; STEPS + 1] {
    let (mut table, mut i) = ([0; STEPS + 1], 0);
    while i <= STEPS {
        table[i] = (exp(ln(2.0) * i as f64 / STEPS as f64) * (1 << 30) as f64 + 0.5) as u32;
        i += 1;
    }
    table
}

/// Between the entries of a table at `share`/65536 of the step from `at` on.
fn between(table: &[u32; STEPS + 1], at: u32, share: u32) -> u32 {
    let at = at as usize % STEPS;
    table[at] + ((u64::from(table[at + 1] - table[at]) * u64::from(share)) >> 16) as u32
}

/// log₂ x; 0 for 0.
#[must_use]
pub(crate) fn log2(x: u64) -> i32 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    let mantissa = x << zeros;
    let part = between(&LOGARITHMS, (mantissa >> 57) as u32 & 63, (mantissa >> 41) as u32 & 0xffff);
    ((63 - zeros) << 16) as i32 + part as i32
}

/// 2 to a logarithm, within 1 and 2⁶³.
#[must_use]
pub(crate) fn exp2(logarithm: i32) -> u64 {
    let logarithm = logarithm.clamp(0, 63 * ONE) as u32;
    let mantissa = u64::from(between(&POWERS, logarithm >> 10 & 63, (logarithm & 0x3ff) << 6));
    match logarithm >> 16 {
        power @ 30.. => mantissa << (power - 30),
        power => mantissa >> (30 - power),
    }
}

/// As a natural logarithm.
#[must_use]
pub(crate) fn as_ln(logarithm: i32) -> f32 {
    logarithm as f32 * (core::f32::consts::LN_2 / ONE as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_exact_functions() {
        let mut x = 1_u64;
        while x < u64::MAX / 5 * 4 {
            let exact = libm::log2(x as f64);
            assert!((f64::from(log2(x)) / f64::from(ONE) - exact).abs() < 6e-5, "log2 {x}");
            x += x / 5 + 1;
        }
        for logarithm in (20 * ONE..63 * ONE).step_by(777) {
            let exact = libm::exp2(f64::from(logarithm) / f64::from(ONE));
            assert!((exp2(logarithm) as f64 / exact - 1.0).abs() < 3e-5, "exp2 {logarithm}");
        }
        assert_eq!((log2(0), log2(1), log2(1 << 40), exp2(0), exp2(-5)), (0, 0, 40 * ONE, 1, 1));
        assert_eq!(exp2(i32::MAX), 1 << 63);
    }
}
