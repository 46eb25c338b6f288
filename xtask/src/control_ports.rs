//! The ports of the control plane: a virtio-console, each port of which QEMU serves on a socket of the host.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most ports.
pub const MOST: u16 = 16;
/// How many there are where nobody says.
pub const USUAL: u16 = 2;
/// Longest path of a Unix socket that Linux takes, without the number that later ports append.
const LONGEST_PATH: usize = 107 - ".15".len();

/// Where the first port is; the others follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket at this path; the next ones at `PATH.1`, `PATH.2`, …
    Socket(PathBuf),
    /// TCP at this host and port; the next ones at the ports that follow.
    Tcp(String, u16),
}

/// The ports of a machine: the first is named `auton.datactl`, the others `auton.datactl.1`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPorts {
    place: Place,
    count: u16,
}

impl ControlPorts {
    /// `count` ports. An error says why they cannot be at `place`.
    pub fn new(place: Place, count: u16) -> Result<Self> {
        if !(1..=MOST).contains(&count) {
            bail!("the control plane has 1 to {MOST} ports, not {count}");
        }
        match &place {
            Place::Socket(path) if path.as_os_str().len() > LONGEST_PATH => {
                bail!("{} is too long for a Unix socket: at most {LONGEST_PATH} bytes", path.display())
            }
            Place::Tcp(_, first) if first.checked_add(count - 1).is_none() => {
                bail!("{count} ports from {first} on go past the last TCP port")
            }
            _ => Ok(Self { place, count }),
        }
    }

    /// The usual number of ports on Unix sockets.
    pub fn at(path: &Path) -> Result<Self> {
        Self::new(Place::Socket(path.to_path_buf()), USUAL)
    }

    /// The path of port `n`, if it is a Unix socket.
    pub fn path(&self, n: u16) -> Option<PathBuf> {
        let Place::Socket(path) = &self.place else { return None };
        Some(if n == 0 { path.clone() } else { PathBuf::from(format!("{}.{n}", path.display())) })
    }

    /// Adds the console to QEMU's command line.
    pub fn add_to(&self, qemu: &mut Command) {
        // Number 0 is kept for a terminal, which there is not.
        qemu.arg("-device").arg(format!("virtio-serial-pci,id=control,max_ports={}", self.count + 1));
        for n in 0..self.count {
            let place = match &self.place {
                Place::Socket(path) => {
                    let path = self.path(n).unwrap_or_else(|| path.clone());
                    // A comma in an option is written twice.
                    format!("path={}", path.display().to_string().replace(',', ",,"))
                }
                Place::Tcp(host, first) => format!("host={host},port={}", first + n),
            };
            let name = if n == 0 { "auton.datactl".to_owned() } else { format!("auton.datactl.{n}") };
            qemu.arg("-chardev").arg(format!("socket,id=control{n},{place},server=on,wait=off"));
            qemu.arg("-device")
                .arg(format!("virtserialport,bus=control.0,nr={},chardev=control{n},name={name}", n + 1));
        }
    }
}

/// Reads `HOST:PORT`.
pub fn tcp_place(text: &str) -> Result<Place> {
    let (host, port) = text.rsplit_once(':').context("write it as HOST:PORT")?;
    let port = port.parse().with_context(|| format!("{port:?} is not a TCP port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(',') {
        bail!("{host:?} is not a host; 127.0.0.1 is this one");
    }
    Ok(Place::Tcp(host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(ports: &ControlPorts) -> Vec<String> {
        let mut qemu = Command::new("qemu");
        ports.add_to(&mut qemu);
        qemu.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn each_port_has_a_socket_and_a_name() {
        let ports = ControlPorts::at(Path::new("/run/a,b")).unwrap();
        let line = arguments(&ports).join(" ");
        assert!(line.contains("max_ports=3"), "{line}");
        assert!(line.contains("id=control0,path=/run/a,,b,server=on"), "{line}");
        assert!(line.contains("nr=2,chardev=control1,name=auton.datactl.1"), "{line}");
        assert_eq!(ports.path(1).unwrap(), Path::new("/run/a,b.1"));
    }

    #[test]
    fn tcp_ports_follow_one_another() {
        let ports = ControlPorts::new(tcp_place("127.0.0.1:7000").unwrap(), 3).unwrap();
        let line = arguments(&ports).join(" ");
        assert!(line.contains("host=127.0.0.1,port=7000") && line.contains("port=7002"), "{line}");
        assert_eq!(tcp_place("[::1]:7000").unwrap(), Place::Tcp("::1".to_owned(), 7000));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(tcp_place("7000").is_err());
        assert!(tcp_place("host:70000").is_err());
        assert!(tcp_place(":70").is_err());
        assert!(ControlPorts::new(tcp_place("::1:65535").unwrap(), 2).is_err());
        assert!(ControlPorts::new(Place::Socket("/s".into()), 0).is_err());
        assert!(ControlPorts::new(Place::Socket("/s".into()), MOST + 1).is_err());
        assert!(ControlPorts::at(Path::new(&"x".repeat(108))).is_err());
    }
}
