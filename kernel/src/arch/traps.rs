//! Trap entry: 256 stubs, the interrupt descriptor table, and the one way in which tasks are switched.
//!
//! An interrupt (or a yield, which is `int YIELD`) pushes its frame directly into the running task's save area,
//! because the IST entry of every interrupt gate points to the end of that area. The stub adds the general
//! registers, saves the extended state, and calls the dispatcher on the CPU's interrupt stack. The dispatcher
//! returns the frame to resume: the same task's or another's. So a switch is nothing but returning to a different
//! frame, and the interrupted stack, with its red zone, is never touched.

use super::percpu::{
    OFFSET_EXTENDED_STATE, OFFSET_FAULT_STATE, OFFSET_INTERRUPT_STACK, OFFSET_NMI_STATE, OFFSET_SAVE_METHOD,
    this_cpu,
};
use super::segments::Ist;
use super::{apic, exceptions, irq, tlb};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::Ordering;
use x86_64::VirtAddr;
use x86_64::structures::idt::InterruptDescriptorTable;

/// Registers of an interrupted task, in the order in which entry code pushes them (last pushed first).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "register names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Local APIC timer.
pub const TIMER: u8 = 0xe0;
/// Another CPU put work into this CPU's run queue.
pub const RESCHEDULE: u8 = 0xe1;
/// Another CPU changed a mapping.
pub const TLB_FLUSH: u8 = 0xe2;
/// A task gives up its CPU.
pub const YIELD: u8 = 0xe3;
/// Spurious interrupts of the local APIC.
pub const SPURIOUS: u8 = 0xff;

global_asm!(
    r#"
.section .text.trap_stubs, "ax", @progbits
.balign 16
.globl trap_stubs
trap_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
        push 0
    .endif
    push vector
    .if vector < 32
        jmp exception_entry
    .else
        jmp interrupt_entry
    .endif
    .set vector, vector + 1
.endr

.macro push_registers
    push rax
    push rbx
    push rcx
    push rdx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
.endm

.macro pop_registers_and_return
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq
.endm

exception_entry:
    push_registers
    # An NMI may return; see `exceptions::nmi`.
    cmp qword ptr [rsp + 15 * 8], 2
    je 6f
    // A page fault in the movable memory may return; see `memory::vmalloc`.
    cmp qword ptr [rsp + 15 * 8], 14
    jne 2f
    mov rax, cr2
    mov rcx, {movable}
    sub rax, rcx
    shr rax, {movable_bits}
    jnz 2f
    mov rdi, rsp
    mov r12, gs:[{fault_state}]
    mov rbx, gs:[{save_method}]
    mov eax, -1
    mov edx, -1
    test rbx, rbx
    jz 3f
    xsave64 [r12]
    call {movable_fault}
    mov eax, -1
    mov edx, -1
    xrstor64 [r12]
    pop_registers_and_return
3:  fxsave64 [r12]
    call {movable_fault}
    fxrstor64 [r12]
    pop_registers_and_return
2:  mov rdi, rsp
    call {exception}
    ud2
6:  mov rdi, rsp
    mov r12, gs:[{nmi_state}]
    mov rbx, gs:[{save_method}]
    mov eax, -1
    mov edx, -1
    test rbx, rbx
    jz 7f
    xsave64 [r12]
    call {nmi}
    mov eax, -1
    mov edx, -1
    xrstor64 [r12]
    pop_registers_and_return
7:  fxsave64 [r12]
    call {nmi}
    fxrstor64 [r12]
    pop_registers_and_return

interrupt_entry:
    push_registers
    mov rdi, rsp
    mov rcx, gs:[{extended_state}]
    mov rbx, gs:[{save_method}]
    mov eax, -1
    mov edx, -1
    cmp rbx, 1
    jb 1f
    je 2f
    xsaveopt64 [rcx]
    jmp 3f
1:  fxsave64 [rcx]
    jmp 3f
2:  xsave64 [rcx]
3:  mov rsp, gs:[{interrupt_stack}]
    xor ebp, ebp
    call {dispatch}
    mov rsp, rax
    mov rcx, gs:[{extended_state}]
    mov eax, -1
    mov edx, -1
    test rbx, rbx
    jz 4f
    xrstor64 [rcx]
    jmp 5f
4:  fxrstor64 [rcx]
5:  pop_registers_and_return
.text
"#,
    exception = sym exceptions::handle,
    movable_fault = sym exceptions::movable_fault,
    movable = const crate::memory::layout::MOVABLE,
    movable_bits = const crate::memory::layout::MOVABLE_BITS,
    fault_state = const OFFSET_FAULT_STATE,
    nmi = sym exceptions::nmi,
    nmi_state = const OFFSET_NMI_STATE,
    dispatch = sym dispatch,
    extended_state = const OFFSET_EXTENDED_STATE,
    save_method = const OFFSET_SAVE_METHOD,
    interrupt_stack = const OFFSET_INTERRUPT_STACK,
);

