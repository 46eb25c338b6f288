//! Exceptions are faults of the kernel itself: they end in a report with registers and backtrace.

use super::traps::TrapFrame;
use super::{backtrace, containment, percpu};
use crate::memory::{self, layout};
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use x86_64::registers::control::{Cr2, Cr3};

const PAGE_FAULT: u64 = 14;
/// Exceptions after which a contained call may be left; not the ones that the machine raises, nor double faults.
const CONTAINABLE: [u64; 9] = [0, 3, 4, 5, 6, 13, PAGE_FAULT, 16, 19];

/// The first CPU that reports a fatal error; the others then stop at the NMI it sends. The watchdog's NMIs go on, and must not stop it.
static REPORTER: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;

/// Called by the entry code of a page fault in the movable memory: returns when the access can be repeated, because
/// the page has been moved meanwhile; any other fault ends in a report.
pub(super) extern "C" fn movable_fault(frame: &TrapFrame) {
    const PRESENT: u64 = 1;
    if frame.error & PRESENT != 0 || !memory::vmalloc::wait_for_move(Cr2::read_raw()) {
        handle(frame)
    }
}

/// Called by the entry code of an NMI: another CPU reports a fatal error, and this one is to stop; or the watchdog looks if a policy does
/// not return, and sends the boot CPU's NMI on to others. Touches nothing but this CPU's own: an NMI comes anywhere.
pub(super) extern "C" fn nmi(frame: &mut TrapFrame) {
    let own = percpu::this_cpu();
    match REPORTER.load(Ordering::Acquire) {
        NOBODY => {}
        reporter if reporter == own.index => return,
        _ => super::halt_forever(),
    }
    if own.index == 0 {
        crate::drivers::watchdog::tick();
        let busy = |cpu: &&percpu::Cpu| cpu.index != 0 && cpu.recovery.load(Ordering::Relaxed) != 0;
        percpu::all().filter(busy).for_each(|cpu| super::apic::send_nmi_from_nmi(cpu.apic_id));
    }
    containment::check(own, frame);
}

/// Called by the entry code of every other exception, on that exception's own stack.
pub(super) extern "C" fn handle(frame: &TrapFrame) -> ! {
    if CONTAINABLE.contains(&frame.vector) {
        containment::escape(format_args!("{} at {:#x}", name(frame.vector), frame.rip));
    }
    begin_report();
    crate::log::emergency(format_args!("\r\n"));
    report(format_args!("{}", Report(frame)));
    backtrace::print_from(backtrace::Registers::from(frame));
    end_report()
}

/// Stops the other CPUs and takes the console. A CPU that comes here second halts.
pub fn begin_report() {
    x86_64::instructions::interrupts::disable();
    let ready = percpu::is_ready();
    // Before a CPU knows which one it is, there is only the first.
    let own = if ready { percpu::this_cpu().index } else { 0 };
    let first = REPORTER.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Acquire).is_ok();
    if !first && ready {
        // Either another CPU is reporting, or this one failed while reporting. The report goes first.
        super::halt_forever();
    }
    if ready {
        percpu::all().filter(|cpu| cpu.index != own).for_each(|cpu| super::apic::send_nmi(cpu.apic_id));
        super::time::spin_nanos(1_000_000);
    }
}

/// Writes one line of the report.
pub fn report(line: fmt::Arguments<'_>) {
    crate::log::emergency(format_args!("{line}\r\n"));
}

/// Ends the machine's life: leaves QEMU if the command line says `panic=exit`, else halts with the report on screen.
pub fn end_report() -> ! {
    if crate::boot::option("panic") == Some("exit") {
        super::exit_qemu(super::cpu::QemuExit::Failure);
    }
    report(format_args!("System halted. Reset the machine to go on."));
    super::halt_forever()
}

/// The first lines of a report: what happened, to whom, and the registers.
struct Report<'a>(&'a TrapFrame);

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = self.0;
        write!(out, "KERNEL EXCEPTION: {} (vector {})", name(frame.vector), frame.vector)?;
        if percpu::is_ready() {
            let cpu = percpu::this_cpu();
            write!(out, " on CPU {}, thread \"{}\"", cpu.index, cpu.current_name())?;
        }
        if frame.vector == PAGE_FAULT {
            self.page_fault(out)?;
        }
        let Registers(lines) = registers(frame);
        for [a, b, c, d] in lines {
            write!(
                out,
                "\r\n  {}={:016x} {}={:016x} {}={:016x} {}={:016x}",
                a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1
            )?;
        }
        write!(
            out,
            "\r\n  rflags={:08x} cs={:04x} ss={:04x} error={:x} cr2={:016x} cr3={:016x}",
            frame.rflags,
            frame.cs,
            frame.ss,
            frame.error,
            Cr2::read_raw(),
            Cr3::read().0.start_address()
        )
    }
}

impl Report<'_> {
    fn page_fault(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, error) = (Cr2::read_raw(), self.0.error);
        let access = match (error >> 4 & 1, error >> 1 & 1) {
            (1, _) => "executing",
            (_, 1) => "writing",
            _ => "reading",
        };
        let cause = if error & 1 == 0 { "not mapped" } else { "not allowed by its page" };
        write!(out, "\r\n  {access} {address:#018x}, which is {cause}")?;
        if memory::is_stack_guard(address) || address & !0xfff == layout::boot_stack_guard() {
            write!(out, "\r\n  STACK OVERFLOW: this is the guard page below the thread's stack")?;
        }
        Ok(())
    }
}

struct Registers([[(&'static str, u64); 4]; 4]);

fn registers(f: &TrapFrame) -> Registers {
    Registers([
        [("rax", f.rax), ("rbx", f.rbx), ("rcx", f.rcx), ("rdx", f.rdx)],
        [("rsi", f.rsi), ("rdi", f.rdi), ("rbp", f.rbp), ("rsp", f.rsp)],
        [(" r8", f.r8), (" r9", f.r9), ("r10", f.r10), ("r11", f.r11)],
        [("r12", f.r12), ("r13", f.r13), ("r14", f.r14), ("r15", f.r15)],
    ])
}

fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        20 => "virtualization exception",
        21 => "control protection exception",
        _ => "reserved exception",
    }
}
