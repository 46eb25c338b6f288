//! The registry as OpenMetrics 1.0 text (`application/openmetrics-text; version=1.0.0; charset=utf-8`).

use core::fmt::{self, Write};

use super::unit::Exact;
use super::{Description, Histogram, Label, Metric, Registry};

impl Registry {
    /// Writes every metric as OpenMetrics text, ended by `# EOF`. Needs no heap.
    pub fn openmetrics(&self, out: &mut dyn Write) -> fmt::Result {
        let mut family = "";
        for metric in self.metrics() {
            let d = metric.description();
            if d.name != family {
                family = d.name;
                header(metric, out)?;
            }
            match metric {
                Metric::Counter(m) => {
                    sample(out, d, "_total", None, Exact { steps: m.get(), unit: d.unit })?;
                }
                Metric::Gauge(m) => sample(out, d, "", None, Float(m.get()))?,
                Metric::Histogram(m) => histogram(m, out)?,
            }
        }
        out.write_str("# EOF\n")
    }
}

fn header(metric: &Metric, out: &mut dyn Write) -> fmt::Result {
    let d = metric.description();
    writeln!(out, "# TYPE {} {}", d.name, metric.kind())?;
    if !d.unit.name().is_empty() {
        writeln!(out, "# UNIT {} {}", d.name, d.unit.name())?;
    }
    writeln!(out, "# HELP {} {}", d.name, Escaped(d.help))
}

fn histogram(m: &Histogram, out: &mut dyn Write) -> fmt::Result {
    let d = m.description();
    let mut result = Ok(());
    let count = m.cumulative(|bound, seen| {
        if result.is_ok() {
            let le = Exact { steps: bound, unit: d.unit };
            result = sample(out, d, "_bucket", Some(format_args!("{le}")), seen);
        }
    });
    result?;
    sample(out, d, "_bucket", Some(format_args!("+Inf")), count)?;
    sample(out, d, "_count", None, count)?;
    sample(out, d, "_sum", None, Exact { steps: m.sum(), unit: d.unit })
}

/// One line: name, suffix, labels (`le` last), value.
fn sample(
    out: &mut dyn Write,
    d: &Description,
    suffix: &str,
    le: Option<fmt::Arguments<'_>>,
    value: impl fmt::Display,
) -> fmt::Result {
    write!(out, "{}{suffix}", d.name)?;
    if !d.labels.is_empty() || le.is_some() {
        out.write_str("{")?;
        labels(out, d.labels)?;
        if let Some(le) = le {
            let comma = if d.labels.is_empty() { "" } else { "," };
            write!(out, "{comma}le=\"{le}\"")?;
        }
        out.write_str("}")?;
    }
    writeln!(out, " {value}")
}

fn labels(out: &mut dyn Write, labels: &[Label]) -> fmt::Result {
    for (at, (key, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}{key}=\"{}\"", Escaped(value))?;
    }
    Ok(())
}

/// Backslash, quote and line feed escaped, as label values and help texts ask.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

/// A float as OpenMetrics spells it.
struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            v if v.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            v => write!(f, "{v}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::*;
    use alloc::string::String;

    #[test]
    fn text_is_as_the_standard_spells_it() {
        static C: Counter = Counter::new("auton_spent_seconds", Unit::Seconds, "A \"quoted\"\nhelp.");
        static G: Gauge = Gauge::new("auton_none", Unit::None, "G.").labels(&[("why", "a\"b")]);
        static R: Registry = Registry::new(&[Metric::Counter(&C), Metric::Gauge(&G)]);
        C.add(2_500_000_000);
        G.set(f64::INFINITY);
        let mut page = String::new();
        R.openmetrics(&mut page).unwrap();
        let expected = "# TYPE auton_spent_seconds counter\n# UNIT auton_spent_seconds seconds\n\
            # HELP auton_spent_seconds A \\\"quoted\\\"\\nhelp.\nauton_spent_seconds_total 2.5\n\
            # TYPE auton_none gauge\n# HELP auton_none G.\nauton_none{why=\"a\\\"b\"} +Inf\n# EOF\n";
        assert_eq!(page, expected);
    }
}
