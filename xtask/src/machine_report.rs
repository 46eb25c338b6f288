//! The line that stands above every measured figure: which machine, which accelerator.

use crate::qemu::accelerator;
use std::process::Command;

/// `<CPU model>, <n> CPUs, <MHz>`, from `/proc/cpuinfo`.
pub fn host() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let mhz = field("cpu MHz").and_then(|text| text.parse::<f64>().ok());
    let frequency = mhz.map_or_else(String::new, |mhz| format!(", {mhz:.0} MHz"));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cpus} CPUs{frequency}")
}

/// Runnable threads on average over the last minute, from `/proc/loadavg`.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// `QEMU <version> with KVM` or `… with TCG (emulation)`.
pub fn virtual_machine() -> String {
    let output = Command::new("qemu-system-x86_64").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.split_whitespace().nth(3).unwrap_or("?").to_owned();
    let how = if accelerator() == "kvm" { "KVM" } else { "TCG (emulation)" };
    format!("QEMU {version} with {how}")
}

/// The processor features that decide which matrix kernels can run.
pub fn cpu_flags() -> Vec<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.map(|line| line.split_whitespace().skip(2).map(str::to_owned).collect()).unwrap_or_default()
}

/// The middle of `values` (the mean of the middle two); `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some((sorted[half - 1] + sorted[half]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_host_has_a_name() {
        assert!(host().contains("CPUs"));
    }
}
