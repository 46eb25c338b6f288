//! The one metrics registry. Whoever counts something declares a static [`Counter`], [`Gauge`] or
//! [`Histogram`]; the kernel lists them all in one [`Registry`], which every view (shell, JSON,
//! OpenMetrics) reads.
//!
//! ```
//! use ai_insights::metrics::{Counter, Gauge, Histogram, Metric, Registry, Unit};
//!
//! static QUERIES: Counter = Counter::new("auton_slm_queries", Unit::None, "Questions asked of the model.");
//! static FREE: Gauge = Gauge::new("auton_memory_free_bytes", Unit::Bytes, "Free memory.");
//! static ANSWER: Histogram = Histogram::new("auton_slm_answer_seconds", Unit::Seconds, "Time of an answer.");
//! static METRICS: Registry =
//!     Registry::new(&[Metric::Counter(&QUERIES), Metric::Gauge(&FREE), Metric::Histogram(&ANSWER)]);
//!
//! QUERIES.inc();
//! FREE.set(512.0 * 1024.0 * 1024.0);
//! ANSWER.record(1_500_000); // nanoseconds
//! METRICS.validate().unwrap();
//!
//! let mut page = String::new();
//! METRICS.openmetrics(&mut page).unwrap();
//! assert!(page.contains("auton_slm_queries_total 1\n") && page.ends_with("# EOF\n"));
//! ```
//!
//! Honest limits: a counter is one shared word, not one a CPU, so CPUs that count the same thing at a high
//! rate contend for its cache line; labels are fixed at compile time; there is no history here.

mod counter;
mod gauge;
mod histogram;
mod json;
mod openmetrics;
mod sparkline;
mod text;
mod unit;

pub use counter::Counter;
pub use gauge::Gauge;
pub use histogram::{BUCKETS, Histogram, SUB_BUCKETS, Summary};
pub use sparkline::Sparkline;
pub use unit::{Human, Unit};

use thiserror::Error;

/// A label and its value, both fixed at compile time: `("policy", "fair")`.
pub type Label = (&'static str, &'static str);

/// What a metric is called and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// `auton_<area>_<what>[_<unit>]`, lower case, without `_total`.
    pub name: &'static str,
    /// The base unit.
    pub unit: Unit,
    /// One sentence.
    pub help: &'static str,
    /// Fixed labels that tell metrics of one name apart.
    pub labels: &'static [Label],
}

impl Description {
    const fn new(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Description { name, unit, help, labels: &[] }
    }

    /// The word after `auton_`, by which views group: `memory` of `auton_memory_free_bytes`.
    pub fn group(&self) -> &'static str {
        self.name.split('_').nth(1).unwrap_or(self.name)
    }
}

/// One metric of any kind, as the registry lists it.
#[derive(Debug, Clone, Copy)]
pub enum Metric {
    /// A total since boot.
    Counter(&'static Counter),
    /// A present value.
    Gauge(&'static Gauge),
    /// A distribution.
    Histogram(&'static Histogram),
}

impl Metric {
    /// Name, unit, help and labels.
    pub fn description(&self) -> &'static Description {
        match *self {
            Metric::Counter(m) => m.description(),
            Metric::Gauge(m) => m.description(),
            Metric::Histogram(m) => m.description(),
        }
    }

    /// The kind's name in OpenMetrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Metric::Counter(_) => "counter",
            Metric::Gauge(_) => "gauge",
            Metric::Histogram(_) => "histogram",
        }
    }
}

/// Every metric of the program, in the order in which views show them.
#[derive(Debug)]
pub struct Registry {
    metrics: &'static [Metric],
}

impl Registry {
    /// A registry over a static list. Metrics of one name (with different labels) stand together.
    pub const fn new(metrics: &'static [Metric]) -> Self {
        Registry { metrics }
    }

