//! The first instructions: from 32-bit protected mode, as PVH and Multiboot2 enter it, to [`super::start`].
//!
//! Both protocols enter with paging off and a flat 32-bit code segment. The code here turns on long mode over
//! page tables that map the first 4 GiB three times: identically (for the next instruction), at the direct map
//! and at the kernel's link address. `memory::paging` replaces them by the real ones.

use core::arch::global_asm;

/// `eax` at entry by Multiboot2, and what the PVH entry passes in its place.
pub const MULTIBOOT2_MAGIC: u32 = 0x36d7_6289;
/// Magic number inside `hvm_start_info`.
pub const PVH_MAGIC: u32 = 0x336e_c578;

global_asm!(
    r#"
.section .multiboot2, "a", @progbits
.balign 8
mb2_header:
    .long 0xe85250d6                        # magic
    .long 0                                 # i386 protected mode
    .long mb2_header_end - mb2_header
    .long -(0xe85250d6 + 0 + (mb2_header_end - mb2_header))
    .balign 8                               # information request: memory map, command line, modules, RSDP
    .short 1, 1
    .long 28
    .long 6, 1, 3, 14, 15
    .balign 8
    .short 0, 0                             # end tag
    .long 8
mb2_header_end:

.section .note.pvh, "a", @note
.balign 4
    .long 4, 4, 18                          # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

.section .boot.text, "ax", @progbits
.code32
.globl multiboot2_entry
multiboot2_entry:
    cli
    cld
    mov edi, eax
    mov esi, ebx
    jmp boot_common

.globl pvh_entry
pvh_entry:
    cli
    cld
    mov edi, {pvh_magic}
    mov esi, ebx

boot_common:
    rdtsc                                   # the clock at our first instruction
    mov dword ptr [boot_tsc], eax
    mov dword ptr [boot_tsc + 4], edx

    mov ebx, offset __image_end_phys - 4    # the image's last word: there must be memory
    mov dword ptr [ebx], 0x4e545541
    cmp dword ptr [ebx], 0x4e545541
    jne no_memory
    mov dword ptr [ebx], 0

    mov eax, 0x80000000                     # long mode and NX are required
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    bt edx, 29
    jnc no_long_mode
    bt edx, 20
    jnc no_long_mode

    mov ecx, 0                              # four page directories: 2048 pages of 2 MiB
    mov ebx, offset boot_pd
1:  mov eax, ecx
    shl eax, 21
    or eax, 0x83                            # present, writable, large
    mov [ebx + ecx * 8], eax
    mov dword ptr [ebx + ecx * 8 + 4], 0
    inc ecx
    cmp ecx, 2048
    jne 1b

    mov ecx, 0                              # the low page-directory-pointer table
2:  mov eax, ecx
    shl eax, 12
    lea eax, [eax + ebx + 3]
    mov [boot_pdpt_low + ecx * 8], eax
    inc ecx
    cmp ecx, 4
    jne 2b
    lea eax, [ebx + 3]                      # -2 GiB: physical 0..2 GiB
    mov [boot_pdpt_high + 510 * 8], eax
    lea eax, [ebx + 4096 + 3]
    mov [boot_pdpt_high + 511 * 8], eax
    mov eax, offset boot_pdpt_low
    or eax, 3
    mov [boot_pml4], eax
    mov [boot_pml4 + 256 * 8], eax          # the direct map
    mov eax, offset boot_pdpt_high
    or eax, 3
    mov [boot_pml4 + 511 * 8], eax

    mov eax, offset boot_pml4
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620                           # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900                           # LME, NXE
    wrmsr
    mov eax, cr0
    and eax, 0xfffffffb                     # no FPU emulation
    or eax, 0x80010003                      # PG, WP, MP, PE
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    ljmp 8, offset boot_long_mode

no_memory:
    mov ebx, offset no_memory_text
    jmp give_up
no_long_mode:
    mov ebx, offset no_long_mode_text
give_up:
    mov edx, 0x3f8                          # no console yet: one line on COM1
3:  mov al, [ebx]
    test al, al
    jz 4f
    out dx, al
    inc ebx
    jmp 3b
4:  mov eax, {failure}                      # leaves QEMU where it has its debug exit
    mov edx, 0xf4
    out dx, eax
5:  hlt
    jmp 5b
no_memory_text:
    .asciz "AUTON: the kernel's image is larger than the machine's memory; give it more, or build without a model (AUTON_MODEL=none).\r\n"
no_long_mode_text:
    .asciz "AUTON needs a 64-bit CPU with NX.\r\n"

.code64
boot_long_mode:
    xor eax, eax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    movabs rsp, offset __boot_stack_top
    xor ebp, ebp
    mov edi, edi                            # zero-extend the arguments
    mov esi, esi
    mov rdx, [boot_tsc]
    movabs rax, offset {start}
    call rax
    ud2

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff                # 64-bit code
boot_gdt_pointer:
    .short 15
    .long boot_gdt

.section .boot.bss, "aw", @nobits
.balign 4096
boot_pml4: .skip 4096
boot_pdpt_low: .skip 4096
boot_pdpt_high: .skip 4096
boot_pd: .skip 16384
boot_tsc: .skip 8
.text
"#,
    pvh_magic = const PVH_MAGIC,
    failure = const crate::arch::cpu::QemuExit::Failure as u32,
    start = sym super::start,
);
