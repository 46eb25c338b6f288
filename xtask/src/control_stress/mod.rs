//! `cargo xtask stress control`: drives the control plane of a booted kernel as hard as hosts can.
//!
//! Three parts, each of which is an error where it does not hold: hostile frames beside a stream (`frames`), hosts that come
//! and go (`cycles`), and many clients at once (`clients`). The tokens come from `ctlkey` on the guest's console.

mod clients;
mod cycles;
mod frames;

use crate::control_ports::{ControlPorts, Place};
use crate::guest::Guest;
use crate::kernel_image::{self, Variant};
use crate::machine_report;
use crate::qemu::Machine;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use control::{Infer, Message, ModelState, Priority, Reply, Status, Token};
use datactl::{Address, Connection};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// For acknowledgements: nothing here is about their speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to do. Without any part, all of them in their full length.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Hostile frames on one port while another streams.
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// Connections that come and go, some in the middle of a frame or an answer.
    #[arg(long, value_name = "N")]
    cycles: Option<u64>,
    /// Clients that ask at once, each on a port of its own.
    #[arg(long, value_name = "N")]
    clients: Option<u16>,
    /// How long the clients ask.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Start of the random sequence of frames.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A GGUF passed as ramdisk instead of the embedded one; the kernel is then built without a model.
    #[arg(long, value_name = "PATH")]
    initrd: Option<PathBuf>,
}

/// A booted kernel, and the key to it.
struct Target {
    guest: Guest,
    ports: ControlPorts,
    submit: Token,
}

/// Runs the parts; prints what they counted.
pub fn stress(options: &Options) -> Result<()> {
    let all = options.frames.is_none() && options.cycles.is_none() && options.clients.is_none();
    let part = |asked: Option<u64>, full: u64| asked.or(all.then_some(full));
    let clients = part(options.clients.map(u64::from), 8).and_then(|clients| u16::try_from(clients).ok());
    let mut target = Target::boot(options, clients.unwrap_or(0).max(2))?;
    if let Some(frames) = part(options.frames, 100_000) {
        frames::run(&target, frames, options.seed)?;
    }
    if let Some(cycles) = part(options.cycles, 1000) {
        cycles::run(&target, cycles)?;
    }
    if let Some(clients) = clients {
        clients::run(&target, clients, Duration::from_secs(options.minutes * 60))?;
    }
    target.end()
}

impl Target {
    fn boot(options: &Options, ports: u16) -> Result<Self> {
        let variant =
            if options.initrd.is_some() { Variant::without_model() } else { Variant::with_default_model() };
        let kernel = kernel_image::build(&variant)?;
        let path = Workspace::find().auton_dir()?.join(format!("stress-{}.sock", std::process::id()));
        let ports = ControlPorts::new(Place::Socket(path), ports)?;
        let machine = Machine {
            control: Some(ports.clone()),
            initrd: options.initrd.clone(),
            ..Machine::boot_kernel(&kernel)
        };
        println!(
            "machine  {}; {}; {} CPUs, {}",
            machine_report::host(),
            machine_report::virtual_machine(),
            machine.cpus,
            machine.memory
        );
        let mut guest = Guest::start(&machine)?;
        guest.wait_for_prompt(Duration::from_secs(180))?;
        let keys = guest.command("ctlkey", PATIENCE)?;
        let submit = keys
            .lines()
            .find_map(|line| line.strip_prefix("submit")?.split_whitespace().next())
            .context("`ctlkey` shows no submit token")?;
        let submit = Token::parse(submit).context("what `ctlkey` shows is no token")?;
        let target = Self { guest, ports, submit };
        let begun = Instant::now();
        while target.status()?.model != ModelState::Ready {
            if begun.elapsed() > Duration::from_secs(180) {
                bail!("the kernel's model is not ready after {:?}", begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(target)
    }

    fn connect(&self, port: u16) -> Result<Connection> {
        let path = self.ports.path(port).context("the ports are on Unix sockets")?;
        Ok(Connection::open(&Address::Socket(path))?.with_ack_timeout(PATIENCE))
    }

    fn status(&self) -> Result<Status> {
        let mut connection = self.connect(0)?;
        let (id, _) = connection.ask(&Message::Status, None)?;
        match connection.next(id, PATIENCE)? {
            Some(Reply::Status(status)) => Ok(status),
            other => bail!("no status came but {other:?}"),
        }
    }

    /// Nothing was wrong, and the machine is switched off.
    fn end(&mut self) -> Result<()> {
        let log = self.guest.command("dmesg --level warn", PATIENCE)?;
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("] error ")).collect();
        self.guest.type_line("poweroff")?;
        let exit = self.guest.wait_for_exit(PATIENCE)?;
        if !errors.is_empty() || !exit.powered_off() {
            bail!("{exit}; errors in the kernel's log: {errors:?}");
        }
        println!("end      the kernel switched off; no error in its log");
        Ok(())
    }
}

fn question(prompt: &str, max_tokens: u32) -> Message {
    Message::Infer(Infer {
        max_tokens,
        chunk_tokens: 1,
        priority: Priority::Normal,
        stream: true,
        deadline_ms: 0,
        prompt: prompt.to_owned(),
    })
}

/// An answer, as its client saw it.
struct Answer {
    text: Vec<u8>,
    tokens: u32,
    /// From the question to the first chunk.
    first: Duration,
}

/// Asks and takes the answer; an error unless every chunk came, once and in order.
fn ask(connection: &mut Connection, message: &Message, token: Token) -> Result<Answer> {
    let asked = Instant::now();
    let (id, _) = connection.ask(message, Some(token))?;
    let (mut text, mut tokens, mut due, mut first) = (Vec::new(), 0, 0, None);
    loop {
        // A prompt of others may be read before ours.
        match connection.next(id, 5 * PATIENCE)? {
            Some(Reply::Chunk { sequence, tokens: more, bytes }) => {
                if sequence != due {
                    bail!("chunk {sequence} came where {due} was due");
                }
                first.get_or_insert_with(|| asked.elapsed());
                due += 1;
                tokens += u32::from(more);
                text.extend(bytes);
            }
            Some(Reply::End(end)) => {
                if end.tokens != tokens {
                    bail!(
                        "{tokens} tokens came in chunks, but the end says {} ({})",
                        end.tokens,
                        end.reason.name()
                    );
                }
                return Ok(Answer { text, tokens, first: first.unwrap_or_else(|| asked.elapsed()) });
            }
            other => bail!("no chunk came but {other:?}"),
        }
    }
}
