//! `auton data fetch`: the corpus. Prose about operating systems and hardware from pinned Debian packages, and documents
//! generated from the kernel's command table and the ID databases.

mod commands;
mod deb;
mod devices;
pub mod document;
mod download;
mod escape;
mod flow;
mod ids;
mod man;
mod mdoc;
mod prose;
mod roff;
mod rst;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::Serialize;

pub use devices::{Devices, Known};
pub use document::Document;

use crate::data::order::hash;
use crate::run_folder::RunFolder;
use crate::table::{Table, grouped, mib};
use crate::whole_file;
use devices::Amounts;
use ids::{Bus, Ids};
use sources::{Group, Package, Sources};

/// Bytes of prose that the full corpus has, about: a sample's generated documents are in proportion to it.
const FULL: usize = 22_000_000;

/// What to fetch.
#[derive(Debug, Clone, clap::Args)]
pub struct FetchArgs {
    /// The folder of the run.
    #[arg(long, default_value = "target/slm/default")]
    pub run: PathBuf,
    /// Take only this much prose, from fewer packages: `10MB`, `500KB`.
    #[arg(long, value_parser = size)]
    pub sample: Option<usize>,
    /// Debian mirror.
    #[arg(long, env = "AUTON_DEBIAN_MIRROR", default_value = download::MIRROR)]
    pub mirror: String,
    /// Where packages are kept (default: ~/.cache/auton/debs).
    #[arg(long)]
    pub debs: Option<PathBuf>,
    /// Draws held-out devices, records and samples.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Devices to be known by heart.
    #[arg(long, default_value_t = 1000)]
    pub well_known: usize,
    /// Documents about each of them.
    #[arg(long, default_value_t = 48)]
    pub device_repeats: usize,
    /// Devices that are never trained on.
    #[arg(long, default_value_t = 500)]
    pub held_out: usize,
    /// Documents with records in the prompt.
    #[arg(long, default_value_t = 11_000)]
    pub copies: usize,
    /// Wordings of questions about each command.
    #[arg(long, default_value_t = 128)]
    pub command_repeats: usize,
}

/// A size in bytes: a number, with `KB` or `MB` (powers of ten).
pub fn size(text: &str) -> Result<usize, String> {
    let lower = text.trim().to_lowercase();
    let (number, unit) = match (lower.strip_suffix("mb"), lower.strip_suffix("kb")) {
        (Some(number), _) => (number, 1_000_000),
        (_, Some(number)) => (number, 1_000),
        _ => (lower.as_str(), 1),
    };
    let number: usize =
        number.trim().parse().map_err(|_| format!("{text:?} is no size: write 10MB, 500KB or bytes"))?;
    number
        .checked_mul(unit)
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("{text:?} is no size that a corpus has"))
}

/// `corpus.json`.
#[derive(Serialize)]
struct Manifest<'m> {
    seed: u64,
    sample_bytes: Option<usize>,
    amounts: Amounts,
    sources: BTreeMap<&'m str, Sum>,
    packages: Vec<&'m Package>,
}

#[derive(Default, Serialize)]
struct Sum {
    documents: usize,
    bytes: usize,
}

/// A bar for `length` steps, or nothing where standard error is no terminal.
pub(crate) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:12} {bar:40} {percent:>3} %  {elapsed}");
    let bar = ProgressBar::new(length).with_message(what);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

