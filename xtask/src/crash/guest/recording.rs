//! A recorded run of the booted kernel, and the file that it is kept in: a line of facts (`# family=leak seed=3 …`), the
//! names of the columns, which are the fields of [`Sample`], and a line for each sample.

use super::super::run::Run;
use ai_insights::crash_predictor::{HORIZON_NS, Sample};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// More samples than any run has.
const MOST_SAMPLES: usize = 100_000;

/// What `memctl stress` calls a family, and its name in leg (a), by which families are for training or not.
pub const FAMILIES: [(&str, &str); 7] = [
    ("leak", "leak"),
    ("forks", "fork-storm"),
    ("fragments", "fragmentation"),
    ("burst", "burst"),
    ("cache", "cache-growth"),
    ("sawtooth", "sawtooth"),
    ("plateau", "plateau"),
];

/// A run, from the first sample of the recording to the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// As `memctl stress` calls it.
    pub family: String,
    /// What its parameters were drawn from.
    pub seed: u64,
    /// Whether the guard acted.
    pub guarded: bool,
    /// When the workload began and ended, in nanoseconds after boot.
    pub start_ns: u64,
    /// See `start_ns`.
    pub end_ns: u64,
    /// Why it ended: `time`, `killed`, `refused`.
    pub end: String,
    /// Every time that memory ran out.
    pub ooms_ns: Vec<u64>,
    /// Further numbers, such as the guard's actions.
    pub facts: BTreeMap<String, f64>,
    /// About ten a second.
    pub samples: Vec<Sample>,
}

impl Recording {
    /// The run as it is judged. It ends with the first OOM, which ends the workload. A run without one is seen until the
    /// predictor's horizon before its end: the rest is there for its last alarms to come true.
    pub fn run(&self) -> Run {
        let oom = self.ooms_ns.iter().copied().find(|oom| *oom > self.start_ns);
        let seen = oom.unwrap_or(self.end_ns.saturating_sub(HORIZON_NS));
        Run {
            family: simulated_name(&self.family).to_owned(),
            simulated: false,
            name: format!("{} {}{}", self.family, self.seed, if self.guarded { " guarded" } else { "" }),
            samples: self.samples.iter().filter(|s| s.t_ns < seen).copied().collect(),
            start_ns: self.start_ns,
            ooms: oom.into_iter().collect(),
        }
    }

    /// Whether it ran for its whole time and memory never ran out.
    pub fn lasted(&self) -> bool {
        self.end == "time" && self.ooms_ns.is_empty()
    }

    /// A number that was noted; 0 where it was not.
    pub fn fact(&self, name: &str) -> f64 {
        self.facts.get(name).copied().unwrap_or(0.0)
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.csv", self.family, self.seed, if self.guarded { "on" } else { "off" })
    }

    /// The file.
    pub fn to_csv(&self) -> String {
        let ooms: Vec<String> = self.ooms_ns.iter().map(u64::to_string).collect();
        let mut text = format!(
            "# family={} seed={} guarded={} start_ns={} end_ns={} end={} ooms_ns={}",
            self.family,
            self.seed,
            self.guarded,
            self.start_ns,
            self.end_ns,
            self.end,
            ooms.join(";")
        );
        for (name, number) in &self.facts {
            let _ = write!(text, " {name}={number}");
        }
        let _ = writeln!(text, "\n{}", Sample::COLUMNS.join(","));
        for sample in &self.samples {
            let cells = sample.row().map(|n| n.to_string());
            let _ = writeln!(text, "{}", cells.join(","));
        }
        text
    }

    /// Reads what [`to_csv`](Self::to_csv) wrote.
    pub fn from_csv(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let head =
            lines.next().and_then(|line| line.strip_prefix("# ")).context("it has no line of facts")?;
        let mut words = BTreeMap::new();
        for word in head.split_whitespace() {
            let (name, value) = word.split_once('=').with_context(|| format!("`{word}` is no fact"))?;
            words.insert(name, value);
        }
        let mut take = |name: &str| words.remove(name).with_context(|| format!("{name} is not stated"));
        let (family, seed, guarded) = (take("family")?.to_owned(), take("seed")?, take("guarded")?);
        let (start_ns, end_ns, end) = (take("start_ns")?, take("end_ns")?, take("end")?.to_owned());
        let ooms = take("ooms_ns")?.split(';').filter(|oom| !oom.is_empty());
        let ooms_ns = ooms.map(str::parse).collect::<Result<_, _>>().context("ooms_ns are not numbers")?;
        let number = |(name, value): (&str, &str)| {
            let number = value.parse::<f64>().with_context(|| format!("{name} is no number"))?;
            Ok((name.to_owned(), number))
        };
        let columns: Vec<&str> = lines.next().context("it has no columns")?.split(',').collect();
        let rows = lines.map(|line| line.split(',').map(str::parse).collect::<Result<_, _>>());
        let rows: Vec<Vec<i64>> = rows.collect::<Result<_, _>>().context("a line is not made of numbers")?;
        Ok(Self {
            family,
            seed: seed.parse().context("the seed is no number")?,
            guarded: guarded.parse().context("guarded is true or false")?,
            start_ns: start_ns.parse().context("start_ns is no number")?,
            end_ns: end_ns.parse().context("end_ns is no number")?,
            end,
            ooms_ns,
            facts: words.into_iter().map(number).collect::<Result<_>>()?,
            samples: samples(&columns, &rows)?,
        })
    }
}

/// The family's name in leg (a).
pub fn simulated_name(family: &str) -> &str {
    FAMILIES.iter().find(|(name, _)| *name == family).map_or(family, |(_, simulated)| simulated)
}

