//! Tests that the running kernel makes on itself: by the shell's `selftest`, or at boot by `selftest=<name>` on the
//! kernel's command line.

#[cfg(feature = "llm")]
mod audit;
#[cfg(all(feature = "llm", feature = "deterministic"))]
mod budget;
mod disk;
#[cfg(feature = "deterministic")]
mod edf;
mod exhaustion;
mod export;
mod failures;
mod faults;
mod firmware;
mod golden;
mod heap_failures;
#[cfg(feature = "ai-ops")]
mod hold_back;
mod log;
mod memory;
mod migration;
pub mod random;
#[cfg(feature = "deterministic")]
mod reservation;
mod scheduler_faults;
#[cfg(feature = "deterministic")]
mod standstill;
mod switch_cost;
mod thousand;
mod threads;

use crate::arch::{self, cpu::QemuExit};
use alloc::string::String;
use shell::{SelfTest, SelfTestError};

/// What a test says: one line about what it checked, or what was wrong.
type Outcome = Result<String, String>;

struct Test {
    name: &'static str,
    summary: &'static str,
    fatal: bool,
    run: fn() -> Outcome,
}

const fn test(name: &'static str, summary: &'static str, run: fn() -> Outcome) -> Test {
    Test { name, summary, fatal: false, run }
}

const fn fatal(name: &'static str, summary: &'static str, run: fn() -> Outcome) -> Test {
    Test { name, summary, fatal: true, run }
}

const TESTS: &[Test] = &[
    test(
        "redzone",
        "A timer storm leaves the stacks and registers of computing threads alone.",
        threads::redzone,
    ),
    test("churn", "Thousands of threads start, sleep, wait, compute and end as they should.", threads::churn),
    test("wakeups", "No wake-up is lost, however many come without a reason.", threads::wakeups),
    test("heap", "Heap allocations are aligned, disjoint and returned.", memory::heap),
    test("buddy", "Blocks of all orders are disjoint, usable and merge again.", memory::buddy),
    test("region", "Large regions are contiguous, writable and wholly given back.", memory::region),
    test(
        "migration",
        "Pages change their frames under threads that write them, and lose nothing.",
        migration::migration,
    ),
    test(
        "failures",
        "Page allocations fail, each in turn: that is reported, and nothing is lost.",
        failures::failures,
    ),
    #[cfg(feature = "ai-ops")]
    test("hold-back", "Growth is held back, and only growth.", hold_back::hold_back),
    test(
        "heap-failures",
        "Heap allocations fail, each in turn, in every command: all go on.",
        heap_failures::heap_failures,
    ),
    test("disk", "Writes files to the disk and reads them back, if there is one.", disk::disk),
    test("export", "Exports documents to the memory shared with the host, if there is some.", export::export),
    test("log", "The log grows, gives way to reclaim, and keeps its newest lines.", log::log),
    test("wx", "No page is both writable and executable.", memory::wx),
    test("firmware", "Damaged ACPI tables are survived.", firmware::damaged_tables),
    #[cfg(feature = "deterministic")]
    test(
        "reservation",
        "A reserved thread gets its share of a crowded CPU, and no more.",
        reservation::reservation,
    ),
    #[cfg(feature = "deterministic")]
    test("edf", "Periodic threads with reservations that fit are never late.", edf::edf),
    test(
        "threads-1000",
        "1,000 threads sleep, compute, change their CPUs and end; no time is lost.",
        thousand::threads_1000,
    ),
    test(
        "scheduler-faults",
        "Panics, loops, wrong answers and NaN in the policy that learns: EEVDF goes on.",
        scheduler_faults::scheduler_faults,
    ),
    test("switch-cost", "Prints what a switch and a decision cost.", switch_cost::switch_cost),
    #[cfg(all(feature = "llm", feature = "deterministic"))]
    test(
        "inference-budget",
        "A budgeted stream keeps its tokens per period beside threads that take every CPU.",
        budget::inference_budget,
    ),
    #[cfg(feature = "llm")]
    test("audit", "The audit's memory holds no byte of a prompt.", audit::audit),
    test("golden", "Prints the greedy tokens of two golden prompts.", golden::run),
    test(
        "background-churn",
        "Repeats churn in the background; called again, tells how far it is.",
        threads::background_churn,
    ),
    // The last one: it goes on in the background.
    test("exhaust", "Takes all memory for 20 seconds, in which the machine goes on.", exhaustion::start),
    fatal("stack-overflow", "Overflows a stack: a report must follow.", faults::stack_overflow),
    fatal("page-fault", "Reads an unmapped address: a report must follow.", faults::page_fault),
    fatal("write-text", "Writes to the kernel's code: a report must follow.", faults::write_text),
    fatal("panic", "Panics: a report must follow.", faults::panic),
];

/// All tests.
pub fn list() -> impl Iterator<Item = SelfTest> {
    TESTS.iter().map(|test| SelfTest { name: test.name, summary: test.summary, fatal: test.fatal })
}

/// Runs the test of that name.
pub fn run(name: &str) -> Result<String, SelfTestError> {
    let test = TESTS
        .iter()
        .find(|test| test.name == name)
        .ok_or_else(|| SelfTestError::Unknown(String::from(name)))?;
    (test.run)().map_err(SelfTestError::Failed)
}

/// Runs the tests that the command line names (`selftest=a,b`, or `all` for those that are not fatal), then leaves
/// QEMU: with success if all passed. Returns at once if it names none. In a thread.
pub fn run_from_command_line() {
    let Some(names) = crate::boot::option("selftest") else { return };
    let all = TESTS.iter().filter(|test| !test.fatal).map(|test| test.name);
    let failures = match names {
        "all" => all.filter(|name| !passes(name)).count(),
        names => names.split(',').filter(|name| !passes(name)).count(),
    };
    arch::exit_qemu(if failures == 0 { QemuExit::Success } else { QemuExit::Failure });
    ::log::info!("selftest: {failures} failed; not in QEMU with isa-debug-exit, so the boot goes on");
}

fn passes(name: &str) -> bool {
    let result = run(name);
    match &result {
        Ok(line) => ::log::info!("selftest {name}: passed: {line}"),
        Err(error) => ::log::error!("selftest {name}: FAILED: {error}"),
    }
    result.is_ok()
}
