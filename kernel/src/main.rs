#![no_std]
#![no_main]
//! The AUTON kernel: the boot order, on one screen.

extern crate alloc;

mod arch;
mod boot;
mod drivers;
mod ksyms;
mod log;
mod mem_functions;
mod memory;
mod services;
mod sync;
mod tasks;

use arch::percpu::Cpu;
use bootloader_api::BootInfo;

core::arch::global_asm!(include_str!(env!("AUTON_MODEL_ASM")));

/// Runs on the boot CPU, on the boot stack, with what the boot protocol told.
fn kernel_main(boot: BootInfo) -> ! {
    arch::traps::init_early();
    arch::time::init();
    ::log::info!("AUTON kernel booting...");
    arch::cpu::configure();
    if let Err(error) = memory::init(&boot) {
        panic!("cannot take over memory: {error}; give the machine more");
    }
    ::log::info!("MM: Initialized page allocator ({} MiB free)", memory::frames::stats().free_bytes() >> 20);
    start_boot_cpu().unwrap_or_else(|error| panic!("cannot start the first CPU: {error}"));
    drivers::acpi::init(boot.rsdp_addr.into_option());
    let platform = drivers::acpi::platform();
    drivers::ioapic::init(platform);
    drivers::serial::init(platform);
    let cpus = arch::smp::start(platform.cpus.iter().filter(|cpu| cpu.enabled).map(|cpu| cpu.apic_id));
    let listed = platform.cpus.iter().filter(|cpu| cpu.enabled).count().max(1);
    ::log::info!(
        "SMP: {cpus} of {listed} CPUs run ({})",
        if arch::cpu::features().x2apic { "x2APIC" } else { "xAPIC" }
    );
    drivers::watchdog::start(platform);
    drivers::pci::init(drivers::acpi::ecam());
    drivers::virtio::init();
    drivers::shared_memory::init();
    if let Err(error) = tasks::spawn("init", tasks::Options::default(), move || init(&boot)) {
        panic!("cannot start the first thread: {error}");
    }
    tasks::idle()
}

/// From bare CPU to one that takes interrupts and runs threads; this code becomes its idle thread.
fn start_boot_cpu() -> Result<(), tasks::SpawnError> {
    arch::apic::init();
    let cpu = Cpu::init(arch::apic::id())?;
    arch::traps::init_boot_cpu();
    tasks::adopt_idle(cpu)?;
    cpu.publish();
    Ok(())
}

/// The first thread: brings up the services, then the shell.
fn init(boot: &BootInfo) {
    if let Some(level) = boot::option("log") {
        log::set_level(level);
    }
    services::start(boot);
    let ours = arch::time::tsc() - boot::first_instruction_tsc();
    ::log::info!("Boot: {} ms since the first instruction", arch::time::ticks_to_nanos(ours) / 1_000_000);
    ::log::info!("Init: System ready");
    services::selftests::run_from_command_line();
    if let Err(error) = services::console::start() {
        panic!("cannot start the shell: {error}");
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    arch::containment::escape(format_args!("panicked: {}", info.message()));
    if is_out_of_memory(info) {
        tasks::give_up();
    }
    let registers = arch::backtrace::Registers::here();
    arch::exceptions::begin_report();
    arch::exceptions::report(format_args!("\r\nKERNEL PANIC: {}", info.message()));
    if let Some(location) = info.location() {
        arch::exceptions::report(format_args!("  at {}:{}", location.file(), location.line()));
    }
    arch::backtrace::print_from(registers);
    arch::exceptions::end_report()
}

/// Whether `alloc` says that an allocation which cannot report an error has failed. Stable Rust has no other way to tell.
fn is_out_of_memory(info: &core::panic::PanicInfo<'_>) -> bool {
    let mut text = heapless::String::<64>::new();
    let _ = core::fmt::Write::write_fmt(&mut text, format_args!("{}", info.message()));
    text.starts_with("memory allocation of ") && text.ends_with(" bytes failed")
}
