//! A budget's CPU time: reservations for the model's thread and its workers, on all CPUs or on none.

use super::{desk, loading, neural, worst_case};
use crate::arch::time;
use crate::services::parallel::WORKER_THREADS;
use crate::sync::IrqMutex;
use crate::tasks::{self, Task};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use llm::service::{AuditEntry, Budget, CONSOLE, ClientId, Operation, Status};
use sched::Class;
use shell::{BudgetChange, BudgetState, ServiceError};

/// Unless it is said otherwise.
const PERIOD_NANOS: u64 = 1_000_000_000;
const TOKENS: u32 = 1;

static STATE: IrqMutex<Option<BudgetState>> = IrqMutex::new(None);

/// The budget that is reserved.
pub fn state() -> Option<BudgetState> {
    *STATE.lock()
}

/// Changes the budget; see [`shell::Inference::set_budget`].
pub fn set(change: BudgetChange) -> Result<BudgetState, ServiceError> {
    let result = loading::alone(|| try_set(change));
    let entry = AuditEntry::new(CONSOLE, Operation::Budget, Status::OK);
    match &result {
        Ok(_) => desk::record(entry),
        Err(_) => {
            desk::with(|desk| desk.count_refused_budget());
            desk::record(AuditEntry { status: Status::REJECT, reason: "not admitted", ..entry });
        }
    }
    result
}

fn try_set(change: BudgetChange) -> Result<BudgetState, ServiceError> {
    let before = state();
    if !loading::is_loaded() {
        return Err(failed(
            &"no model is loaded, and a budget is the loaded model's; `llmctl load` loads one",
        ));
    }
    if let Some(cycles) = change.wcet_cycles {
        // Nothing may stay changed where this fails; what cannot be reserved is not kept either.
        if cycles == 0 {
            return Err(failed(
                &"the worst case of a token is 0 cycles; give more, or leave it out to have it measured",
            ));
        }
    } else if worst_case::for_budget().is_none() {
        neural::ask(super::errand::Errand::Measure)?;
    }
    let (wcet_cycles, measured) = match change.wcet_cycles {
        Some(given) => (given, false),
        None => worst_case::for_budget()
            .ok_or_else(|| failed(&"no token has been made yet, so none was measured"))?,
    };
    let budget = Budget {
        wcet_cycles,
        period_ns: change.period_ns.or(before.map(|b| b.budget.period_ns)).unwrap_or(PERIOD_NANOS),
        tokens: change.tokens.or(before.map(|b| b.budget.tokens)).unwrap_or(TOKENS),
    };
    let reserved_ns = budget.reserved_ns(time::tsc_frequency()).map_err(|error| failed(&error))?;
    let cpus = reserve(reserved_ns, budget.period_ns)?;
    if let Some(cycles) = change.wcet_cycles {
        worst_case::give(cycles);
    }
    let state = BudgetState { budget, measured, reserved_ns, cpus };
    *STATE.lock() = Some(state);
    desk::with(|desk| desk.set_budget(Some(budget), time::uptime_nanos()));
    desk::call_model();
    Ok(state)
}

/// Takes the budget away, on a client's behalf; for whoever has the turn ([`loading::alone`]).
pub fn clear(client: ClientId) {
    // What needs memory comes first, so that nothing is half done where there is none.
    let threads = threads();
    if STATE.lock().take().is_none() {
        return;
    }
    for thread in threads {
        if let Err(error) = tasks::set_class(&thread, Class::Fair) {
            log::error!("SLM: {} keeps its reservation: {error}", thread.name);
        }
    }
    desk::with(|desk| desk.set_budget(None, time::uptime_nanos()));
    desk::record(AuditEntry::new(client, Operation::Budget, Status::OK));
    desk::call_model();
}

/// The threads that compute: one on each CPU.
fn threads() -> Vec<Arc<Task>> {
    let computes = |name: &str| name == neural::THREAD || name.starts_with(WORKER_THREADS);
    tasks::all().into_iter().filter(|task| computes(&task.name)).collect()
}

/// Reserves for each of them, or for none; on how many CPUs.
#[cfg(feature = "deterministic")]
fn reserve(budget: u64, period: u64) -> Result<u32, ServiceError> {
    let reservation = sched::Reservation { budget: budget.max(sched::Reservation::MIN_BUDGET), period };
    let threads = threads();
    let before: Vec<Class> = threads.iter().map(|thread| thread.class()).collect();
    for (at, thread) in threads.iter().enumerate() {
        if let Err(error) = tasks::set_class(thread, Class::Reserved(reservation)) {
            for (thread, class) in threads.iter().zip(before).take(at) {
                // It had it a moment ago; if somebody took it meanwhile, it goes on without.
                if tasks::set_class(thread, class).is_err() && tasks::set_class(thread, Class::Fair).is_err()
                {
                    log::error!("SLM: {} keeps a reservation that was refused elsewhere", thread.name);
                }
            }
            return Err(failed(&alloc::format!("CPU {} cannot reserve this: {error}", thread.cpu())));
        }
    }
    Ok(threads.len() as u32)
}

/// Without the feature nothing can be reserved.
#[cfg(not(feature = "deterministic"))]
fn reserve(_: u64, _: u64) -> Result<u32, ServiceError> {
    Err(failed(&"this kernel was built without the feature `deterministic`, so no CPU time can be reserved"))
}

fn failed(error: &dyn core::fmt::Display) -> ServiceError {
    ServiceError::Failed(error.to_string())
}
