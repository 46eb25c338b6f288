//! The project's own tool: what `cargo run`, `cargo xtask …` and the end-to-end tests are made of.
//!
//! It gets what a fresh machine lacks (QEMU, the model), builds the kernel, starts it in QEMU, types into its
//! shell, and measures it. The end-to-end tests in `tests/` use this same code, so a test boots what a user boots.
//!
//! # Principles
//! 1. **The kernel is built by a cargo call of its own**: one call for the kernel and a std program would unify
//!    their features, and the kernel would no longer link ([`workspace::Workspace::cargo`]).
//! 2. **What is downloaded is pinned**: the model's SHA-256 stands in the source ([`model::fetch`]).
//! 3. **A guest ends by an exit status**, and the reason is asked of QEMU rather than guessed from its output
//!    ([`qmp`]): a triple fault is not a `poweroff`.
//! 4. **Nothing waits for ever**: every wait has a bound, and says what it waited for.
//!
//! # Limits
//! Packages are installed with `apt-get` only (Debian, Ubuntu), and only as root; elsewhere the sentence says what
//! is missing. Everything assumes an x86_64 Linux host.
//!
//! # Example
//! ```no_run
//! use std::time::Duration;
//! use xtask::{guest::Guest, kernel_image::{self, Variant}, qemu::Machine};
//!
//! let kernel = kernel_image::build(&Variant::without_model())?;
//! let mut guest = Guest::start(&Machine::boot_kernel(&kernel))?;
//! guest.wait_for_prompt(Duration::from_secs(60))?;
//! println!("{}", guest.command("uptime", Duration::from_secs(10))?);
//! guest.type_line("poweroff")?;
//! assert!(guest.wait_for_exit(Duration::from_secs(30))?.powered_off());
//! # Ok::<(), anyhow::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod bench;
pub mod ci;
pub mod control_ports;
pub mod control_stress;
pub mod crash;
pub mod disk;
pub mod export_region;
pub mod file_lock;
pub mod fuzz;
pub mod guest;
pub mod image;
pub mod kernel_image;
pub mod ksyms;
pub mod machine_report;
pub mod model;
pub mod model_memory;
pub mod packages;
pub mod perplexity;
pub mod qemu;
pub mod qmp;
pub mod run;
pub mod sched;
pub mod schema_check;
pub mod size;
pub mod soak;
pub mod tutorial;
pub mod workspace;
