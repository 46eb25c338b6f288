//! Backtraces: the kernel's own unwind tables (`.eh_frame`), read with gimli, named by [`crate::ksyms`].
//!
//! Compiled code keeps no frame pointers, so the tables are the only way; rustc emits them by default on this
//! target even with panic = "abort".

use super::exceptions::report;
use super::traps::TrapFrame;
use crate::memory::layout::{self, Part, linker_address};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
    X86_64,
};

/// Frames that a backtrace shows at most.
const DEPTH: usize = 32;

type Bytes = EndianSlice<'static, LittleEndian>;

/// DWARF registers 0–16 (16 is the return address).
#[derive(Clone, Copy, Debug)]
pub struct Registers([u64; 17]);

impl From<&TrapFrame> for Registers {
    fn from(f: &TrapFrame) -> Self {
        // DWARF's order for x86_64: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8–r15, return address.
        Self([
            f.rax, f.rdx, f.rcx, f.rbx, f.rsi, f.rdi, f.rbp, f.rsp, f.r8, f.r9, f.r10, f.r11, f.r12, f.r13,
            f.r14, f.r15, f.rip,
        ])
    }
}

impl Registers {
    /// The caller's registers, as far as an unwinder needs them.
    #[inline(never)]
    pub fn here() -> Self {
        let mut registers = [0u64; 17];
        // SAFETY: stores the callee-saved registers and the address of this instruction into the array.
        unsafe {
            core::arch::asm!(
                "mov [{r} + 24], rbx", "mov [{r} + 48], rbp", "mov [{r} + 56], rsp",
                "mov [{r} + 96], r12", "mov [{r} + 104], r13", "mov [{r} + 112], r14", "mov [{r} + 120], r15",
                "lea {t}, [rip]", "mov [{r} + 128], {t}",
                r = in(reg) registers.as_mut_ptr(), t = out(reg) _, options(nostack),
            );
        }
        Self(registers)
    }
}

/// Prints the frames from `registers` outwards. Reads only memory that is mapped: never faults itself.
pub fn print_from(mut registers: Registers) {
    report(format_args!("Backtrace:"));
    let tables = eh_frame();
    let mut context = UnwindContext::new_in();
    for depth in 0..DEPTH {
        let address = registers.0[16];
        match crate::ksyms::lookup(address) {
            Some((name, offset)) => report(format_args!("  {depth:2}: {address:#018x} {name}+{offset:#x}")),
            None => report(format_args!("  {depth:2}: {address:#018x}")),
        }
        // A return address may lie just past the end of its function (a call that never returns).
        let lookup = if depth == 0 { address } else { address.wrapping_sub(1) };
        match step(&tables, &mut context, &registers, lookup) {
            Some(caller) if is_code(caller.0[16]) => registers = caller,
            _ => break,
        }
    }
}

fn is_code(address: u64) -> bool {
    layout::part(Part::Text).contains(&address)
}

fn eh_frame() -> (EhFrame<Bytes>, BaseAddresses) {
    let start = linker_address!(__eh_frame_start);
    let len = linker_address!(__eh_frame_end) - start;
    // SAFETY: the linker script puts the unwind tables between the two symbols, read-only.
    let bytes = unsafe { core::slice::from_raw_parts(start as *const u8, len as usize) };
    let bases = BaseAddresses::default().set_eh_frame(start).set_text(layout::part(Part::Text).start);
    (EhFrame::new(bytes, LittleEndian), bases)
}

/// The caller's registers.
fn step(
    (tables, bases): &(EhFrame<Bytes>, BaseAddresses),
    context: &mut UnwindContext<usize, Store>,
    registers: &Registers,
    address: u64,
) -> Option<Registers> {
    let row = tables.unwind_info_for_address(bases, context, address, EhFrame::cie_from_offset).ok()?;
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return None };
    let cfa = registers.0.get(usize::from(register.0))?.wrapping_add_signed(*offset);
    let mut caller = *registers;
    for (register, value) in (0u16..).map(gimli::Register).zip(&mut caller.0) {
        match row.register(register) {
            Some(RegisterRule::Offset(offset)) => *value = load(cfa.wrapping_add_signed(offset))?,
            Some(RegisterRule::ValOffset(offset)) => *value = cfa.wrapping_add_signed(offset),
            Some(RegisterRule::Undefined) if register == X86_64::RA => return None,
            _ => {}
        }
    }
    caller.0[usize::from(X86_64::RSP.0)] = cfa;
    Some(caller)
}

/// Unwind rules live on the stack: no allocation while reporting a fault.
struct Store;
impl gimli::UnwindContextStorage<usize> for Store {
    type Rules = [(gimli::Register, RegisterRule<usize>); 192];
    type Stack = [gimli::UnwindTableRow<usize, Self>; 4];
}

/// Reads a stack word, if that address is mapped.
fn load(address: u64) -> Option<u64> {
    if !address.is_multiple_of(8) || crate::memory::translate(address).is_none() {
        return None;
    }
    // SAFETY: aligned and mapped.
    Some(unsafe { (address as *const u64).read() })
}
