//! GDT and TSS of one CPU.
//!
//! **Every** interrupt gate has an IST stack: the precompiled `core` uses the red zone, so nothing may ever be
//! pushed onto the interrupted stack. Interrupts use the running task's own save area as that "stack"
//! (see [`super::traps`]); exceptions have one stack each.

use crate::memory::Stack;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

/// Uses of the interrupt stack table.
#[derive(Clone, Copy, Debug)]
#[repr(u16)]
pub enum Ist {
    /// Interrupts and yields: the running task's save area.
    TrapFrame = 0,
    /// Double faults.
    DoubleFault = 1,
    /// Non-maskable interrupts.
    Nmi = 2,
    /// Machine checks.
    MachineCheck = 3,
    /// All other exceptions.
    Exception = 4,
}

/// Descriptor tables of one CPU. Must not move once loaded.
pub struct Segments {
    gdt: GlobalDescriptorTable,
    tss: TaskStateSegment,
}

impl Segments {
    /// Empty tables.
    pub const fn new() -> Self {
        Self { gdt: GlobalDescriptorTable::new(), tss: TaskStateSegment::new() }
    }

    /// Fills them, with these stacks for the exceptions, and loads them on this CPU. Once.
    ///
    /// # Safety
    /// `self` lives for ever at this address, and belongs to the CPU that runs this.
    pub unsafe fn load(&'static mut self, stacks: [Stack; 4]) {
        for (ist, stack) in (Ist::DoubleFault as usize..).zip(&stacks) {
            self.tss.interrupt_stack_table[ist] = VirtAddr::new(stack.top());
        }
        // They belong to the CPU for ever.
        core::mem::forget(stacks);
        let code: SegmentSelector = self.gdt.append(Descriptor::kernel_code_segment());
        let data = self.gdt.append(Descriptor::kernel_data_segment());
        // SAFETY: the TSS lives as long as the GDT, for ever.
        let tss = self.gdt.append(unsafe { Descriptor::tss_segment_unchecked(&raw const self.tss) });
        // SAFETY: the selectors are those of the GDT just loaded, with flat segments.
        unsafe {
            self.gdt.load_unsafe();
            CS::set_reg(code);
            SS::set_reg(data);
            DS::set_reg(data);
            ES::set_reg(data);
            load_tss(tss);
        }
    }

    /// Where the next interrupt pushes the interrupted registers: downwards from `end`.
    pub fn set_trap_frame(&mut self, end: u64) {
        self.tss.interrupt_stack_table[Ist::TrapFrame as usize] = VirtAddr::new(end);
    }
}
