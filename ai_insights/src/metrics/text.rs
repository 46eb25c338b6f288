//! The registry as an aligned table for people.

use core::fmt::{self, Write};

use super::{Human, Metric, Registry, Unit};

impl Registry {
    /// Writes a table, one metric a line, grouped by area (`auton_<area>_…`), values with their units;
    /// a histogram shows count and quantiles. Needs no heap.
    pub fn text(&self, out: &mut dyn Write) -> fmt::Result {
        let width = self.metrics().iter().map(|m| name(m, &mut Count(0))).max().unwrap_or(0);
        let mut group = "";
        for metric in self.metrics() {
            let d = metric.description();
            if d.group() != group {
                let gap = if group.is_empty() { "" } else { "\n" };
                group = d.group();
                writeln!(out, "{gap}{group}")?;
            }
            out.write_str("  ")?;
            let mut written = Both { out, count: 0 };
            let used = {
                write_name(metric, &mut written)?;
                written.count
            };
            write!(out, "{:pad$}", "", pad = width.saturating_sub(used) + 2)?;
            value(metric, out)?;
            out.write_str("\n")?;
        }
        Ok(())
    }
}

fn value(metric: &Metric, out: &mut dyn Write) -> fmt::Result {
    let d = metric.description();
    let human = |steps: u64| Human(steps as f64 / d.unit.steps() as f64, d.unit);
    match metric {
        Metric::Counter(m) if d.unit == Unit::None => write!(out, "{}", m.get()),
        Metric::Counter(m) => write!(out, "{}", human(m.get())),
        Metric::Gauge(m) => write!(out, "{}", Human(m.get(), d.unit)),
        Metric::Histogram(m) => {
            let s = m.summary();
            if s.count == 0 {
                return out.write_str("none yet");
            }
            write!(out, "{} times, p50 {}, p90 {}, ", s.count, human(s.p50), human(s.p90))?;
            write!(out, "p99 {}, p99.9 {}, max {}", human(s.p99), human(s.p999), human(s.max))
        }
    }
}

fn write_name(metric: &Metric, out: &mut dyn Write) -> fmt::Result {
    let d = metric.description();
    let within = d.name.strip_prefix("auton_").and_then(|n| n.strip_prefix(d.group()));
    let short = within.map(|n| n.trim_start_matches('_')).filter(|n| !n.is_empty()).unwrap_or(d.name);
    out.write_str(short)?;
    for (at, (key, value)) in d.labels.iter().enumerate() {
        write!(out, "{}{key}={value}", if at == 0 { " " } else { "," })?;
    }
    Ok(())
}

fn name(metric: &Metric, count: &mut Count) -> usize {
    // Counting characters cannot fail.
    let _ = write_name(metric, count);
    count.0
}

/// Counts the characters written to it.
struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 += s.chars().count();
        Ok(())
    }
}

/// Writes through and counts.
struct Both<'a> {
    out: &'a mut dyn Write,
    count: usize,
}

impl Write for Both<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.count += s.chars().count();
        self.out.write_str(s)
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::*;
    use alloc::string::String;

    #[test]
    fn columns_line_up() {
        static FREE: Gauge = Gauge::new("auton_memory_free_bytes", Unit::Bytes, "Free.");
        static C: Counter =
            Counter::new("auton_memory_allocations", Unit::None, "C.").labels(&[("cpu", "0")]);
        static H: Histogram = Histogram::new("auton_slm_answer_seconds", Unit::Seconds, "H.");
        static R: Registry =
            Registry::new(&[Metric::Gauge(&FREE), Metric::Counter(&C), Metric::Histogram(&H)]);
        FREE.set(2048.0);
        let mut table = String::new();
        R.text(&mut table).unwrap();
        let expected = "memory\n  free_bytes         2.0 KiB\n  allocations cpu=0  0\n\nslm\n  answer_seconds     none yet\n";
        assert_eq!(table, expected);
    }
}
