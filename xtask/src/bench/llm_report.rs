//! What `bench llm` found, and how it is printed.

use super::phase::{Phase, Work};
use super::table::{Style, Table};
use crate::machine_report::median;
use llm::pool::Purpose;

/// The wanted ratio to llama.cpp.
pub type Target = f64;

/// Memory of SmolLM2-135M beside its file at 2048 positions.
pub const MEMORY_TARGET: usize = 150 << 20;

/// A load average above this means that other work took CPU time or memory bandwidth from what is measured.
const QUIET: f64 = 0.5;

/// Everything that was measured in one run.
pub struct Report {
    /// The machine.
    pub host: String,
    /// Load average of the last minute before the first and after the last measurement.
    pub load_before: Option<f64>,
    /// As above.
    pub load_after: Option<f64>,
    /// Name and instruction sets of what ran beside us.
    pub peer: Option<(String, Vec<String>)>,
    /// How much was measured.
    pub work: Work,
    /// Positions of our cache.
    pub context: usize,
    /// Runs of each.
    pub repetitions: usize,
    /// The machine's read bandwidth.
    pub bandwidth: Vec<Bandwidth>,
    /// The files.
    pub files: Vec<File>,
    /// The figures.
    pub rows: Vec<Row>,
}

/// What some threads read from memory.
pub struct Bandwidth {
    /// How many.
    pub threads: usize,
    /// What they read together.
    pub bytes_per_second: f64,
}

/// A file, loaded.
pub struct File {
    /// The model's name.
    pub model: String,
    /// The mixture of types, as `llama-quantize` names it.
    pub quantisation: String,
    /// What a reader must know of it.
    pub note: &'static str,
    /// Whether the weights mean nothing.
    pub random_weights: bool,
    /// Type of most weights in the blocks.
    pub weights: &'static str,
    /// Type of the embedding, which is the head too in these models.
    pub embedding: &'static str,
    /// Weights.
    pub parameters: u64,
    /// Size of the file.
    pub bytes: usize,
    /// Our memory beside the file.
    pub memory: [(Purpose, usize); 4],
    /// What it may be.
    pub memory_target: Option<usize>,
    /// Bytes that a decoded token reads: weights as they lie in memory, keys and values of half the steps.
    pub token_bytes: usize,
}

/// One measurement.
pub struct Row {
    /// Index into [`Report::files`].
    pub file: usize,
    /// The work.
    pub phase: Phase,
    /// Threads of either engine.
    pub threads: usize,
    /// Our kernel variant, chosen by timing when the model was loaded.
    pub kernel: String,
    /// Our tokens per second, run by run.
    pub ours: Vec<f64>,
    /// llama.cpp's.
    pub peer: Vec<f64>,
    /// The ratio that is wanted.
    pub target: Option<Target>,
}

