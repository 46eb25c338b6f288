//! The registry as JSON, described by `docs/schemas/metrics.schema.json`.

use core::fmt::{self, Write};

use super::unit::Exact;
use super::{Metric, Registry};

/// Version of the JSON document. Grows when a reader of the old form would misread the new one.
pub const JSON_VERSION: u32 = 1;

impl Registry {
    /// Writes every metric as one JSON object. Needs no heap. Values are in base units; what is not a
    /// finite number is `null`.
    pub fn json(&self, uptime_ns: u64, out: &mut dyn Write) -> fmt::Result {
        let uptime = Exact { steps: uptime_ns, unit: super::Unit::Seconds };
        write!(
            out,
            "{{\"schema\":\"auton.metrics\",\"version\":{JSON_VERSION},\"uptime_seconds\":{uptime},\"metrics\":["
        )?;
        for (at, metric) in self.metrics().iter().enumerate() {
            if at > 0 {
                out.write_str(",")?;
            }
            one(metric, out)?;
        }
        out.write_str("]}")
    }
}

fn one(metric: &Metric, out: &mut dyn Write) -> fmt::Result {
    let d = metric.description();
    write!(out, "{{\"name\":{},\"type\":\"{}\",", Text(d.name), metric.kind())?;
    write!(out, "\"unit\":\"{}\",\"help\":{},\"labels\":{{", d.unit.name(), Text(d.help))?;
    for (at, (key, value)) in d.labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(out, "{comma}{}:{}", Text(key), Text(value))?;
    }
    out.write_str("},")?;
    let exact = |steps| Exact { steps, unit: d.unit };
    match metric {
        Metric::Counter(m) => write!(out, "\"value\":{}", exact(m.get()))?,
        Metric::Gauge(m) if m.get().is_finite() => write!(out, "\"value\":{}", m.get())?,
        Metric::Gauge(_) => out.write_str("\"value\":null")?,
        Metric::Histogram(m) => {
            let s = m.summary();
            write!(out, "\"count\":{},\"sum\":{},", s.count, exact(s.sum))?;
            let parts = [
                ("min", s.min),
                ("max", s.max),
                ("p50", s.p50),
                ("p90", s.p90),
                ("p99", s.p99),
                ("p999", s.p999),
            ];
            for (at, (key, steps)) in parts.into_iter().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                match s.count {
                    0 => write!(out, "{comma}\"{key}\":null")?,
                    _ => write!(out, "{comma}\"{key}\":{}", exact(steps))?,
                }
            }
        }
    }
    out.write_str("}")
}

/// A JSON string, quotes included.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        self.0.chars().try_for_each(|c| match c {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            c if (c as u32) < 0x20 => write!(f, "\\u{:04x}", c as u32),
            c => f.write_char(c),
        })?;
        f.write_str("\"")
    }
}
