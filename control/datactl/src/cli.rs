//! The command line.

use crate::connection::Address;
use crate::error::{EXIT_CODES, Error};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use control::{Priority, Token};
use std::path::PathBuf;
use std::time::Duration;

/// Drives a running AUTON kernel over its control plane.
///
/// Every request is acknowledged by the kernel, before work begins, or refused with a reason. By default a command waits for
/// its result; with --wait-ack it returns as soon as the request is acknowledged. Either way a refusal is reported.
#[derive(Debug, Parser)]
#[command(name = "datactl", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What the program and `cargo xtask datactl` have in common.
    #[command(flatten)]
    pub options: Options,
}

/// Where the kernel is, how patient to be, and what to ask.
#[derive(Debug, Args)]
pub struct Options {
    /// The Unix socket of one of the kernel's ports.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "tcp")]
    pub socket: Option<PathBuf>,
    /// The TCP address of one of the kernel's ports.
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub tcp: Option<String>,
    /// The token, as `ctlkey` on the kernel's console shows it. Others can see it in the list of processes: prefer
    /// --token-file or AUTON_TOKEN.
    #[arg(long, global = true, env = "AUTON_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A file with the token. It counts before --token and AUTON_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Connect and ask again so often where the connection fails or no acknowledgement comes. A load, inference or
    /// training that was acknowledged is never asked again.
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub retries: u32,
    /// How long to wait for an acknowledgement.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub ack_timeout: Duration,
    /// Return as soon as the request is acknowledged, without its result. An inference ends with its connection, so of an infer this says
    /// only that it was taken.
    #[arg(long, global = true)]
    pub wait_ack: bool,
    /// Print one JSON object; with `infer --stream` a line for each chunk (docs/schemas/datactl.schema.json).
    #[arg(long, global = true)]
    pub json: bool,
    /// How long the whole may take.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// What to ask.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Whether the kernel answers, and how fast.
    Ping,
    /// Uptime, memory, CPUs, model, and how many inferences run.
    Status,
    /// Load a model (ADMIN).
    Load {
        /// Which; without it the one that the kernel was booted with.
        #[arg(default_value = "")]
        name: String,
        /// Worst case of CPU cycles per token, for admission; without it the kernel measures.
        #[arg(long, value_name = "N", default_value_t = 0)]
        wcet_cycles: u64,
    },
    /// Ask the model (SUBMIT). Ctrl-C cancels the answer in the kernel.
    Infer(InferOptions),
    /// Cancel an inference by the number that its acknowledgement had (ADMIN: another connection's).
    Cancel {
        /// The number.
        id: u64,
    },
    /// The last operations: what, who, how it ended; never a prompt (ADMIN).
    Audit {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: usize,
    },
    /// All metrics, as OpenMetrics text (SUBMIT).
    Metrics,
    /// Send a model to the kernel (ADMIN). Asked again, it goes on where it was.
    Upload {
        /// A GGUF file.
        file: PathBuf,
        /// What to call it; without it the file's name.
        #[arg(long)]
        name: Option<String>,
        /// Load it when it has arrived.
        #[arg(long)]
        load: bool,
    },
    /// Start training an adapter (ADMIN).
    Finetune {
        /// Name of the training text.
        data: String,
        /// Optimiser steps.
        #[arg(long, default_value_t = 100)]
        steps: u32,
    },
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page.
    Man,
}

/// A question.
#[derive(Debug, Args)]
pub struct InferOptions {
    /// The question.
    pub prompt: String,
    /// Most tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_tokens: u32,
    /// Print the answer as it comes.
    #[arg(long)]
    pub stream: bool,
    /// Tokens in each chunk.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub chunk: u16,
    /// How soon among those that wait.
    #[arg(long, value_enum, default_value = "normal")]
    pub priority: PriorityName,
    /// End the answer after this time, complete or not; 0 for never.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub deadline_ms: u32,
}

/// [`Priority`] on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PriorityName {
    /// After the others.
    Low,
    /// As most.
    Normal,
    /// Before the others.
    High,
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::Low => Priority::Low,
            PriorityName::Normal => Priority::Normal,
            PriorityName::High => Priority::High,
        }
    }
}

impl Command {
    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Ping => "ping",
            Command::Status => "status",
            Command::Load { .. } => "load",
            Command::Infer(_) => "infer",
            Command::Cancel { .. } => "cancel",
            Command::Audit { .. } => "audit",
            Command::Metrics => "metrics",
            Command::Upload { .. } => "upload",
            Command::Finetune { .. } => "finetune",
            Command::Completion { .. } => "completion",
            Command::Man => "man",
        }
    }
}

impl Options {
    /// Where the kernel is.
    pub fn address(&self) -> Result<Address, Error> {
        match (&self.socket, &self.tcp) {
            (Some(path), _) => Ok(Address::Socket(path.clone())),
            (None, Some(place)) => Ok(Address::Tcp(place.clone())),
            (None, None) => {
                Err(Error::Usage("say where the kernel is: --socket PATH or --tcp HOST:PORT".into()))
            }
        }
    }

    /// The token, wherever it was given. An error does not show it.
    pub fn token(&self) -> Result<Option<Token>, Error> {
        let text = match (&self.token_file, &self.token) {
            (Some(file), _) => {
                let read = std::fs::read_to_string(file);
                Some(read.map_err(|source| Error::Local { what: file.display().to_string(), source })?)
            }
            // An empty variable is as good as none.
            (None, token) => token.clone().filter(|text| !text.is_empty()),
        };
        let token = text.map(|text| Token::parse(text.trim())).transpose();
        token.map_err(|error| Error::Usage(error.to_string()))
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && time < Duration::from_secs(1 << 31) => Ok(time),
        _ => Err("it must be more than 0 and less than 68 years".into()),
    }
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    assert!(
        seconds("0").is_err()
            && seconds("nan").is_err()
            && seconds("-1").is_err()
            && seconds("1e99").is_err()
    );
    assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
}
