//! The shell's thread, on the serial console.

use super::system::Machine;
use crate::drivers::serial::Terminal;
use crate::tasks::{self, SpawnError};

/// Starts the shell. Called last: it prints the prompt.
pub fn start() -> Result<(), SpawnError> {
    tasks::spawn("shell", tasks::Options::default(), || {
        shell::run(&Machine, &mut Terminal);
    })?;
    Ok(())
}