/// All recordings of a folder, by name.
pub fn load(folder: &Path) -> Result<Vec<Recording>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            Recording::from_csv(&text).with_context(|| format!("{} is no recording", path.display()))
        })
        .collect()
}

/// Samples from rows of numbers under these names. Names that are not known are passed over.
pub fn samples(columns: &[&str], rows: &[Vec<i64>]) -> Result<Vec<Sample>> {
    ensure!(rows.len() <= MOST_SAMPLES, "it has more than {MOST_SAMPLES} samples");
    let place = |name: &str| {
        columns
            .iter()
            .position(|column| *column == name)
            .with_context(|| format!("there is no column {name}"))
    };
    let mut places = [0; Sample::COLUMNS.len()];
    for (at, name) in places.iter_mut().zip(Sample::COLUMNS) {
        *at = place(name)?;
    }
    let mut samples: Vec<Sample> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut n = [0; Sample::COLUMNS.len()];
        for (number, at) in n.iter_mut().zip(places) {
            *number = *row.get(at).context("a line is too short")?;
        }
        let count =
            |at: usize| u64::try_from(n[at]).with_context(|| format!("{} is negative", Sample::COLUMNS[at]));
        let sample = Sample {
            t_ns: count(0)?,
            total_pages: count(1)?,
            free_pages: count(2)?,
            largest_free_order: u8::try_from(n[3]).context("largest_free_order is no order")?,
            fragmentation: i16::try_from(n[4]).context("fragmentation is no index")?,
            allocated_pages: count(5)?,
            freed_pages: count(6)?,
            failures: count(7)?,
            reclaimed_pages: count(8)?,
            reclaim_attempts: count(9)?,
            reclaimable_pages: count(10)?,
            stall_some_ns: count(11)?,
            stall_full_ns: count(12)?,
        };
        if samples.last().is_some_and(|last| last.t_ns >= sample.t_ns) {
            bail!("the samples are not in the order of time");
        }
        samples.push(sample);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::super::super::run::SECOND;
    use super::*;

    fn recording() -> Recording {
        let sample =
            |i: u64| Sample { failures: i, fragmentation: -3, ..Sample::quiet(i * SECOND, 1000, 900 - i) };
        Recording {
            family: "forks".to_owned(),
            seed: 7,
            guarded: false,
            start_ns: 3 * SECOND,
            end_ns: 63 * SECOND,
            end: "time".to_owned(),
            ooms_ns: Vec::new(),
            facts: BTreeMap::from([("reclaims".to_owned(), 2.0), ("mean_us".to_owned(), 12.25)]),
            samples: (1..=70).map(sample).collect(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let calm = recording();
        assert_eq!(Recording::from_csv(&calm.to_csv()).unwrap(), calm);
        let crashed = Recording { ooms_ns: vec![20 * SECOND, 21 * SECOND], end: "killed".to_owned(), ..calm };
        assert_eq!(Recording::from_csv(&crashed.to_csv()).unwrap(), crashed);
    }

    #[test]
    fn a_run_ends_with_its_oom_or_a_horizon_before_its_end() {
        let calm = recording();
        assert_eq!(calm.run().samples.last().map(|s| s.t_ns), Some(42 * SECOND));
        assert_eq!((calm.run().family.as_str(), calm.run().ooms.len()), ("fork-storm", 0));
        let crashed = Recording { ooms_ns: vec![20 * SECOND, 21 * SECOND], ..calm };
        assert_eq!(crashed.run().samples.last().map(|s| s.t_ns), Some(19 * SECOND));
        assert_eq!(crashed.run().ooms, [20 * SECOND]);
    }

    #[test]
    fn damage_is_survived_wherever_it_is() {
        let good = Recording { samples: recording().samples[..3].to_vec(), ..recording() }.to_csv();
        for at in 0..good.len() {
            for damage in ["", "-", "=", ",", "\n", "99999999999999999999", "NaN", "ä"] {
                let damaged = format!("{}{damage}{}", &good[..at], &good[at + 1..]);
                if let Ok(read) = Recording::from_csv(&damaged) {
                    // Whatever was read can be judged.
                    assert!(read.run().samples.len() <= read.samples.len());
                }
            }
        }
    }

    #[test]
    fn what_is_no_recording_is_refused_with_a_reason() {
        let good = recording().to_csv();
        let wrong = |from: &str, to: &str| {
            Recording::from_csv(&good.replacen(from, to, 1))
                .map_err(|error| format!("{error:#}"))
                .unwrap_err()
        };
        assert!(wrong("# ", "").contains("line of facts"));
        assert!(wrong("seed=7", "seed=x").contains("seed"));
        assert!(wrong("seed=7", "seed").contains("`seed` is no fact"));
        assert!(wrong("end_ns=", "stop_ns=").contains("end_ns is not stated"));
        assert!(wrong("ooms_ns=", "ooms_ns=1;b").contains("ooms_ns"));
        assert!(wrong("mean_us=12.25", "mean_us=much").contains("mean_us"));
        assert!(wrong("free_pages", "free").contains("no column free_pages"));
        assert!(wrong("900", "900,").contains("numbers") || wrong("899", "").contains("numbers"));
        assert!(wrong("1000000000,1000,899,10,-3", "1000000000,1000,-899,10,-3").contains("negative"));
        assert!(wrong("1000000000,1000,899,10,-3", "1000000000,1000,899,999,-3").contains("order"));
        assert!(wrong("1000000000,1000,899,10,-3", "1000000000,1000,899,10,99999").contains("index"));
        assert!(wrong("\n1000000000,", "\n9000000000,").contains("order of time"));
        assert!(Recording::from_csv("").is_err());
        assert!(samples(&Sample::COLUMNS, &[vec![1, 2]]).is_err());
    }
}
