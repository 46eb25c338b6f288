//! Versions of the transformer's weights: those of all CPUs together, the last ten, in memory. (They will outlive the machine when there is
//! a file system to keep them on.)

use super::{Change, cpus};
use crate::arch::time::uptime_nanos;
use crate::sync::IrqMutex;
use crate::tasks;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use sched::transformer::{Learning, Weights};
use shell::{SchedulingError, WeightVersion};

/// How many are kept.
const VERSIONS: usize = 10;

#[derive(Clone)]
struct Saved {
    about: WeightVersion,
    /// In order of the CPUs.
    weights: Arc<[Weights]>,
}

struct Store {
    /// Oldest first.
    versions: heapless::Vec<Saved, VERSIONS>,
    last: u32,
}

static STORE: IrqMutex<Store> = IrqMutex::new(Store { versions: heapless::Vec::new(), last: 0 });

/// The versions, oldest first.
pub fn versions() -> Vec<WeightVersion> {
    let mut all = Vec::with_capacity(VERSIONS);
    all.extend(STORE.lock().versions.iter().map(|saved| saved.about));
    all
}

/// Puts the weights of all CPUs by; the version's number. The oldest goes when there are too many.
pub fn save() -> Result<u32, SchedulingError> {
    let _change = Change::begin()?;
    put_by()
}

/// Goes on with version `number`, or with the last one; the weights as they are, are put by first.
pub fn load(number: Option<u32>) -> Result<u32, SchedulingError> {
    let _change = Change::begin()?;
    let wanted = {
        let store = STORE.lock();
        match number {
            None => store.versions.last().cloned().ok_or(SchedulingError::NoVersion)?,
            Some(number) => {
                let found = store.versions.iter().find(|saved| saved.about.number == number).cloned();
                found.ok_or(SchedulingError::NoSuchVersion(number))?
            }
        }
    };
    put_by()?;
    give_out(&wanted)?;
    Ok(wanted.about.number)
}

/// Goes back to the version that was put by last, which is forgotten.
pub fn roll_back() -> Result<u32, SchedulingError> {
    let _change = Change::begin()?;
    let last = STORE.lock().versions.last().cloned().ok_or(SchedulingError::NoVersion)?;
    give_out(&last)?;
    // Only now: had a CPU refused, the version would be lost.
    let forgotten = STORE.lock().versions.pop();
    drop(forgotten);
    Ok(last.about.number)
}

/// Gives a CPU's new transformer the last version's weights, if there is one.
pub(super) fn restore(cpu: usize) {
    let last = STORE.lock().versions.last().cloned();
    if let Some(weights) = last.as_ref().and_then(|saved| saved.weights.get(cpu)) {
        set(cpu, weights);
    }
}

fn put_by() -> Result<u32, SchedulingError> {
    let mut weights = Vec::new();
    let (mut steps, mut loss) = (0, 0.0);
    for cpu in cpus() {
        let now = tasks::with_learned(cpu, |guard| {
            let transformer = guard.candidate()?.transformer();
            Some((transformer.weights().clone(), transformer.learning()))
        });
        let (these, Learning { steps: more, loss: its, .. }) =
            now.ok_or_else(none)?.ok_or(SchedulingError::Broken)?;
        weights.push(these);
        steps += more;
        loss += its;
    }
    let (weights, cpus) = (Arc::<[Weights]>::from(weights), cpus().len().max(1) as f32);
    let mut store = STORE.lock();
    let number = store.last + 1;
    store.last = number;
    let time = Duration::from_nanos(uptime_nanos());
    let about = WeightVersion { number, time, steps, loss: loss / cpus };
    let oldest = if store.versions.is_full() { Some(store.versions.remove(0)) } else { None };
    // There is room now.
    let _ = store.versions.push(Saved { about, weights });
    drop(store);
    drop(oldest);
    Ok(number)
}

fn give_out(saved: &Saved) -> Result<(), SchedulingError> {
    let usable = |cpu| tasks::with_learned(cpu, |guard| !guard.broken());
    for cpu in cpus() {
        match usable(cpu) {
            None => return Err(none()),
            Some(false) => return Err(SchedulingError::Broken),
            Some(true) => {}
        }
    }
    saved.weights.iter().enumerate().for_each(|(cpu, weights)| set(cpu, weights));
    Ok(())
}

fn set(cpu: usize, weights: &Weights) {
    tasks::with_learned(cpu, |guard| {
        if let Some(candidate) = guard.candidate_mut() {
            candidate.transformer_mut().load(weights.clone());
        }
    });
}

fn none() -> SchedulingError {
    SchedulingError::Failed(
        "there is no transformer on a CPU; `schedctl policy transformer` makes one".into(),
    )
}
