//! A bootable ISO: the kernel with GRUB, for machines with a BIOS and with UEFI alike.

use crate::packages;
use crate::workspace::{Workspace, created, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What GRUB's script language would take for its own on the kernel's command line. It could be quoted there, but
/// `multiboot2` hands quotes and backslashes on with a backslash before each, so not everything would arrive as it is.
const SPECIAL_TO_GRUB: &str = "\"'\\$;{}|&<>#*?";

/// Makes an ISO of `kernel` (by Multiboot2) with its command line; the image's path: `<kernel's name>.iso`. A command
/// line that GRUB would not pass on as it is, is refused.
pub fn build(kernel: &Path, command_line: &str) -> Result<PathBuf> {
    check(command_line)?;
    packages::ensure(&packages::GRUB)?;
    let name = kernel.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let auton = Workspace::find().auton_dir()?;
    let tree = auton.join(format!("{name}.iso-tree"));
    let grub = created(tree.join("boot/grub"))?;
    std::fs::copy(kernel, tree.join("boot/auton.elf"))
        .with_context(|| format!("{} cannot be copied into the ISO", kernel.display()))?;
    std::fs::write(grub.join("grub.cfg"), configuration(command_line))?;
    let image = auton.join(format!("{name}.iso"));
    run(Command::new("grub-mkrescue")
        .arg("--output")
        .arg(&image)
        // A small core: what the configuration uses, and nothing of themes, fonts or translations.
        .args(["--fonts=", "--themes=", "--locales="])
        .arg(&tree)
        .stdin(Stdio::null())
        .stdout(std::io::stderr()))
    .context("the ISO cannot be made")?;
    std::fs::remove_dir_all(&tree)?;
    Ok(image)
}

fn check(command_line: &str) -> Result<()> {
    let passes = |c: char| (c.is_ascii_graphic() || c == ' ') && !SPECIAL_TO_GRUB.contains(c);
    if let Some(c) = command_line.chars().find(|c| !passes(*c)) {
        bail!(
            "the kernel's command line has a {c:?}, which GRUB would not pass on: for an ISO use ASCII letters, \
             digits, spaces and punctuation other than {SPECIAL_TO_GRUB}"
        );
    }
    Ok(())
}

/// `grub.cfg`: serial and screen, no menu to wait at.
fn configuration(command_line: &str) -> String {
    format!(
        "serial --unit=0 --speed=115200\n\
         terminal_input serial console\n\
         terminal_output serial console\n\
         set timeout=0\n\
         set default=0\n\
         menuentry \"AUTON\" {{\n    multiboot2 /boot/auton.elf {command_line}\n    boot\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_reaches_the_kernel() {
        let text = configuration("panic=exit log=debug");
        assert!(text.contains("multiboot2 /boot/auton.elf panic=exit log=debug\n"), "{text}");
        assert!(text.contains("set timeout=0\n"));
    }

    #[test]
    fn what_grub_would_not_pass_on_is_refused() {
        for line in ["", "panic=exit log=debug", "slm.ctx=512 a=b,c:d/e.f-g_h+(i)[j]!@%^~`"] {
            check(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        }
        for c in SPECIAL_TO_GRUB.chars().chain(['\n', '\t', '\0', '\x7f', '\u{e4}']) {
            let error = check(&format!("log=debug a{c}b")).unwrap_err().to_string();
            assert!(error.contains(&format!("{c:?}")) && !error.contains('\n'), "{error}");
        }
        let error = build(Path::new("no-such-kernel"), "log=debug a\"b").unwrap_err().to_string();
        assert!(error.contains("GRUB"), "{error}");
    }
}
