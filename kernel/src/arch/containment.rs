//! Calls that cannot take the kernel down with them: a recovery point that panics, faults and endless loops go back to.
//!
//! [`Contained`] is the kernel's [`sched::guard::Contain`]. Before a call it keeps the callee-saved registers on the stack and their
//! address in [`Cpu::recovery`](super::percpu::Cpu). From inside there are three ways out:
//!
//! - the call **returns**;
//! - it **panics**, or raises an exception (a stack overflow ends in a page fault on the guard page, with a stack of its own): the panic
//!   handler and the exception handler call [`escape`], which goes to the recovery point;
//! - it **loops**. Interrupts are off, so only an NMI gets through: the legacy timer's interrupt is delivered as one
//!   ([`crate::drivers::watchdog`]). Whoever finds the same call under way in [`SIGHTINGS`] of them lets the NMI return to the recovery
//!   point. Counting them, and not time, spares a CPU that its host has taken away: it sees none of the NMIs that come meanwhile, or
//!   all of them at once, which count as one ([`APART`]).
//!
//! # Why this is sound
//!
//! 1. *Nothing that was cut off is used again.* What a contained call may change is the candidate and the place for its answer. The guard
//!    reads the answer of calls that returned only, and gives a candidate that did not return up without looking at it, not even
//!    to drop it. Its memory is lost; so is whatever lay on the stack, none of which anybody else refers to.
//! 2. *No lock stays taken.* Policies have none. The only kernel code that they call is the heap (to register a task), so nothing
//!    goes back while the heap's lock is taken or this CPU changes its own part of it: an NMI tries again the next time, a panic
//!    waits a moment, and is fatal when it was the heap's own. The log is written to only after the recovery point has been
//!    taken away.
//! 3. *Once.* The recovery point is taken away by whoever uses it, in one step, so a panic and an NMI do not both go back. Between the
//!    call's return and its end the stack is as it is at the recovery point, so an NMI there only changes the answer to "stopped".
//! 4. *No interrupt comes between.* Interrupts are off in a contained call; exceptions and NMIs have stacks of their own, which are used
//!    from their beginning by the next one.
//!
//! The compiler knows nothing of this: to it, `enter_contained` is a function like any other, that calls back once.

use super::percpu::{self, Cpu, this_cpu};
use super::traps::TrapFrame;
use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use sched::guard::{Contain, Ending};

/// So many NMIs in a row must find the same call, and it is stopped: with the watchdog's 20 ms, after 80 to 120 ms. That is long beside the
/// microseconds of a decision, but an emulator may take many of them to translate code that runs for the first time.
const SIGHTINGS: u64 = 5;
/// NMIs that come closer together count as one, in nanoseconds: an emulator delivers at once what it missed.
const APART: u64 = 10_000_000;
/// How long a panic waits for another CPU to let the heap go, in nanoseconds.
const PATIENCE: u64 = 100_000_000;

const PANICKED: u64 = 1;
const STOPPED: u64 = 2;

static STOPS: AtomicU64 = AtomicU64::new(0);

global_asm!(
    r#"
.text
.globl enter_contained
.globl leave_contained
# rdi: where the recovery point is kept; rsi: what to call; rdx: with what.
enter_contained:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi
    sub rsp, 16
    stmxcsr [rsp]
    fnstcw [rsp + 4]
    mov [rdi], rsp
    mov rdi, rdx
    call rsi
    xor eax, eax
# rsp: the recovery point; rax: how the call ended.
leave_contained:
    mov rdi, [rsp + 16]
    mov qword ptr [rdi], 0
    cld
    fnclex
    ldmxcsr [rsp]
    fldcw [rsp + 4]
    add rsp, 16
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
"#
);

unsafe extern "C" {
    fn enter_contained(recovery: *mut u64, call: extern "C" fn(*mut ()), argument: *mut ()) -> u64;
    static leave_contained: u8;
}

/// The way to call a policy that may not return.
#[derive(Clone, Copy, Debug)]
pub struct Contained;

impl Contain for Contained {
    fn run(&self, act: &mut dyn FnMut()) -> Ending {
        extern "C" fn call(act: *mut ()) {
            // SAFETY: `run` passes a reference to its own argument, which nobody uses meanwhile.
            let act = unsafe { &mut *act.cast::<&mut dyn FnMut()>() };
            act();
        }
        let mut act = act;
        let act: *mut &mut dyn FnMut() = &raw mut act;
        let how = x86_64::instructions::interrupts::without_interrupts(|| {
            let cpu = this_cpu();
            cpu.contained.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the head of this module says why one may leave `call` in other ways than by returning. The recovery point is this
            // CPU's, and free: contained calls do not contain others.
            unsafe { enter_contained(cpu.recovery.as_ptr(), call, act.cast()) }
        });
        match how {
            PANICKED => Ending::Panicked,
            STOPPED => Ending::Stopped,
            _ => Ending::Returned,
        }
    }
}

/// Takes the recovery point away, if a contained call is under way here that may be left.
fn take(cpu: &Cpu) -> Option<u64> {
    if cpu.recovery.load(Ordering::Relaxed) == 0 || crate::memory::heap_is_locked() {
        return None;
    }
    Some(cpu.recovery.swap(0, Ordering::Relaxed)).filter(|&point| point != 0)
}

/// In a panic or an exception: if that happened inside a contained call, notes `what` in the log and goes on behind that call. Returns
/// otherwise: then it is the kernel's own.
pub fn escape(what: fmt::Arguments<'_>) {
    if !percpu::is_ready() || this_cpu().recovery.load(Ordering::Relaxed) == 0 {
        return;
    }
    let cpu = this_cpu();
    let end = super::time::uptime_nanos() + PATIENCE;
    while crate::memory::heap_is_locked() && super::time::uptime_nanos() < end {
        core::hint::spin_loop();
    }
    let Some(point) = take(cpu) else { return };
    crate::log::note(format_args!("sched: contained on CPU {}: {what}", cpu.index));
    // SAFETY: the recovery point lies on the stack of a call that has not returned; see the head of this module.
    unsafe {
        core::arch::asm!(
            "mov rsp, {point}",
            "jmp leave_contained",
            point = in(reg) point,
            in("rax") PANICKED,
            options(noreturn)
        )
    }
}

/// In an NMI of the watchdog: lets it return to the recovery point, if the same contained call has been found often enough.
pub(super) fn check(cpu: &Cpu, frame: &mut TrapFrame) {
    let call = cpu.contained.load(Ordering::Relaxed);
    let now = super::time::uptime_nanos();
    if cpu.recovery.load(Ordering::Relaxed) == 0 || cpu.sighted.load(Ordering::Relaxed) != call {
        cpu.sighted.store(call, Ordering::Relaxed);
        cpu.sightings.store(1, Ordering::Relaxed);
        cpu.sighted_at.store(now, Ordering::Relaxed);
        return;
    }
    if now.saturating_sub(cpu.sighted_at.load(Ordering::Relaxed)) < APART {
        return;
    }
    cpu.sighted_at.store(now, Ordering::Relaxed);
    if cpu.sightings.fetch_add(1, Ordering::Relaxed) + 1 < SIGHTINGS {
        return;
    }
    if let Some(point) = take(cpu) {
        STOPS.fetch_add(1, Ordering::Relaxed);
        (frame.rip, frame.rsp, frame.rax) = ((&raw const leave_contained) as u64, point, STOPPED);
    }
}

/// Calls that were stopped because they did not return.
pub fn stops() -> u64 {
    STOPS.load(Ordering::Relaxed)
}
