#![no_std]
#![no_main]
//! The AUTON kernel: the boot order, on one screen.

extern crate alloc;

mod arch;
mod boot;
mod ksyms;
mod log;
mod mem_functions;
mod memory;
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
    arch::apic::init();
    let cpu =
        Cpu::init(arch::apic::id()).unwrap_or_else(|error| panic!("no memory for the first CPU: {error}"));
    arch::traps::init_boot_cpu();
    tasks::adopt_idle(cpu).unwrap_or_else(|error| panic!("no memory for the idle thread: {error}"));
    let cpus = arch::smp::start([0u32, 1, 2, 3].into_iter());
    ::log::info!("SMP: {cpus} CPUs running");
    tasks::spawn("init", tasks::Options::default(), move || init(boot)).unwrap();
    tasks::idle()
}

fn init(boot: BootInfo) {
    let t0 = arch::time::uptime_nanos();
    for round in 0..200 {
        let handles: alloc::vec::Vec<_> = (0..20u64)
            .map(|i| {
                tasks::spawn("w", tasks::Options::default(), move || {
                    let mut x = i as f64;
                    for k in 0..2000 {
                        x = x * 1.0000001 + k as f64;
                    }
                    tasks::sleep_nanos(1000 * (i % 7) * 100);
                    core::hint::black_box(x);
                    i * 2
                })
                .unwrap()
            })
            .collect();
        let sum: u64 = handles.into_iter().map(|h| h.join()).sum();
        assert_eq!(sum, 380);
        if round % 50 == 0 {
            ::log::info!("round {round}");
        }
    }
    ::log::info!("4000 threads in {} ms", (arch::time::uptime_nanos() - t0) / 1_000_000);
    for t in tasks::list() {
        ::log::info!("{t:?}");
    }
    #[allow(unconditional_recursion)]
    #[inline(never)]
    fn f(x: &mut [u64; 100]) -> u64 {
        let mut y = [x[3] + 1; 100];
        let r = f(&mut y);
        core::hint::black_box(&mut y);
        r + y[5]
    }
    if boot::option("selftest").is_some() {
        f(&mut [0; 100]);
    }
    panic!("end {}", boot.ramdisk_len);
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let registers = arch::backtrace::Registers::here();
    arch::exceptions::begin_report();
    arch::exceptions::report(format_args!("\r\nKERNEL PANIC: {}", info.message()));
    if let Some(location) = info.location() {
        arch::exceptions::report(format_args!("  at {}:{}", location.file(), location.line()));
    }
    arch::backtrace::print_from(registers);
    arch::exceptions::end_report()
}
