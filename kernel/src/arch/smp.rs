//! Starting the CPUs that ACPI lists, one after the other, through a trampoline below 1 MiB.

use super::percpu::{self, Cpu, MAX_CPUS};
use super::{apic, cpu, time, traps};
use crate::memory::{self, Access, Stack, layout};
use crate::tasks::SpawnError;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};

/// Physical page that the trampoline is copied to; below 1 MiB nothing else is used by the kernel.
const TRAMPOLINE: u64 = 0x8000;

/// How long a CPU may take to run its first instructions.
const PATIENCE_NANOS: u64 = 2_000_000_000;
/// How long it may take from there until it runs threads.
const SETUP_NANOS: u64 = 20_000_000_000;

global_asm!(
    r#"
# Global: the code that refers to them may be in another unit of this crate.
.globl trampoline_start, trampoline_end, trampoline_cr3, trampoline_stack, trampoline_entry
.section .rodata.trampoline, "a", @progbits
.balign 16
.code16
trampoline_start:
    jmp 1f
.balign 8
trampoline_cr3: .quad 0                     # at offset 8
trampoline_stack: .quad 0
trampoline_entry: .quad 0
trampoline_gdt_pointer:                     # at offset 32
    .short 15
    .long {base} + trampoline_gdt - trampoline_start
1:  cli
    cld
    mov ax, cs
    mov ds, ax
    mov eax, cr4
    or eax, 0x620                           # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, [8]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900                           # LME, NXE
    wrmsr
    .byte 0x66                              # 32-bit base
    lgdt [32]
    mov eax, 0x80010033                     # PG, WP, NE, ET, MP, PE: straight into long mode
    mov cr0, eax
    .byte 0x66, 0xea                        # far jump to 64-bit code
    .long {base} + trampoline_long - trampoline_start
    .short 8
.code64
trampoline_long:
    xor eax, eax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov rsp, [rip + trampoline_stack]
    xor ebp, ebp
    mov rax, [rip + trampoline_entry]
    call rax
    ud2
.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9a000000ffff
trampoline_end:
.text
"#,
    base = const TRAMPOLINE,
);

/// How far the CPU that is being started is: [`CALLED`] and the states behind it.
static STATE: AtomicU8 = AtomicU8::new(IDLE);
/// None is being started, or the last one was given up.
const IDLE: u8 = 0;
/// It has been told to start.
const CALLED: u8 = 1;
/// It runs the kernel's code.
const ARRIVED: u8 = 2;
/// It runs threads.
const RUNNING: u8 = 3;
/// It could not be set up, and has stopped itself.
const FAILED: u8 = 4;

/// Starts every CPU of `apic_ids` but this one. Returns how many run, this one included; one that does not
/// answer is left out with a warning.
pub fn start(apic_ids: impl Iterator<Item = u32>) -> usize {
    let own = apic::id();
    let start = layout::linker_address!(trampoline_start);
    let len = layout::linker_address!(trampoline_end) - start;
    let copy = memory::direct(TRAMPOLINE);
    // SAFETY: the page is kept out of the allocator (all of the first MiB is), and the code fits in it.
    unsafe { core::ptr::copy_nonoverlapping(start as *const u8, copy, len as usize) };
    if memory::map(TRAMPOLINE, TRAMPOLINE, layout::PAGE, Access::Execute).is_err() {
        log::warn!("SMP: no memory for the trampoline; staying with one CPU");
        return 1;
    }
    let parameter = |symbol: u64, value: u64| {
        // SAFETY: the parameters lie inside the copy.
        unsafe { copy.add((symbol - start) as usize).cast::<u64>().write_volatile(value) }
    };
    parameter(layout::linker_address!(trampoline_cr3), memory::page_table_root());
    parameter(layout::linker_address!(trampoline_entry), enter as *const () as u64);
    for id in apic_ids.filter(|&id| id != own) {
        if percpu::count() == MAX_CPUS {
            log::warn!("SMP: more than {MAX_CPUS} CPUs; the rest stay off");
            break;
        }
        match Stack::new() {
            Ok(stack) => {
                parameter(layout::linker_address!(trampoline_stack), stack.top());
                // It becomes the stack of that CPU's idle task; one that does not answer keeps it.
                core::mem::forget(stack);
            }
            Err(error) => {
                log::warn!("SMP: CPU with APIC id {id} stays off: {error}");
                continue;
            }
        }
        start_one(id);
    }
    memory::unmap(TRAMPOLINE, layout::PAGE);
    // The page must be executable nowhere before it is written again.
    super::tlb::flush_everywhere();
    percpu::count()
}

/// INIT, then STARTUP twice (Intel SDM volume 3, 9.4.4).
fn start_one(id: u32) {
    STATE.store(CALLED, Ordering::Release);
    apic::send_init(id);
    time::spin_nanos(1_000_000);
    for wait in [1_000_000, PATIENCE_NANOS] {
        apic::send_startup(id, (TRAMPOLINE >> 12) as u8);
        if leaves(CALLED, wait) {
            break;
        }
    }
    if STATE.compare_exchange(CALLED, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        // From here on it cannot arrive; INIT stops it where it is, before its stack is given to the next one.
        apic::send_init(id);
        time::spin_nanos(1_000_000);
        log::warn!("SMP: CPU with APIC id {id} did not answer within {} ms", PATIENCE_NANOS / 1_000_000);
    } else if !leaves(ARRIVED, SETUP_NANOS) {
        panic!("CPU with APIC id {id} hangs in its set-up");
    }
}

/// Waits until the state is another than `state`; says whether it became so.
fn leaves(state: u8, nanos: u64) -> bool {
    let end = time::uptime_nanos() + nanos;
    loop {
        if STATE.load(Ordering::Acquire) != state {
            return true;
        }
        if time::uptime_nanos() >= end {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// A started CPU's first Rust code, on its idle stack.
extern "C" fn enter() -> ! {
    if STATE.compare_exchange(CALLED, ARRIVED, Ordering::AcqRel, Ordering::Acquire).is_err() {
        super::halt_forever()
    }
    traps::load();
    cpu::configure();
    apic::init_cpu();
    let started = Cpu::init(apic::id()).map_err(SpawnError::from).and_then(|cpu| {
        // Loading the segments changed none of the gates: the kernel's code selector is the same in every GDT.
        crate::tasks::adopt_idle(cpu)?;
        cpu.publish();
        Ok(())
    });
    match started {
        Ok(()) => {
            STATE.store(RUNNING, Ordering::Release);
            crate::tasks::idle()
        }
        Err(error) => {
            log::warn!("SMP: a CPU stays off: {error}");
            STATE.store(FAILED, Ordering::Release);
            super::halt_forever()
        }
    }
}
