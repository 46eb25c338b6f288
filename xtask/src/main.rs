//! The command line of `cargo run` and `cargo xtask`.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use xtask::control_ports::{self, ControlPorts, Place};
use xtask::kernel_image::{self, Variant};
use xtask::model::fetch;
use xtask::qemu::{Boot, Machine};
use xtask::workspace::Workspace;
use xtask::{
    bench, ci, control_stress, crash, disk, export_region, fuzz, image, perplexity, run, sched, size, soak,
    tutorial,
};

/// Builds, runs, tests and measures the AUTON kernel.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = false)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the kernel in QEMU (the default). With standard input not a terminal, commands are read from it.
    ///
    /// AUTON_MODEL=path.gguf embeds another model, AUTON_MODEL=tiny the project's own small one, AUTON_MODEL=integrated what
    /// `auton integrate` has put in place, AUTON_MODEL=none none.
    Run(RunArguments),
    /// The language model that the kernel is built with.
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
    /// Make a bootable ISO (BIOS and UEFI) with GRUB; prints its path.
    Image {
        /// The kernel's command line.
        #[arg(long, default_value = "")]
        append: String,
    },
    /// Print the kernel's size for every combination of features, and with the model.
    Size,
    /// Measure.
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Queries and thread churn together in one long boot; prints what it counted.
    Soak {
        /// How long to go on.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Drive a part of the booted kernel as hard as can be.
    Stress {
        #[command(subcommand)]
        command: StressCommand,
    },
    /// Run a fuzz target, such as `gguf`.
    Fuzz {
        /// Its name.
        target: String,
        /// Executions.
        #[arg(long, default_value_t = 10_000_000)]
        runs: u64,
        /// Start of the random sequence.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Fit a learned policy to its training families; writes the coefficients into the source.
    Fit {
        #[command(subcommand)]
        command: FitCommand,
    },
    /// Judge a learned policy on workloads that it never saw, or the language model on a text.
    Eval {
        #[command(subcommand)]
        command: EvalCommand,
    },
    /// Everything that .ci/run checks.
    Ci,
    /// Follow docs/train-your-first-slm.md word by word.
    Tutorial,
    /// Make the image of an empty disk (ext4) for `run --disk PATH`.
    Disk {
        /// How large.
        #[arg(long, default_value = "64M")]
        size: String,
        /// Where; nothing may be there.
        path: PathBuf,
    },
    /// Print the document that a guest exported (`run --export-region PATH`).
    Exported {
        /// The file.
        path: PathBuf,
    },
    /// Talk to a running kernel's control plane (`run --control-socket PATH`).
    Datactl(Box<datactl::Options>),
}

#[derive(Args, Default)]
struct RunArguments {
    /// Memory of the machine.
    #[arg(long, default_value = "1G")]
    memory: String,
    /// Number of CPUs.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// CPU model, as `qemu-system-x86_64 -cpu help` lists them.
    #[arg(long, default_value = "max")]
    cpu: String,
    /// Words added to the kernel's command line.
    #[arg(long, default_value = "")]
    append: String,
    /// A GGUF passed as ramdisk; it takes precedence over the embedded model.
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// Boot from an ISO by GRUB instead of directly.
    #[arg(long)]
    iso: bool,
    /// Under UEFI firmware (with --iso).
    #[arg(long, requires = "iso")]
    uefi: bool,
    /// Serve the control plane on this Unix socket, its further ports on PATH.1 and so on. Without this option it is on
    /// one whose path is printed.
    #[arg(long, value_name = "PATH")]
    control_socket: Option<PathBuf>,
    /// Serve it on TCP instead, its further ports on the ports that follow.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "control_socket")]
    control_tcp: Option<String>,
    /// How many ports it has, each for one client at a time: 1 to 16.
    #[arg(long, value_name = "N", default_value_t = control_ports::USUAL)]
    control_ports: u16,
    /// Let the guest export documents to this file, of 1 MiB; `cargo xtask exported PATH` reads them.
    #[arg(long, value_name = "PATH")]
    export_region: Option<PathBuf>,
    /// Attach the image of a disk that `cargo xtask disk PATH` made.
    #[arg(long, value_name = "PATH")]
    disk: Option<PathBuf>,
}

#[derive(Subcommand)]
enum ModelCommand {
    /// Download the default model if need be; prints its path.
    Fetch,
    /// Download llama.cpp's vocabularies, which the tokenizer is tested with, if need be; prints their folder.
    Vocabularies,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// The engine on this host, beside llama.cpp: speed, memory, and how near the memory's bandwidth it comes.
    Llm(bench::llm::Options),
    /// Several sequences that decode together on this host, beside llama.cpp: tokens per second.
    Batch(bench::batch::Options),
    /// The page allocator and the heap on this host, beside their peers: times and fragmentation.
    Mm {
        /// Leave the timings out.
        #[arg(long)]
        fragmentation: bool,
    },
    /// The scheduling policies: how long a decision takes on this host.
    Sched,
    /// The crash predictor: how long an update takes on this host.
    Crash,
    /// Token masks of grammars on this host, over the default model's vocabulary: cold and warm.
    Grammar,
    /// The booted kernel: boot time, tokens per second, kernel variants, the model's memory.
    Kernel(bench::kernel::Options),
}

#[derive(Subcommand)]
enum StressCommand {
    /// The control plane: hostile frames beside a stream, hosts that come and go, many clients at once.
    Control(control_stress::Options),
}

#[derive(Subcommand)]
enum FitCommand {
    /// The crash predictor.
    Crash {
        /// Print the result and leave the source as it is.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand)]
enum EvalCommand {
    /// The crash predictor beside four baselines, on three legs.
    Crash {
        /// Leave the booted kernel (leg c) out.
        #[arg(long)]
        no_guest: bool,
        /// Leave everything but the booted kernel out.
        #[arg(long, conflicts_with = "no_guest")]
        only_guest: bool,
        /// Leg c: runs of each family, with the guard off and with it on.
        #[arg(long, default_value_t = 2)]
        guest_runs: u64,
        /// Leg c: the first seed.
        #[arg(long, default_value_t = 1)]
        guest_seed: u64,
        /// Leg c: these families of `memctl stress` only.
        #[arg(long, value_delimiter = ',')]
        guest_families: Vec<String>,
        /// Leg c: machines at a time.
        #[arg(long, default_value_t = 1)]
        guest_jobs: usize,
        /// Leg c: the guard is off, on, or each seed runs with both.
        #[arg(long, value_enum, default_value_t = crash::guest::Guard::Both)]
        guest_guard: crash::guest::Guard,
        /// Leg c: keep the recordings in this folder.
        #[arg(long)]
        save_guest: Option<PathBuf>,
        /// Leg c: judge the recordings of this folder instead of booting.
        #[arg(long, conflicts_with_all = ["save_guest", "guest_runs"])]
        load_guest: Option<PathBuf>,
        /// A line for each run.
        #[arg(long)]
        runs: bool,
        /// Other recordings in the format of `mem_oom`, all of them for testing.
        #[arg(long)]
        recordings: Option<PathBuf>,
    },
    /// The scheduling policies in the trace-driven simulator: response times, switches, fairness.
    Sched(sched::EvalOptions),
    /// The language model's perplexity on a text, beside llama.cpp's.
    Perplexity(perplexity::Options),
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Option<Command>) -> Result<ExitCode> {
    let command = match command {
        Some(command) => command,
        None => match Arguments::parse_from(["cargo xtask", "run"]).command {
            Some(command) => command,
            None => bail!("`run` is a command"),
        },
    };
    match command {
        Command::Run(arguments) => start(arguments),
        Command::Model { command: ModelCommand::Fetch } => {
            println!("{}", fetch::fetch()?.display());
            Ok(())
        }
        Command::Model { command: ModelCommand::Vocabularies } => {
            println!("{}", bench::llama_cpp::vocabularies()?.display());
            Ok(())
        }
        Command::Image { append } => {
            let kernel = kernel_image::build(&Variant::from_environment()?)?;
            println!("{}", image::build(&kernel, &append)?.display());
            Ok(())
        }
        Command::Size => size::print_table(),
        Command::Bench { command: BenchCommand::Llm(options) } => bench::llm::bench(&options),
        Command::Bench { command: BenchCommand::Batch(options) } => bench::batch::bench(&options),
        Command::Bench { command: BenchCommand::Mm { fragmentation } } => bench::mm::bench(fragmentation),
        Command::Bench { command: BenchCommand::Sched } => sched::bench(),
        Command::Bench { command: BenchCommand::Crash } => {
            crash::bench::bench();
            Ok(())
        }
        Command::Bench { command: BenchCommand::Grammar } => bench::grammar::bench(),
        Command::Bench { command: BenchCommand::Kernel(options) } => bench::kernel::bench(&options),
        Command::Soak { minutes } => soak::soak(minutes),
        Command::Stress { command: StressCommand::Control(options) } => control_stress::stress(&options),
        Command::Fuzz { target, runs, seed } => fuzz::fuzz(&target, runs, seed),
        Command::Fit { command: FitCommand::Crash { dry_run } } => crash::fit(dry_run),
        Command::Eval { command } => evaluate(command),
        Command::Ci => ci::ci(),
        Command::Tutorial => tutorial::follow(),
        Command::Disk { size, path } => disk::make(&path, &size),
        Command::Exported { path } => {
            std::io::stdout().write_all(&export_region::read(&path)?).context("standard output is closed")
        }
        // Its statuses tell what went wrong.
        Command::Datactl(options) => return Ok(datactl::run(&options)),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn evaluate(command: EvalCommand) -> Result<()> {
    match command {
        EvalCommand::Crash {
            no_guest,
            only_guest,
            guest_runs,
            guest_seed,
            guest_families,
            guest_jobs,
            guest_guard,
            save_guest,
            load_guest,
            runs,
            recordings,
        } => {
            let guest = crash::guest::GuestOptions {
                runs: guest_runs,
                first_seed: guest_seed,
                families: guest_families,
                jobs: guest_jobs,
                guard: guest_guard,
                save: save_guest,
                load: load_guest,
            };
            let guest = (!no_guest).then_some(guest);
            crash::eval(&crash::EvalOptions { host: !only_guest, guest, each_run: runs, recordings })
        }
        EvalCommand::Sched(options) => sched::eval(&options),
        EvalCommand::Perplexity(options) => perplexity::eval(&options),
    }
}

fn start(arguments: RunArguments) -> Result<()> {
    // A panic ends QEMU with a status of its own, unless the user's words say otherwise: the last one counts.
    let append = format!("panic=exit {}", arguments.append).trim().to_owned();
    let kernel = kernel_image::build(&Variant::from_environment()?)?;
    let boot = if arguments.iso {
        Boot::Iso { image: image::build(&kernel, &append)?, uefi: arguments.uefi }
    } else {
        Boot::Kernel(kernel.clone())
    };
    let control = control(&arguments)?;
    run::run(&Machine {
        boot,
        memory: arguments.memory,
        cpus: arguments.smp,
        cpu_model: arguments.cpu,
        append,
        initrd: arguments.initrd,
        control: Some(control),
        export_region: arguments.export_region,
        disk: arguments.disk,
        ..Machine::boot_kernel(&kernel)
    })
}

/// Where the control plane is.
fn control(arguments: &RunArguments) -> Result<ControlPorts> {
    let place = match (&arguments.control_socket, &arguments.control_tcp) {
        (_, Some(tcp)) => control_ports::tcp_place(tcp).context("--control-tcp")?,
        (Some(path), None) => Place::Socket(path.clone()),
        (None, None) => {
            let path = Workspace::find().auton_dir()?.join(format!("control-{}.sock", std::process::id()));
            eprintln!("The control plane is at {}", path.display());
            Place::Socket(path)
        }
    };
    ControlPorts::new(place, arguments.control_ports)
}
