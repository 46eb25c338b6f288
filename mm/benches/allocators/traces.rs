//! The recorded traces of `AUTON_DATA`: `mem_page/` and `mem_malloc/`.

use crate::script::{Op, Script};
use flate2::read::GzDecoder;
use mm::MigrateType;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The folder of recorded data; `None` where it is absent.
pub fn folder() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let folder = PathBuf::from(std::env::var_os("AUTON_DATA").unwrap_or_else(|| default.into()));
    folder.is_dir().then_some(folder)
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).ok()?).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Slots by whatever names the trace gives.
#[derive(Default)]
struct Names {
    live: HashMap<u64, u32>,
    unused: Vec<u32>,
    script: Script,
}

impl Names {
    fn alloc(&mut self, name: u64, size: u32, kind: MigrateType) {
        // Allocated again without a free in between: the trace has lost it.
        self.free(name);
        let slot = self.unused.pop().unwrap_or(self.script.slots as u32);
        self.live.insert(name, slot);
        self.script.alloc(slot, size, kind);
    }

    /// Frees of what was allocated before the recording began are left out.
    fn free(&mut self, name: u64) {
        if let Some(slot) = self.live.remove(&name) {
            self.script.ops.push(Op::Free { slot });
            self.unused.push(slot);
        }
    }
}

/// `mm_page_alloc` and `mm_page_free` of a Linux machine: orders and migrate types.
pub fn pages(folder: &Path) -> Option<Script> {
    let text = text(&folder.join("mem_page/lttng_lager_page_alloc.csv.gz"))?;
    let mut names = Names::default();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, _, event, page, order, _, kind] = fields[..] else { continue };
        let Ok(page) = u64::from_str_radix(page.trim_start_matches("0x"), 16) else { continue };
        match event {
            "mm_page_alloc" => {
                // Numbers of Linux 2.6.3x: 0 unmovable, 1 reclaimable, 2 movable.
                let kind = match kind {
                    "1" => MigrateType::Reclaimable,
                    "2" => MigrateType::Movable,
                    _ => MigrateType::Unmovable,
                };
                names.alloc(page, order.parse().unwrap_or(0), kind);
            }
            "mm_page_free" | "mm_page_free_batched" => names.free(page),
            _ => {}
        }
    }
    Some(names.script.balanced())
}

/// One of wee_alloc's traces: `Alloc(bytes),` and `Free(number of the allocation),`.
pub fn wee(folder: &Path, name: &str) -> Option<Script> {
    let text = text(&folder.join(format!("mem_malloc/wee_alloc/{name}.trace.gz")))?;
    let (mut names, mut count) = (Names::default(), 0);
    for line in text.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let Ok(number) = rest.trim_end_matches([')', ',']).parse::<u64>() else { continue };
        match call {
            "Alloc" => {
                names.alloc(count, number.max(1) as u32, MigrateType::Unmovable);
                count += 1;
            }
            _ => names.free(number),
        }
    }
    Some(names.script.balanced())
}

/// Android's SystemUI. Its first `limit` requests.
pub fn android(folder: &Path, limit: usize) -> Option<Script> {
    let file = std::fs::File::open(folder.join("mem_malloc/aosp_systemui.zip")).ok()?;
    let mut archive = zip::ZipArchive::new(file).ok()?;
    let mut text = String::new();
    archive.by_index(0).ok()?.read_to_string(&mut text).ok()?;
    let mut names = Names::default();
    for line in text.lines() {
        if names.script.ops.len() >= limit {
            break;
        }
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let pointer = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let size = |word: &str| word.parse::<u32>().unwrap_or(1).max(1);
        match words[..] {
            ["malloc", at, bytes] => {
                pointer(at).into_iter().for_each(|at| names.alloc(at, size(bytes), MigrateType::Unmovable));
            }
            ["calloc", at, n, each] => {
                let bytes = size(n).saturating_mul(size(each));
                pointer(at).into_iter().for_each(|at| names.alloc(at, bytes, MigrateType::Unmovable));
            }
            ["memalign", at, _, bytes] => {
                pointer(at).into_iter().for_each(|at| names.alloc(at, size(bytes), MigrateType::Unmovable));
            }
            ["realloc", at, old, bytes] => {
                pointer(old).into_iter().for_each(|old| names.free(old));
                pointer(at).into_iter().for_each(|at| names.alloc(at, size(bytes), MigrateType::Unmovable));
            }
            ["free", at] => pointer(at).into_iter().for_each(|at| names.free(at)),
            _ => {}
        }
    }
    Some(names.script.balanced())
}
