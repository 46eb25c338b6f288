//! Leg (b): recorded Linux machines, `mem_oom/*.csv.gz`. The first line holds the stress-ng command and the memory size,
//! the second the columns, and then come about nine samples a second.
//!
//! Three things are not in the recordings and are derived, the same way for the predictor and for every baseline:
//! stall time (an interval in which a task entered direct reclaim or compaction counts as stalled as a whole, which is an
//! upper bound of PSI "some" and of "full"), freed pages (allocated less what is gone), and refused allocations
//! (none: Linux waits or kills). Reclaimable memory is unknown (the root file system of these guests is page cache that
//! cannot go) and taken as 0.

use super::run::{Run, SECOND};
use ai_insights::crash_predictor::Sample;
use anyhow::{Context, Result};
use mm::{ORDERS, fragmentation::extfrag_index};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// All recordings of a folder, by name.
pub fn load(folder: &Path) -> Result<Vec<Run>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    paths.retain(|p| p.to_string_lossy().ends_with(".csv.gz"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let mut text = String::new();
            flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut text)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            parse(name.trim_end_matches(".csv.gz"), &text)
                .with_context(|| format!("{} is no recording", path.display()))
        })
        .collect()
}

/// The stressor that claims memory: the first one named, whatever runs beside it.
pub fn family_of(command: &str) -> String {
    let mut words = command.split_whitespace().filter_map(|w| w.strip_prefix("--"));
    words.next().unwrap_or("unknown").to_owned()
}

fn parse(name: &str, text: &str) -> Result<Run> {
    let mut lines = text.lines();
    let title = lines.next().context("it is empty")?;
    let after = |label: &str| -> Result<&str> {
        let rest =
            title.split(label).nth(1).with_context(|| format!("`{label}` is not in the first line"))?;
        rest.split_whitespace().next().with_context(|| format!("nothing follows `{label}`"))
    };
    let total_pages = after("guest RAM ")?.parse::<u64>()? * 256;
    let start_ns = (after("workload start ")?.parse::<f64>()? * 1e9) as u64;
    let columns: HashMap<&str, usize> =
        lines.next().context("no columns")?.split(',').enumerate().map(|(i, c)| (c, i)).collect();

    let mut run = Run {
        family: family_of(title),
        simulated: false,
        name: name.to_owned(),
        samples: Vec::new(),
        start_ns,
        ooms: Vec::new(),
    };
    let mut kills = 0;
    let mut stalls = 0;
    let mut counted_before = 0;
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |column: &str| -> Result<u64> {
            let at = columns.get(column).with_context(|| format!("there is no column {column}"))?;
            Ok(cells.get(*at).context("a short line")?.parse()?)
        };
        let t_ns = (cells.first().context("a short line")?.parse::<f64>()? * 1e9) as u64;
        let mut blocks = [0; ORDERS];
        for (order, count) in blocks.iter_mut().enumerate().take(11) {
            *count = cell(&format!("free_o{order}"))?;
        }
        let free_pages = cell("nr_free_pages")?;
        let largest = blocks.iter().rposition(|n| *n > 0).unwrap_or(0);
        let stalled = cell("allocstall_dma32")?
            + cell("allocstall_movable")?
            + cell("allocstall_normal")?
            + cell("compact_stall")?;
        let mut sample = Sample::quiet(t_ns, total_pages, free_pages);
        sample.largest_free_order = largest as u8;
        sample.fragmentation = extfrag_index(&blocks, 4) as i16;
        sample.reclaim_attempts = cell("pgscan_direct")?;
        let counted = cell("pgalloc_dma32")?;
        sample.allocated_pages = counted;
        if let Some(last) = run.samples.last() {
            // The counter lags behind the free pages at times: what is gone has been allocated.
            let gone = last.free_pages.saturating_sub(free_pages);
            let allocated = counted.saturating_sub(counted_before).max(gone);
            sample.allocated_pages = last.allocated_pages + allocated;
            sample.freed_pages = last.freed_pages + (allocated + free_pages).saturating_sub(last.free_pages);
            let stall = if stalled > stalls { t_ns.saturating_sub(last.t_ns) } else { 0 };
            sample.stall_some_ns = last.stall_some_ns + stall;
            sample.stall_full_ns = sample.stall_some_ns;
        }
        stalls = stalled;
        counted_before = counted;
        let killed = cell("oom_kill")?;
        // Kills within 5 s of one another are one event.
        if killed > kills
            && run.ooms.last().is_none_or(|oom| t_ns > oom + 5 * SECOND)
            && !run.samples.is_empty()
        {
            run.ooms.push(t_ns);
        }
        kills = killed;
        run.samples.push(sample);
    }
    Ok(run)
}
