//! The control plane over the ports of a virtio-console, with clients that behave and clients that do not.

mod common;

use common::{COMMAND, boot, power_off, scratch, without_model};
use control::{Client, Message, Reply};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use xtask::control_ports::{ControlPorts, Place};
use xtask::guest::Guest;
use xtask::qemu::Machine;

/// Bound for an answer. Generous: these tests say nothing about speed.
const ANSWER: Duration = Duration::from_secs(60);

/// A machine without a model whose control plane has `count` ports at sockets of this name.
fn machine(name: &str, count: u16) -> (Machine, ControlPorts) {
    let place = Place::Socket(scratch().join(name));
    let ports = ControlPorts::new(place, count).unwrap();
    (Machine { control: Some(ports.clone()), ..without_model() }, ports)
}

fn path(ports: &ControlPorts, n: u16) -> PathBuf {
    ports.path(n).unwrap()
}

/// A connection to a port.
struct Connection {
    stream: UnixStream,
    client: Client,
}

impl Connection {
    fn open(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { stream, client: Client::new() }
    }

    /// Sends a request.
    fn ask(&mut self, message: &Message) -> u32 {
        let id = self.client.ask(message, None).unwrap();
        self.stream.write_all(self.client.outgoing()).unwrap();
        self.client.sent(self.client.outgoing().len());
        id
    }

    /// The next reply to a request.
    fn reply(&mut self, id: u32) -> Reply {
        let deadline = Instant::now() + ANSWER;
        let mut buffer = [0; 1024];
        let mut replies = Vec::new();
        while Instant::now() < deadline {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the port closed the connection"),
                Ok(n) => self.client.receive(&buffer[..n], |from, reply| replies.push((from, reply))),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the connection broke: {error}"),
            }
            if let Some(at) = replies.iter().position(|(from, _)| *from == id) {
                return replies.swap_remove(at).1;
            }
        }
        panic!("request {id} was not answered");
    }

    /// Pings and checks the answer.
    fn ping(&mut self, number: u64) {
        let id = self.ask(&Message::Ping(number));
        assert_eq!(self.reply(id), Reply::Ack { number });
    }
}

fn datactl(socket: &Path, what: &str) -> String {
    let program = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["datactl", "--socket"])
        .arg(socket)
        // A machine that is busy with other tests may be slower than the usual 2 s.
        .args(["--ack-timeout", "60", what])
        .output();
    let output = program.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The guest is alive, nothing was wrong with the device, and it is switched off.
fn ends_well(mut guest: Guest) {
    assert_eq!(guest.command("echo alive", COMMAND).unwrap(), "alive\n");
    let log = guest.command("dmesg", COMMAND).unwrap();
    assert!(!log.contains("virtio: the console") && !log.contains("stays unused"), "{log}");
    power_off(guest);
}

#[test]
fn every_port_answers_the_host_tool() {
    let (machine, ports) = machine("tool.sock", 3);
    let (mut guest, log) = boot(&machine);
    assert!(log.contains("virtio: console with up to 4 ports (MSI-X)"), "{log}");
    let lspci = guest.command("lspci -v", COMMAND).unwrap();
    assert!(lspci.contains("Driver: virtio-console"), "{lspci}");
    for n in 0..3 {
        assert!(datactl(&path(&ports, n), "ping").starts_with("answered in"));
        let status = datactl(&path(&ports, n), "status");
        assert!(status.contains("CPUs     2") && status.contains("model    none"), "{status}");
    }
    ends_well(guest);
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_frame_harms_nobody() {
    let (machine, ports) = machine("middle.sock", 2);
    let (guest, _) = boot(&machine);
    let mut other = Connection::open(&path(&ports, 1));
    for number in 0..20 {
        let mut client = Client::new();
        client.ask(&Message::Status, None).unwrap();
        let half = &client.outgoing()[..client.outgoing().len() - 1 - number as usize];
        let mut stream = UnixStream::connect(path(&ports, 0)).unwrap();
        stream.write_all(half).unwrap();
        drop(stream);
        Connection::open(&path(&ports, 0)).ping(number);
        other.ping(number);
    }
    ends_well(guest);
}

#[test]
fn a_client_that_never_reads_stops_nobody_and_gets_all_when_it_does() {
    let (machine, ports) = machine("deaf.sock", 2);
    let (guest, _) = boot(&machine);
    let mut deaf = Connection::open(&path(&ports, 0));
    deaf.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // Questions until nobody takes more: the socket, the device and the kernel are full of answers and questions then.
    let mut asked = Vec::new();
    while asked.len() < 20_000 {
        asked.push(deaf.client.ask(&Message::Status, None).unwrap());
        match deaf.stream.write(deaf.client.outgoing()) {
            Ok(n) => deaf.client.sent(n),
            Err(_) => break,
        }
    }
    assert!(asked.len() < 20_000, "a client that does not read is heard for ever");
    let mut other = Connection::open(&path(&ports, 1));
    for number in 0..20 {
        other.ping(number);
    }
    // Now it reads, and sends the rest of its last question: all are answered, in order.
    deaf.stream.set_write_timeout(None).unwrap();
    let mut writer = deaf.stream.try_clone().unwrap();
    let rest = deaf.client.outgoing().to_vec();
    let sender = std::thread::spawn(move || writer.write_all(&rest).unwrap());
    let mut waited_for = asked.into_iter().peekable();
    let (mut buffer, deadline) = ([0; 4096], Instant::now() + ANSWER);
    while waited_for.peek().is_some() {
        assert!(Instant::now() < deadline, "answers are missing from {:?} on", waited_for.peek());
        let Ok(n) = deaf.stream.read(&mut buffer) else { continue };
        deaf.client.receive(&buffer[..n], |from, reply| {
            if let Reply::Status(_) = reply {
                assert_eq!(Some(from), waited_for.next());
            }
        });
    }
    sender.join().unwrap();
    ends_well(guest);
}

#[test]
fn clients_come_and_go_faster_than_they_are_seen() {
    let (machine, ports) = machine("hasty.sock", 1);
    let (guest, _) = boot(&machine);
    for number in 0..1000 {
        drop(UnixStream::connect(path(&ports, 0)).unwrap());
        if number % 10 == 9 {
            Connection::open(&path(&ports, 0)).ping(number);
        }
    }
    // Here the device may have had more to tell than finds room: the kernel asks again then, and says so.
    assert!(datactl(&path(&ports, 0), "ping").starts_with("answered in"));
    power_off(guest);
}
