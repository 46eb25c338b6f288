//! Recorded programs (`mem_malloc/wee_alloc`: gcc, ffmpeg, find, grep …), many copies at once on a small machine. A copy
//! holds as many pages as its live bytes fill.

use super::{DT, Pages, Workload, demand};
use crate::crash::data_folder;
use crate::crash::host::machine::Machine;
use std::io::Read;
use std::sync::OnceLock;

/// Live bytes of a program at 200 points of its life, as a share of their peak.
struct Trace {
    live: Vec<f64>,
}

fn traces() -> &'static [Trace] {
    static TRACES: OnceLock<Vec<Trace>> = OnceLock::new();
    TRACES.get_or_init(|| {
        let folder = data_folder().join("mem_malloc/wee_alloc");
        let names = ["gcc-hello", "ffmpeg", "find", "grep-recursive", "dogfood", "source-map"];
        names.iter().filter_map(|name| read(&folder.join(format!("{name}.trace.gz")))).collect()
    })
}

fn read(path: &std::path::Path) -> Option<Trace> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_string(&mut text).ok()?;
    let (mut sizes, mut live, mut course) = (Vec::new(), 0.0, Vec::new());
    for line in text.lines() {
        let number = |prefix: &str| line.strip_prefix(prefix)?.split(')').next()?.parse::<usize>().ok();
        if let Some(bytes) = number("Alloc(") {
            sizes.push(bytes);
            live += bytes as f64;
        } else if let Some(size) = number("Free(").and_then(|i| sizes.get_mut(i)) {
            live -= std::mem::take(size) as f64;
        }
        course.push(live);
    }
    let peak = course.iter().copied().fold(1.0, f64::max);
    let points = (0..200).filter_map(|i| course.get(i * course.len() / 200).copied());
    Some(Trace { live: points.map(|bytes| bytes / peak).collect() })
}

pub struct Replay {
    copies: Vec<(Pages, usize, f64)>,
    next: usize,
    rate: f64,
    life_s: f64,
    /// Pages of a copy at its peak: data of another size, the same course.
    peak: f64,
    most: usize,
}

impl Replay {
    pub fn new(machine: &mut Machine, index: u64) -> Self {
        let life_s = machine.random.log_between(4.0, 60.0);
        let most = 4 + machine.random.below(28);
        // What all copies would hold at their peaks together, as a share of what is there.
        let pressure = demand(machine);
        let peak = pressure * machine.available() as f64 / most as f64;
        let rate = most as f64 / machine.random.log_between(2.0, 60.0);
        Replay { copies: Vec::new(), next: index as usize, rate, life_s, peak, most }
    }
}

impl Workload for Replay {
    fn tick(&mut self, machine: &mut Machine) {
        let traces = traces();
        if traces.is_empty() {
            return;
        }
        for _ in 0..machine.random.count(self.rate * DT) {
            if self.copies.len() < self.most {
                self.copies.push((Pages { atomic: 0.02, ..Pages::default() }, self.next % traces.len(), 0.0));
                self.next += 1;
            }
        }
        for (pages, which, age_s) in &mut self.copies {
            *age_s += DT;
            let course = &traces[*which].live;
            let at = ((*age_s / self.life_s) * course.len() as f64) as usize;
            pages.set(machine, (course.get(at).copied().unwrap_or(0.0) * self.peak) as usize);
        }
        let life_s = self.life_s;
        for (pages, _, _) in self.copies.iter_mut().filter(|(_, _, age)| *age >= life_s) {
            pages.set(machine, 0);
        }
        self.copies.retain(|(_, _, age)| *age < life_s);
    }
}
