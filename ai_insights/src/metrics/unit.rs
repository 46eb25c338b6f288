//! Units, and numbers printed in them.

use core::fmt;

/// The base unit of a metric, as OpenMetrics wants it: seconds and bytes, never milliseconds or KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain count of things.
    None,
    /// Bytes.
    Bytes,
    /// Seconds. Counters and histograms record **nanoseconds** and are printed in seconds.
    Seconds,
    /// A share from 0 to 1. Counters and histograms record **millionths** and are printed as 0–1.
    Ratio,
}

impl Unit {
    /// The unit's name, which is also the last word of the metric's name; empty for [`Unit::None`].
    pub const fn name(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Ratio => "ratio",
        }
    }

    /// How many recorded steps of a counter or histogram make one unit.
    pub const fn steps(self) -> u64 {
        match self {
            Unit::None | Unit::Bytes => 1,
            Unit::Seconds => 1_000_000_000,
            Unit::Ratio => 1_000_000,
        }
    }
}

/// An integer number of steps, displayed exactly in units: 1,500,000 ns is `0.0015` seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact {
    pub steps: u64,
    pub unit: Unit,
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_unit = self.unit.steps();
        write!(f, "{}", self.steps / per_unit)?;
        let mut rest = self.steps % per_unit;
        if rest == 0 {
            return Ok(());
        }
        f.write_str(".")?;
        let mut digit = per_unit / 10;
        while rest > 0 && digit > 0 {
            write!(f, "{}", rest / digit)?;
            rest %= digit;
            digit /= 10;
        }
        Ok(())
    }
}

/// A value in base units, displayed for people: `1.50 ms`, `12.3 MiB`, `42.0 %`, `1234`.
///
/// ```
/// use ai_insights::metrics::{Human, Unit};
/// assert_eq!(Human(0.0015, Unit::Seconds).to_string(), "1.50 ms");
/// assert_eq!(Human(3.0 * 1024.0 * 1024.0, Unit::Bytes).to_string(), "3.0 MiB");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Human(pub f64, pub Unit);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Human(value, unit) = *self;
        if !value.is_finite() {
            return f.write_str("-");
        }
        let size = value.abs();
        match unit {
            Unit::Seconds if size == 0.0 => f.write_str("0 s"),
            Unit::Seconds if size < 1e-6 => write!(f, "{:.0} ns", value * 1e9),
            Unit::Seconds if size < 1e-3 => write!(f, "{:.2} us", value * 1e6),
            Unit::Seconds if size < 1.0 => write!(f, "{:.2} ms", value * 1e3),
            Unit::Seconds => write!(f, "{value:.2} s"),
            Unit::Bytes if size < 1024.0 => write!(f, "{value:.0} B"),
            Unit::Bytes if size < 1024.0 * 1024.0 => write!(f, "{:.1} KiB", value / 1024.0),
            Unit::Bytes if size < 1024.0 * 1024.0 * 1024.0 => {
                write!(f, "{:.1} MiB", value / (1024.0 * 1024.0))
            }
            Unit::Bytes => write!(f, "{:.2} GiB", value / (1024.0 * 1024.0 * 1024.0)),
            Unit::Ratio => write!(f, "{:.1} %", value * 100.0),
            // A whole number has no fraction to show; floats have no `fract` in core.
            Unit::None if value as i64 as f64 == value => write!(f, "{value:.0}"),
            Unit::None => write!(f, "{value:.3}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn exact_decimals_lose_nothing() {
        let seconds = |steps| Exact { steps, unit: Unit::Seconds }.to_string();
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(1), "0.000000001");
        assert_eq!(seconds(1_500_000_000), "1.5");
        assert_eq!(seconds(u64::MAX), "18446744073.709551615");
        assert_eq!(Exact { steps: 250_000, unit: Unit::Ratio }.to_string(), "0.25");
    }

    #[test]
    fn people_read_scaled_values() {
        assert_eq!(Human(f64::NAN, Unit::Bytes).to_string(), "-");
        assert_eq!(Human(0.42, Unit::Ratio).to_string(), "42.0 %");
        assert_eq!(Human(7.0, Unit::None).to_string(), "7");
        assert_eq!(Human(0.5, Unit::None).to_string(), "0.500");
    }
}
