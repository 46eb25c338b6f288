//! The shell's thread, on the serial console.
//!
//! When there is no memory for what a command does, and none can be freed, the shell gives the command up and begins again.
//! What the command had allocated is lost then.

use super::slm;
use super::system::Machine;
use crate::drivers::serial::Terminal;
use crate::memory;
use crate::tasks::{self, Options, SpawnError};
use core::alloc::Layout;

/// A new shell begins when this much is to be had.
const ENOUGH: Layout = Layout::new::<[u8; 32 << 10]>();
const PAUSE_NANOS: u64 = 50_000_000;

/// Starts the shell. Called last: it prints the prompt.
pub fn start() -> Result<(), SpawnError> {
    let options = Options { restart: Some(begin_again), ..Options::default() };
    tasks::spawn("shell", options, serve)?;
    Ok(())
}

fn serve() {
    shell::run(&Machine, &mut Terminal);
}

extern "C" fn begin_again() -> ! {
    // Such failures were for the command.
    memory::heap::end_of_failures();
    crate::log::write_console(
        b"\r\nerror: there is no memory for this command, and none can be freed; it was given up\r\n",
    );
    // Nobody waits for what it had asked the model.
    slm::desk::leave(llm::service::CONSOLE);
    slm::loading::abandon(tasks::current().id);
    log::warn!("MM: the shell's command was given up: no memory");
    while !is_memory_there() {
        tasks::sleep_nanos(PAUSE_NANOS);
    }
    serve();
    tasks::end()
}

fn is_memory_there() -> bool {
    let Some(memory) = memory::heap::alloc_at_once(ENOUGH) else { return false };
    // SAFETY: allocated just now with this layout.
    unsafe { alloc::alloc::dealloc(memory.as_ptr(), ENOUGH) };
    true
}
