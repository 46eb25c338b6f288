//! Sizes, times and rates for people.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

/// Bytes with a binary unit and one decimal: `512 B`, `1.5 KiB`, `256.0 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = "KiB";
    for next in units.into_iter().skip(1) {
        // What would round to 1024.0 belongs to the next unit.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.1} {unit}")
}

/// Bytes in the largest unit that divides them: `4 KiB`, `256 MiB`.
pub(crate) fn exact_bytes(n: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| n > 0 && n.trailing_zeros() >= *shift);
    unit.map_or_else(|| format!("{n} B"), |(shift, name)| format!("{} {name}", n >> shift))
}

/// Seconds and microseconds: `12.345678`.
pub(crate) fn seconds(t: Duration) -> String {
    format!("{}.{:06}", t.as_secs(), t.subsec_micros())
}

/// Days, hours, minutes, seconds: `2 d 3:04:05`, `0:00:07`.
pub(crate) fn clock(t: Duration) -> String {
    let s = t.as_secs();
    let hms = format!("{}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
    if s >= 86_400 { format!("{} d {hms}", s / 86_400) } else { hms }
}

/// A time with three digits or so: `850 ns`, `12.3 us`, `4.56 ms`, `7.89 s`.
pub(crate) fn short_time(t: Duration) -> String {
    let ns = t.as_nanos() as f64;
    match t.as_nanos() {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// A share of a whole in per cent, 0 where there is no whole.
pub(crate) fn percent(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { 100.0 * part.as_secs_f64() / whole.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(256 << 20)],
            ["0 B", "1023 B", "1.5 KiB", "256.0 MiB"]
        );
        assert_eq!([bytes((1 << 20) - 1), bytes(u64::MAX)], ["1.0 MiB", "16777216.0 TiB"]);
        assert_eq!(
            [exact_bytes(4096), exact_bytes(256 << 20), exact_bytes(1000)],
            ["4 KiB", "256 MiB", "1000 B"]
        );
        assert_eq!(seconds(Duration::from_micros(12_345_678)), "12.345678");
        assert_eq!(
            [clock(Duration::from_secs(7)), clock(Duration::from_secs(183_845))],
            ["0:00:07", "2 d 3:04:05"]
        );
        assert_eq!(
            [short_time(Duration::from_nanos(850)), short_time(Duration::from_micros(4560))],
            ["850 ns", "4.56 ms"]
        );
    }
}