    /// All metrics.
    pub fn metrics(&self) -> &'static [Metric] {
        self.metrics
    }

    /// The first metric of this name.
    pub fn find(&self, name: &str) -> Option<Metric> {
        self.metrics.iter().copied().find(|m| m.description().name == name)
    }

    /// Checks what the encoders rely on: names, units, labels, order, and that nothing is listed twice.
    /// A program calls it once in a test over its own registry.
    pub fn validate(&self) -> Result<(), RegistryError> {
        for (at, metric) in self.metrics.iter().enumerate() {
            let d = metric.description();
            check_name(d)?;
            let earlier = self.metrics.get(..at).unwrap_or_default();
            for (before, other) in earlier.iter().enumerate() {
                let o = other.description();
                if o.name != d.name {
                    continue;
                }
                if o.labels == d.labels {
                    return Err(RegistryError::Twice(d.name));
                }
                let together = earlier[before..].iter().all(|m| m.description().name == d.name);
                if !together || other.kind() != metric.kind() || o.unit != d.unit {
                    return Err(RegistryError::Scattered(d.name));
                }
            }
        }
        Ok(())
    }
}

fn check_name(d: &'static Description) -> Result<(), RegistryError> {
    let word = |s: &str| {
        !s.is_empty()
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !s.as_bytes()[0].is_ascii_digit()
    };
    let reserved = ["_total", "_count", "_sum", "_bucket", "_created", "_info"];
    if !d.name.starts_with("auton_") || !word(d.name) || reserved.iter().any(|r| d.name.ends_with(r)) {
        return Err(RegistryError::Name(d.name));
    }
    let unit = d.unit.name();
    if !unit.is_empty() && !d.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
        return Err(RegistryError::Unit { name: d.name, unit });
    }
    if d.labels.iter().any(|(key, _)| !word(key) || *key == "le") {
        return Err(RegistryError::Label(d.name));
    }
    Ok(())
}

/// What is wrong with a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The name breaks the rules.
    #[error("metric name '{0}' must be auton_<lower_case_words> without a suffix that the encoder adds")]
    Name(&'static str),
    /// The name does not say the unit.
    #[error("metric '{name}' is in {unit}: its name must end in _{unit}")]
    Unit {
        /// The metric's name.
        name: &'static str,
        /// Its unit's name.
        unit: &'static str,
    },
    /// A label key breaks the rules.
    #[error("metric '{0}' has a label key that is not a lower-case word, or is the reserved 'le'")]
    Label(&'static str),
    /// Same name and same labels.
    #[error("metric '{0}' is listed twice with the same labels; give one of them other labels")]
    Twice(&'static str),
    /// One name in several places, kinds or units.
    #[error("metrics named '{0}' must stand together in the registry and have one kind and unit")]
    Scattered(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_registries_are_named() {
        static A: Counter = Counter::new("auton_a", Unit::None, "A.");
        static B: Counter = Counter::new("auton_b", Unit::None, "B.");
        static A_LABELLED: Counter = Counter::new("auton_a", Unit::None, "A.").labels(&[("cpu", "1")]);
        static TOTAL: Counter = Counter::new("auton_a_total", Unit::None, "A.");
        static NO_UNIT: Gauge = Gauge::new("auton_free", Unit::Bytes, "Free.");
        static LE: Gauge = Gauge::new("auton_le", Unit::None, "Label.").labels(&[("le", "1")]);
        static GOOD: Registry =
            Registry::new(&[Metric::Counter(&A), Metric::Counter(&A_LABELLED), Metric::Counter(&B)]);
        assert_eq!(GOOD.validate(), Ok(()));
        macro_rules! fault {
            ($($metric:expr),*) => {{
                static R: Registry = Registry::new(&[$($metric),*]);
                R.validate().unwrap_err()
            }};
        }
        assert_eq!(fault!(Metric::Counter(&A), Metric::Counter(&A)), RegistryError::Twice("auton_a"));
        assert_eq!(
            fault!(Metric::Counter(&A), Metric::Counter(&B), Metric::Counter(&A_LABELLED)),
            RegistryError::Scattered("auton_a")
        );
        assert_eq!(fault!(Metric::Counter(&TOTAL)), RegistryError::Name("auton_a_total"));
        assert_eq!(
            fault!(Metric::Gauge(&NO_UNIT)),
            RegistryError::Unit { name: "auton_free", unit: "bytes" }
        );
        assert_eq!(fault!(Metric::Gauge(&LE)), RegistryError::Label("auton_le"));
    }

    #[test]
    fn gauges_add_and_counters_count() {
        static G: Gauge = Gauge::new("auton_g", Unit::None, "G.");
        G.set(2.5);
        G.add(-1.0);
        assert_eq!(G.get(), 1.5);
        static C: Counter = Counter::new("auton_c", Unit::None, "C.");
        C.inc();
        C.add(4);
        assert_eq!(C.get(), 5);
    }
}
