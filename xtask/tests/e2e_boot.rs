//! Boots the kernel in QEMU: by PVH and from an ISO, with and without features, to the prompt and to its end.

mod common;

use common::{ANSWER, BOOT, COMMAND, QUESTION, boot, power_off, with_model, without_model};
use object::{Object, ObjectSymbol, SymbolSection};
use xtask::bench::kernel::first_prompt_ms;
use xtask::guest::Guest;
use xtask::kernel_image::{self, Variant};
use xtask::model::fetch;
use xtask::qemu::{DEBUG_EXIT_FAILURE, Exit, Machine};
use xtask::{image, size};

#[test]
fn the_boot_log_comes_in_order_with_timestamps() {
    let (guest, log) = boot(&with_model());
    let lines = [
        "AUTON kernel booting...",
        "MM: Initialized page allocator (",
        "SLM: Loading embedded neural model (98362432 bytes)...",
        "SLM: Neural backend ready (vocab=49152, ctx=",
        "SLM: Runtime initialized successfully",
        "Init: System ready",
    ];
    let mut last = 0.0;
    let mut rest = log.as_str();
    for wanted in lines {
        let at =
            rest.find(wanted).unwrap_or_else(|| panic!("no line {wanted:?} after the one before, in\n{log}"));
        let stamp = rest[..at].rsplit('[').next().and_then(|text| text.split(']').next()).unwrap_or_default();
        let seconds: f64 =
            stamp.trim().parse().unwrap_or_else(|_| panic!("{wanted:?} has no timestamp but {stamp:?}"));
        assert!(seconds >= last, "{wanted:?} is at {seconds} s, the line before at {last} s");
        last = seconds;
        rest = &rest[at..];
    }
    power_off(guest);
}

#[test]
fn without_a_model_and_without_features_the_shell_comes_up() {
    for variant in [Variant::without_model(), Variant::with_features(&[])] {
        let machine = Machine::boot_kernel(&kernel_image::build(&variant).unwrap());
        let (mut guest, log) = boot(&machine);
        assert!(log.contains("Init: System ready"), "{log}");
        let answer = guest.command("slm query \"PCI device 8086:10d3 is\"", COMMAND).unwrap();
        assert!(answer.contains("Intel") && answer.contains("82574L"), "{answer}");
        assert!(answer.contains("rule engine answered"), "{answer}");
        power_off(guest);
    }
}

#[test]
fn a_kernel_that_is_not_optimised_comes_up() {
    let elf = kernel_image::build(&Variant::debug()).unwrap();
    for cpus in [1, 2] {
        let (mut guest, log) = boot(&Machine { cpus, ..Machine::boot_kernel(&elf) });
        assert!(log.contains(&format!("SMP: {cpus} of {cpus} CPUs run")), "{log}");
        let version = guest.command("version", COMMAND).unwrap();
        assert!(version.contains("(debug)"), "{version}");
        power_off(guest);
    }
}

#[test]
fn fewer_features_make_a_smaller_kernel() {
    let all = size::measure(&kernel_image::build(&Variant::without_model()).unwrap()).unwrap();
    let bare = size::measure(&kernel_image::build(&Variant::with_features(&[])).unwrap()).unwrap();
    assert!(bare.text < all.text && bare.file < all.file, "bare {bare:?}, all {all:?}");
}

#[test]
fn the_model_is_in_the_elf_under_its_three_symbols() {
    let with = kernel_image::build(&Variant::with_default_model()).unwrap();
    let without = kernel_image::build(&Variant::without_model()).unwrap();
    let grown = size::measure(&with).unwrap().file as f64 - size::measure(&without).unwrap().file as f64;
    let model = fetch::BYTES as f64;
    assert!((grown - model).abs() <= model * 0.05, "the ELF grew by {grown} bytes for a model of {model}");

    let bytes = std::fs::read(&with).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let address =
        |name: &str| file.symbol_by_name(name).unwrap_or_else(|| panic!("no symbol {name}")).address();
    assert_eq!(address("slm_model_end") - address("slm_model_start"), fetch::BYTES);
    assert!(file.section_by_name(".slm_model").is_some());
    // An absolute symbol, whose value is the size.
    let size = file.symbol_by_name("slm_model_size").expect("no symbol slm_model_size");
    assert_eq!((size.section(), size.address()), (SymbolSection::Absolute, fetch::BYTES));
}

