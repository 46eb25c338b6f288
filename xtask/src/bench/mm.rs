//! `cargo xtask bench mm`: the page allocator and the heap beside their peers.
//!
//! The program is `mm/benches/allocators`: it needs the peers, and `unsafe` to call them, and this crate has neither.

use crate::machine_report::host;
use crate::workspace::{Workspace, run};
use anyhow::Result;

/// Prints which machine this is, then runs the bench; `fragmentation_only` leaves the timings out.
pub fn bench(fragmentation_only: bool) -> Result<()> {
    println!("machine  {}", host());
    println!("command  cargo bench -p mm --bench allocators\n");
    let mut arguments = vec!["bench", "--quiet", "-p", "mm", "--bench", "allocators"];
    if fragmentation_only {
        arguments.extend(["--", "fragmentation"]);
    }
    run(&mut Workspace::find().cargo(&arguments))
}