/// Acts on an interrupt and says which task's frame to resume. Runs on the interrupt stack, interrupts off.
extern "C" fn dispatch(frame: &TrapFrame) -> *const TrapFrame {
    let cpu = this_cpu();
    cpu.interrupts.fetch_add(1, Ordering::Relaxed);
    cpu.in_interrupt.store(true, Ordering::Relaxed);
    let vector = frame.vector as u8;
    match vector {
        YIELD | SPURIOUS => {}
        TIMER => {
            apic::end_of_interrupt();
            crate::tasks::on_timer(cpu);
        }
        RESCHEDULE => {
            apic::end_of_interrupt();
            cpu.reschedule.store(true, Ordering::Relaxed);
        }
        TLB_FLUSH => {
            tlb::acknowledge();
            apic::end_of_interrupt();
        }
        other => {
            irq::handle(other);
            apic::end_of_interrupt();
        }
    }
    let next = crate::tasks::schedule(cpu, vector == YIELD);
    cpu.in_interrupt.store(false, Ordering::Relaxed);
    next
}

/// Gives up the CPU: runs the scheduler as an interrupt would.
#[inline]
pub fn yield_cpu() {
    // SAFETY: the gate saves and restores every register; memory is as after any interrupt.
    unsafe { core::arch::asm!("int {}", const YIELD, options(nostack)) }
}

struct Table(UnsafeCell<InterruptDescriptorTable>);
// SAFETY: written by `init_early` and `init_boot_cpu` on the boot CPU before another CPU runs; read-only after.
unsafe impl Sync for Table {}
static TABLE: Table = Table(UnsafeCell::new(InterruptDescriptorTable::new()));

fn stub(vector: u64) -> VirtAddr {
    VirtAddr::new(crate::memory::layout::linker_address!(trap_stubs) + vector * 16)
}

/// Loads a table with the exceptions only, for reports before there are stacks for them.
pub fn init_early() {
    fill(false);
    load();
}

/// Completes the table: every gate gets its own stack. The segments must have been loaded.
pub fn init_boot_cpu() {
    fill(true);
    load();
}

/// Loads the table on this CPU.
pub fn load() {
    // SAFETY: see `Table`: no writer is left when CPUs other than the first call this.
    unsafe { (*TABLE.0.get()).load_unsafe() };
}

fn fill(with_stacks: bool) {
    // SAFETY: see `Table`; on the boot CPU before the others, interrupts off.
    let idt = unsafe { &mut *TABLE.0.get() };
    macro_rules! gates {
        ($($vector:literal $gate:ident $ist:ident),* $(,)?) => {$(
            // SAFETY: the stub is code of the shape that this gate wants (error code or not).
            let options = unsafe { idt.$gate.set_handler_addr(stub($vector)) };
            if with_stacks {
                // SAFETY: `Segments` has a stack at this index.
                unsafe { options.set_stack_index(Ist::$ist as u16) };
            }
        )*};
    }
    gates!(
        0 divide_error Exception, 1 debug Exception, 2 non_maskable_interrupt Nmi, 3 breakpoint Exception,
        4 overflow Exception, 5 bound_range_exceeded Exception, 6 invalid_opcode Exception,
        7 device_not_available Exception, 8 double_fault DoubleFault, 10 invalid_tss Exception,
        11 segment_not_present Exception, 12 stack_segment_fault Exception,
        13 general_protection_fault Exception, 14 page_fault Exception, 16 x87_floating_point Exception,
        17 alignment_check Exception, 18 machine_check MachineCheck, 19 simd_floating_point Exception,
        20 virtualization Exception, 21 cp_protection_exception Exception,
    );
    if with_stacks {
        for (vector, gate) in (32..).zip(idt.slice_mut(32..)) {
            // SAFETY: the stub fits; `Cpu::set_current` keeps this entry pointing to the running task's frame.
            unsafe { gate.set_handler_addr(stub(vector)).set_stack_index(Ist::TrapFrame as u16) };
        }
    }
}