impl File {
    /// All our memory beside the file.
    pub fn memory_total(&self) -> usize {
        self.memory.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Row {
    /// Our median.
    pub fn our_rate(&self) -> f64 {
        median(&self.ours).unwrap_or(f64::NAN)
    }

    /// Our median by llama.cpp's.
    pub fn ratio(&self) -> Option<f64> {
        median(&self.peer).map(|peer| self.our_rate() / peer)
    }

    /// Whether the target is met; `None` where there is none, or nothing beside us.
    pub fn met(&self) -> Option<bool> {
        Some(self.ratio()? >= self.target?)
    }

    /// The latest figures, for the progress.
    pub fn last_run(&self) -> String {
        let last = |rates: &[f64]| rates.last().map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        format!("{} {} tokens/s, llama.cpp {}", self.phase, last(&self.ours), last(&self.peer))
    }
}

/// A decoding row under the machine's roof.
pub struct Roofline {
    /// Bytes per second that decoding read.
    pub bytes_per_second: f64,
    /// As a share of what as many threads can read.
    pub share: f64,
}

impl Report {
    /// The roofline of a decoding row.
    pub fn roofline(&self, row: &Row) -> Option<Roofline> {
        let roof = self.bandwidth.iter().find(|measured| measured.threads == row.threads)?;
        let bytes_per_second = self.files.get(row.file)?.token_bytes as f64 * row.our_rate();
        let decodes = row.phase == Phase::Decode;
        decodes.then(|| Roofline { bytes_per_second, share: bytes_per_second / roof.bytes_per_second })
    }

    /// The whole report.
    pub fn text(&self, style: Style) -> String {
        let mut text = self.head(style);
        for (title, table) in [
            ("Speed, tokens per second", self.speed()),
            ("Roofline of decoding", self.rooflines()),
            ("Memory beside the file, MiB", self.memory()),
        ] {
            if !table.is_empty() {
                let title = match style {
                    Style::Text => title.to_owned(),
                    Style::Markdown => format!("**{title}**\n"),
                };
                text += &format!("\n{title}\n{}", table.print(style));
            }
        }
        text
    }

    fn head(&self, style: Style) -> String {
        let load = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        let (before, after) = (load(self.load_before), load(self.load_after));
        let busy = match self.load_before {
            Some(load) if load > QUIET => "; the machine was busy: figures and ratios say little",
            _ => "",
        };
        let mut lines = vec![("machine", format!("{}; accelerator none", self.host))];
        lines.push((
            "load",
            format!(
                "{before} before, {after} after (1-minute averages; our own work is in the latter){busy}"
            ),
        ));
        lines.push((
            "peer",
            self.peer
                .as_ref()
                .map_or("none".to_owned(), |(name, sets)| format!("{name}, built for {}", sets.join(" "))),
        ));
        lines.push((
            "runs",
            format!(
                "{}, interleaved, medians; prefill {}, decode {}; our context {}",
                self.repetitions, self.work.prefill, self.work.decode, self.context
            ),
        ));
        let roofs = self
            .bandwidth
            .iter()
            .map(|roof| format!("{:.1} GB/s with {}", roof.bytes_per_second / 1e9, threads(roof.threads)));
        lines.push((
            "memory",
            format!("{}: the sum of a 1 GiB buffer, best of 7", roofs.collect::<Vec<_>>().join(", ")),
        ));
        let mut noted: Vec<&str> = Vec::new();
        for file in &self.files {
            if !noted.contains(&file.model.as_str()) {
                noted.push(&file.model);
                lines.push((
                    "model",
                    format!("{}: {} M parameters; {}", file.model, file.parameters / 1_000_000, file.note),
                ));
            }
        }
        let line = |(name, value): &(&str, String)| match style {
            Style::Text => format!("{name:<9}{value}\n"),
            Style::Markdown => format!("- {name}: {value}\n"),
        };
        lines.iter().map(line).collect()
    }

    fn speed(&self) -> Table {
        let mut table = Table::new(&[
            "model",
            "file",
            "embedding",
            "phase",
            ">threads",
            "kernel",
            ">AUTON",
            ">llama.cpp",
            ">ratio",
            ">target",
            "",
        ]);
        for row in &self.rows {
            let Some(file) = self.files.get(row.file) else { continue };
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            table.row(vec![
                file.model.clone(),
                file.quantisation.clone(),
                file.embedding.to_owned(),
                row.phase.to_string(),
                row.threads.to_string(),
                row.kernel.clone(),
                format!("{:.1}", row.our_rate()),
                or_dash(median(&row.peer).map(|rate| format!("{rate:.1}"))),
                or_dash(row.ratio().map(|ratio| format!("{ratio:.2}"))),
                or_dash(row.target.map(|target| format!("{target:.1}"))),
                or_dash(row.met().map(|met| if met { "met" } else { "missed" }.to_owned())),
            ]);
        }
        table
    }

    fn rooflines(&self) -> Table {
        let mut table = Table::new(&[
            "model",
            "file",
            ">threads",
            ">MB a token",
            ">tokens/s",
            ">GB/s",
            ">of the bandwidth",
        ]);
        for row in &self.rows {
            let (Some(file), Some(roof)) = (self.files.get(row.file), self.roofline(row)) else { continue };
            table.row(vec![
                file.model.clone(),
                file.quantisation.clone(),
                row.threads.to_string(),
                format!("{:.1}", file.token_bytes as f64 / 1e6),
                format!("{:.1}", row.our_rate()),
                format!("{:.1}", roof.bytes_per_second / 1e9),
                format!("{:.0} %", 100.0 * roof.share),
            ]);
        }
        table
    }

    fn memory(&self) -> Table {
        let mut table = Table::new(&[
            "model",
            "file",
            ">file",
            ">weights",
            ">KV cache",
            ">activations",
            ">tokenizer",
            ">total",
            ">target",
            "",
        ]);
        let mib = |bytes: usize| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        for file in &self.files {
            let mut cells = vec![file.model.clone(), file.quantisation.clone(), mib(file.bytes)];
            cells.extend(file.memory.iter().map(|&(_, bytes)| mib(bytes)));
            let total = file.memory_total();
            let target = file.memory_target;
            cells.push(mib(total));
            cells.push(target.map_or("-".to_owned(), mib));
            cells
                .push(target.map_or("-", |target| if total <= target { "met" } else { "missed" }).to_owned());
            table.row(cells);
        }
        table
    }
}

/// "1 thread", "2 threads".
fn threads(n: usize) -> String {
    format!("{n} thread{}", if n == 1 { "" } else { "s" })
}