#[test]
fn the_log_notes_when_the_first_prompt_stood() {
    let (mut guest, _) = boot(&with_model());
    let log = guest.command("dmesg", COMMAND).unwrap();
    let milliseconds =
        first_prompt_ms(&log).unwrap_or_else(|| panic!("no note of the first prompt in\n{log}"));
    assert!(milliseconds > 0.0 && milliseconds < 10_000.0, "{milliseconds} ms");
    power_off(guest);
}

#[test]
fn a_reboot_comes_up_again() {
    let machine = Machine { restart_on_reset: true, ..without_model() };
    let (mut guest, _) = boot(&machine);
    guest.type_line("reboot").unwrap();
    let first_line = guest.expect("AUTON kernel booting...", BOOT).unwrap();
    // The second boot's clock starts at its own reset.
    let stamp = first_line.rsplit('[').next().and_then(|text| text.split(']').next()).unwrap_or_default();
    let seconds: f64 = stamp.trim().parse().unwrap_or_else(|_| panic!("no timestamp but {stamp:?}"));
    assert!(seconds < 60.0, "the log begins at {seconds} s");
    guest.wait_for_prompt(BOOT).unwrap();
    power_off(guest);
}

#[test]
fn the_iso_boots_under_bios_and_under_uefi() {
    let kernel = kernel_image::build(&Variant::without_model()).unwrap();
    let iso = image::build(&kernel, "panic=exit").unwrap();
    for uefi in [false, true] {
        let (mut guest, log) = boot(&Machine::boot_iso(&iso, uefi));
        assert!(log.contains("Init: System ready"), "{log}");
        let version = guest.command("version", COMMAND).unwrap();
        assert!(version.contains("panic=exit"), "the command line did not arrive:\n{version}");
        power_off(guest);
    }
}

/// The image as `cargo xtask image` makes it. UEFI alone: GRUB reads the model slowly under emulation.
#[test]
fn the_iso_with_the_model_boots_under_uefi() {
    let kernel = kernel_image::build(&Variant::with_default_model()).unwrap();
    let iso = image::build(&kernel, "").unwrap();
    let (mut guest, log) = boot(&Machine::boot_iso(&iso, true));
    assert!(log.contains("SLM: Runtime initialized successfully"), "{log}");
    let reply = guest.json(QUESTION, ANSWER).unwrap();
    assert_eq!(reply["model_tokens"], 10, "{reply}");
    power_off(guest);
}

#[test]
fn the_kernels_own_tests_pass() {
    let append = "panic=exit selftest=redzone,churn,wakeups,heap,buddy,region,migration,failures,wx,firmware"
        .to_owned();
    let mut guest = Guest::start_alone(&Machine { append, ..without_model() }).unwrap();
    let exit = guest.wait_for_exit(BOOT * 2).unwrap();
    assert_eq!(exit, Exit::DebugSuccess, "{}", guest.transcript());
}

#[test]
fn faults_end_in_a_symbolised_report_and_status_65() {
    assert_eq!(DEBUG_EXIT_FAILURE, 65);
    for (test, function) in [
        ("stack-overflow", "stack_overflow::recurse"),
        ("page-fault", "faults::page_fault"),
        ("write-text", "faults::write_text"),
        ("panic", "faults::panic"),
    ] {
        let (mut guest, _) = boot(&without_model());
        guest.type_line(&format!("selftest {test}")).unwrap();
        let exit = guest.wait_for_exit(COMMAND).unwrap();
        let transcript = guest.transcript();
        assert_eq!(exit, Exit::DebugFailure, "{test}:\n{transcript}");
        assert!(transcript.contains("Backtrace:"), "{test}:\n{transcript}");
        assert!(transcript.contains(function), "{test}: no {function} in\n{transcript}");
        if test == "stack-overflow" {
            assert!(transcript.to_lowercase().contains("guard page"), "{transcript}");
        }
    }
}