/// Fetches the packages, converts them, generates the rest, and writes the run's `corpus/` and `data/devices.json`.
pub fn fetch(args: &FetchArgs) -> Result<()> {
    let run = RunFolder::new(&args.run);
    let sources = Sources::pinned()?;
    let packages: Vec<&Package> =
        sources.packages.iter().filter(|p| p.sample || args.sample.is_none()).collect();
    let folder = args.debs.clone().map_or_else(download::folder, Ok)?;

    let progress = bar(packages.iter().map(|p| p.bytes).sum(), "download");
    let files = download::all(&packages, &args.mirror, &folder, &progress)?;
    progress.finish_and_clear();

    let (mut prose, [mut pci, mut usb]) = read(&packages, &files, &sources.linux_folders)?;
    let mut amounts = Amounts {
        well_known: args.well_known,
        repeats: args.device_repeats,
        held_out: args.held_out,
        copies: args.copies,
    };
    let mut command_repeats = args.command_repeats;
    if let Some(bytes) = args.sample {
        prose = sample(prose, bytes, args.seed);
        let share = |n: usize| (n * bytes.min(FULL)).div_ceil(FULL);
        amounts.well_known = share(amounts.well_known);
        amounts.copies = share(amounts.copies);
        amounts.held_out = share(amounts.held_out);
        command_repeats = share(command_repeats);
        for ids in [&mut pci, &mut usb] {
            ids.vendors.retain(|id, _| hash(args.seed, &["vendor", id]) % (FULL as u64) < bytes as u64);
        }
    }

    let (well_known, held_out) = devices::choose(&pci, &amounts, args.seed);
    ensure!(!well_known.is_empty(), "pci.ids names no device");
    let unseen: std::collections::HashSet<&str> = held_out.iter().map(|d| d.name.as_str()).collect();
    let to_read: Vec<_> =
        pci.devices.iter().chain(&usb.devices).filter(|d| !unseen.contains(d.name.as_str())).collect();
    let mut generated = commands::documents(command_repeats);
    generated.extend(devices::by_heart(&well_known, &pci, &usb, &amounts));
    generated.extend(devices::to_copy(&to_read, &amounts, args.seed));
    generated.extend(devices::held_out_copies(&held_out));
    generated.extend(commands::conversations(command_repeats.div_ceil(4)));
    generated.extend(well_known.iter().map(|d| {
        let text = commands::turn(&d.question(), &d.answer());
        Document::new("chat", format!("pci {}", d.id), text)
    }));

    let mut by_source: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in prose.iter().chain(&generated) {
        by_source.entry(&document.source).or_default().push(document);
    }
    let mut manifest = Manifest {
        seed: args.seed,
        sample_bytes: args.sample,
        amounts,
        sources: BTreeMap::new(),
        packages: packages.clone(),
    };
    forget(&run)?;
    let mut table = Table::new(&["source", ">documents", ">text"]);
    for (source, documents) in &by_source {
        document::write(&run.join(format!("corpus/{source}.jsonl")), documents.iter().copied())?;
        let bytes = documents.iter().map(|d| d.text.len()).sum();
        table.row([source.to_string(), grouped(documents.len() as u64), mib(bytes as u64)]);
        manifest.sources.insert(source, Sum { documents: documents.len(), bytes });
    }
    write_json(&run.join("corpus.json"), &manifest)?;
    write_json(&run.join("data/devices.json"), &devices::listing(&well_known, &held_out))?;
    print!("{table}");
    println!(
        "{}: {} packages, {} well-known devices, {} held out",
        args.run.display(),
        packages.len(),
        well_known.len(),
        held_out.len()
    );
    Ok(())
}

/// Removes what an earlier call wrote to the run's `corpus/`: a sample has fewer sources than the whole.
fn forget(run: &RunFolder) -> Result<()> {
    for source in ["chat", "commands", "copy", "debian", "devices", "linux", "man"] {
        let file = run.join(format!("corpus/{source}.jsonl"));
        if file.exists() {
            std::fs::remove_file(&file)
                .with_context(|| format!("cannot remove the old {}", file.display()))?;
        }
    }
    Ok(())
}

/// Writes a value as JSON for people to read too.
pub(crate) fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    whole_file::write(file, text.as_bytes())
}

/// The prose of all packages, and the two databases (PCI, USB).
fn read(packages: &[&Package], files: &[PathBuf], folders: &[String]) -> Result<(Vec<Document>, [Ids; 2])> {
    let progress = bar(packages.len() as u64, "read");
    let each = packages.par_iter().zip(files).map(|(package, file)| {
        let documents = prose::documents(package, file, folders);
        progress.inc(1);
        documents
    });
    let prose: Vec<Vec<Document>> = each.collect::<Result<_>>()?;
    progress.finish_and_clear();
    let database = |group, place: &str, bus| -> Result<Ids> {
        let mut ids = Ids::default();
        for (package, file) in packages.iter().zip(files).filter(|(p, _)| p.group == group) {
            deb::files(
                file,
                |path| path == place,
                |entry| ids = ids::read(&String::from_utf8_lossy(&entry.bytes), bus),
            )?;
            ensure!(!ids.devices.is_empty(), "the package {} holds no {place} with devices", package.name);
        }
        Ok(ids)
    };
    let pci = database(Group::PciIds, "usr/share/misc/pci.ids", Bus::Pci)?;
    let usb = database(Group::UsbIds, "var/lib/usbutils/usb.ids", Bus::Usb)?;
    Ok((prose.into_iter().flatten().collect(), [pci, usb]))
}

/// Documents of about `bytes` together, drawn by seed, in their order.
fn sample(mut documents: Vec<Document>, bytes: usize, seed: u64) -> Vec<Document> {
    documents.sort_by_cached_key(|d| hash(seed, &[&d.source, &d.name]));
    let mut sum = 0;
    documents.retain(|d| {
        let taken = sum + d.text.len() <= bytes;
        sum += if taken { d.text.len() } else { 0 };
        taken
    });
    documents.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
    documents
}
