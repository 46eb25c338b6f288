//! The control plane on the ports of virtio-consoles: programs outside ask, the kernel answers.
//!
//! One thread serves all ports ([`Line`]), each with a session of its own, which begins anew with each client. A port whose client
//! does not read what it asked for is not read either, until it does; the others are served meanwhile. To the tokens' guard a client is its
//! port: a lock-out after wrong tokens stays with the port until it is over, whoever connects next. An upload belongs to its port, too, until
//! another begins one after the port was closed, or nothing of it came for 5 minutes ([`receiver`]). What takes long is done elsewhere:
//! inference by the model's thread, loading by a thread of its own ([`work`]).

mod answer;
mod keys;
mod line;
mod receiver;
mod work;

use super::slm::desk;
use crate::drivers::virtio::console;
use crate::tasks::{self, SpawnError};
use alloc::vec::Vec;
use line::Line;
use receiver::Receiver;

/// Gives out the first tokens, and starts the thread if there is a console.
pub fn start() -> Result<(), SpawnError> {
    if let Err(error) = keys::init() {
        log::warn!("control: {error}; nobody outside can ask the model");
    }
    if console::is_present() {
        tasks::spawn("control", tasks::Options::default(), serve)?;
    }
    Ok(())
}

fn serve() {
    let mut receiver = Receiver::new();
    let mut lines: Vec<Line> = Vec::new();
    loop {
        for port in console::ports() {
            if !lines.iter().any(|line| core::ptr::eq(line.port(), port)) {
                // Client 0 is the console.
                lines.push(Line::new(port, lines.len() as u32 + 1));
            }
        }
        // What came after this is seen when waiting.
        let news = desk::news();
        receiver.give_up_late();
        lines.iter_mut().for_each(|line| line.serve(&mut receiver));
        let deadline = lines.iter().filter_map(Line::deadline).chain(receiver.deadline()).min();
        console::wait(deadline, || desk::news() != news);
    }
}
